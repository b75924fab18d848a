"""Which rooms this node takes, as nobody has them, and which it gives back, as nobody needs them.

1. A room with tasks whose owner's lease has ended is taken by the best node that is there. The
   others wait for their turn, so that it is taken even if the best one does not see it.
2. A builtin room without tasks is taken when an anchor comes to this node (`claim`), and kept while
   anchors are in it. When its owner has gone, it is nobody's: its anchors come again.
3. When a lease has run out, for as long as a lease each node takes only its own rooms anew.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

import structlog

from cloudslice.clock import Clock
from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_view import ClusterView, RoomOwner
from cloudslice.cluster.ending import end
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.owned_rooms import OwnedRooms
from cloudslice.cluster.placement import order_nodes
from cloudslice.cluster.registry import ConflictError, Registry, RegistryError
from cloudslice.faults import Faults
from cloudslice.ids import RoomKey

_TURN_S = 1.0
"""How much longer each node waits than the one before it."""
_LOOK_EVERY_S = 0.25
"""While rooms wait to be taken."""
_AT_A_TIME = 32

_log = structlog.get_logger(__name__)


class RoomOwnership(OwnedRooms):
    """The rooms of this node; an async context manager that takes them and gives them back.

    Args:
        registry: has the records.
        view: shows them.
        lease: of this node.
        clock: for turns.
        has_anchors: whether anchors are in a room here.

    Attributes:
        is_leaving: whether no rooms are taken any more.
        taken: how often a room was taken from a node that is gone.
        faults: errors that nobody foresaw.
    """

    def __init__(
        self,
        registry: Registry,
        view: ClusterView,
        lease: NodeLease,
        clock: Clock,
        has_anchors: Callable[[RoomKey], bool] = lambda _room: False,
    ) -> None:
        super().__init__(registry, view, lease)
        self.taken = 0
        self.is_leaving = False
        self.faults = Faults("room ownership")
        self._clock = clock
        self._has_anchors = has_anchors
        self._holds: Counter[RoomKey] = Counter()
        """Rooms that somebody is about to come into."""
        self._waiting: dict[RoomKey, float] = {}
        """Rooms that may be without an owner, since which monotonic second."""
        self._others_from = 0.0
        """Before this monotonic second, rooms of other nodes are left to them."""
        self._news = asyncio.Event()
        self._run: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._lease.on_renewed(self._note_renewed)
        self._view.listen(self._note)
        for room in {*self._view.rooms, *(task.room for task in self._view.tasks.values())}:
            self._look_at(room)
        self._run = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run is not None:
            await end(self._run)

    @contextmanager
    def holding(self, room: RoomKey) -> Iterator[None]:
        """A context within which the room is not given back, though nobody is in it."""
        self._holds[room] += 1
        try:
            yield
        finally:
            self._holds[room] -= 1
            if not self._holds[room]:
                del self._holds[room]
            self.note_left(room)

    async def claim(self, room: RoomKey) -> bool:
        """Take a room that nobody has; whether it is this node's then. To be called within
        `holding`.

        Raises:
            RegistryError: the registry gives no answer.
        """
        is_free = self._view.owner_of(room) is None and self.find_token(room) is None
        if is_free and not self.is_leaving:
            with suppress(ConflictError):  # another node was first, or another anchor here
                await self.take(room, self._view.rooms.get(room))
        return self.find_token(room) is not None

    def note_left(self, room: RoomKey) -> None:
        """Give a room back, if nobody needs it any more."""
        if self.find_token(room) is not None:
            self._look_at(room)

    def stop_taking(self) -> None:
        """Take no rooms any more: the node is being stopped."""
        self.is_leaving = True

    def _note_renewed(self) -> None:
        self.begin_anew()
        self._others_from = self._clock.monotonic() + self._lease.lease_s
        self._news.set()

    def _note(self, key: str) -> None:
        if key.startswith(keys.NODE):
            node = key.removeprefix(keys.NODE)
            there = self._view.nodes.get(node)
            for room, taken in self._view.rooms.items():
                if taken.node == node and (there is None or there.session != taken.session):
                    self._look_at(room)
        elif key.startswith(keys.ROOM):
            self._look_at(keys.read_room_part(key.removeprefix(keys.ROOM)))
        elif key.startswith(keys.TASK):
            self._look_at(keys.read_task_key(key)[0])

    def _look_at(self, room: RoomKey) -> None:
        self.compare(room)
        if self._view.owner_of(room) is None or not self._view.tasks_in(room):
            self._waiting.setdefault(room, self._clock.monotonic())
            self._news.set()

    async def _keep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(
                    _LOOK_EVERY_S if self._waiting or self.undecided else None
                ):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            try:
                await self._act()
            except Exception as error:
                self.faults.caught(error)
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _act(self) -> None:
        if not self._lease.is_valid:
            return
        await self._for_each(self.undecided, self._take_anew)
        await self._for_each(list(self._waiting), self._settle)

    async def _for_each(
        self, rooms: Iterable[RoomKey], act: Callable[[RoomKey], Awaitable[None]]
    ) -> None:
        limit = asyncio.Semaphore(_AT_A_TIME)

        async def one(room: RoomKey) -> None:
            async with limit:
                try:
                    await act(room)
                except ConflictError:
                    pass  # the view will tell who was first
                except RegistryError as error:
                    _log.warning("room is not taken, will try again", reason=str(error))

        await asyncio.gather(*(one(room) for room in list(rooms)))

    async def _take_anew(self, room: RoomKey) -> None:
        if not await self.retake(room):
            self._waiting.setdefault(room, self._clock.monotonic())

    async def _settle(self, room: RoomKey) -> None:
        """See to a room that may be without an owner, or without tasks."""
        view = self._view
        taken, owner, token = view.rooms.get(room), view.owner_of(room), self.find_token(room)
        if not view.tasks_in(room):
            if token is not None:
                if not self._holds[room] and not self._has_anchors(room):
                    await self.give_back(room)
            elif taken is not None and owner is None:
                await self._registry.delete(keys.ROOM + keys.room_part(room), taken.revision)
            if view.tasks_in(room):
                return  # one has come meanwhile
        elif owner is None and token is None and not self.is_undecided(room):
            if not self.is_leaving and self._is_my_turn(room, taken):
                await self.take(room, taken)
                self.taken += taken is not None and taken.node != self._lease.node
            return
        self._waiting.pop(room, None)

    def _is_my_turn(self, room: RoomKey, taken: RoomOwner | None) -> bool:
        """Whether this node is to take a room that nobody has."""
        node, now = self._lease.node, self._clock.monotonic()
        if taken is not None and taken.node != node and now < self._others_from:
            return False
        view = self._view
        nodes = order_nodes(room, taken, view.nodes.values(), view.room_counts)
        turn = nodes.index(node) if node in nodes else len(nodes)
        return now >= self._waiting[room] + turn * _TURN_S
