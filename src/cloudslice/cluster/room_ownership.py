"""Which rooms are this node's: it takes those that nobody has, and gives back those nobody needs.

1. A room is the node's by its record in the registry, which is changed by compare-and-set, and as
   long as the session of the node's lease goes on that the record names.
2. A room with tasks whose owner's lease has ended is taken by the best node that is there. The
   others wait for their turn, so that it is taken even if the best one does not see it.
3. A builtin room without tasks is taken when an anchor comes to this node (`claim`), and kept while
   anchors are in it. When its owner has gone, it is nobody's: its anchors come again.
4. The revision of the record is the room's fencing token. A room that was lost and taken again has
   another one.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

import structlog

from cloudslice.clock import Clock
from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_view import ClusterView, NodeInfo, RoomOwner
from cloudslice.cluster.ending import end
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.placement import order_nodes
from cloudslice.cluster.registry import ConflictError, Registry, RegistryError
from cloudslice.faults import Faults
from cloudslice.ids import RoomKey
from cloudslice.tasks.store import StoreError

_TURN_S = 1.0
"""How much longer each node waits than the one before it."""
_LOOK_EVERY_S = 0.25
"""While rooms wait to be taken."""
_AT_A_TIME = 32

_log = structlog.get_logger(__name__)


class RoomOwnership:
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
        self.taken = 0
        self.is_leaving = False
        self.faults = Faults("room ownership")
        self._registry = registry
        self._view = view
        self._lease = lease
        self._clock = clock
        self._has_anchors = has_anchors
        self._holds: Counter[RoomKey] = Counter()
        """Rooms that somebody is about to come into."""
        self._owned: dict[RoomKey, int] = {}
        """Rooms by their tokens."""
        self._retaken: set[RoomKey] = set()
        """Of a former session of ours: to be taken anew, unless somebody else has them."""
        self._given_back: dict[RoomKey, int] = {}
        """By their last tokens, as long as the view still shows them as ours."""
        self._giving_back: set[RoomKey] = set()
        """Whose records are being deleted."""
        self._waiting: dict[RoomKey, float] = {}
        """Rooms that may be without an owner, since which monotonic second."""
        self._others_from = 0.0
        """Before this monotonic second, rooms of other nodes are left to them."""
        self._news = asyncio.Event()
        self._on_changed: list[Callable[[RoomKey], object]] = []
        self._run: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._lease.on_renewed(self._begin_anew)
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

    def on_changed(self, call: Callable[[RoomKey], object]) -> None:
        """`call` when a room has become this node's, is so by another token, or is no more."""
        self._on_changed.append(call)

    def find_token(self, room: RoomKey) -> int | None:
        """The token by which the room is this node's, as far as is known; the lease may have run
        out meanwhile."""
        return self._owned.get(room)

    def is_undecided(self, room: RoomKey) -> bool:
        """Whether the room was this node's when its lease ran out, and may become so again."""
        return room in self._retaken

    def is_settled(self, room: RoomKey) -> bool:
        """Whether it is known here that the room is, or is not, this node's."""
        return room not in self._retaken and room not in self._giving_back

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
        is_free = self._view.owner_of(room) is None and room not in self._owned
        if is_free and not self.is_leaving:
            taken = self._view.rooms.get(room)
            with suppress(ConflictError):  # another node was first, or another anchor here
                await self._take(room, 0 if taken is None else taken.revision)
        return room in self._owned

    def note_left(self, room: RoomKey) -> None:
        """Give a room back, if nobody needs it any more."""
        if room in self._owned:
            self._look_at(room)

    @property
    def rooms(self) -> list[RoomKey]:
        """This node's."""
        return list(self._owned)

    def stop_taking(self) -> None:
        """Take no rooms any more: the node is being stopped."""
        self.is_leaving = True

    async def hand_over(self, room: RoomKey, node: NodeInfo) -> None:
        """Have another node be the owner of a room that is this one's.

        Raises:
            ConflictError: another node has it already.
            RegistryError: the registry gives no answer.
        """
        token = self._owned[room]
        self._giving_back.add(room)
        try:
            value = json.dumps({"node": node.node, "session": node.session}).encode()
            await self._registry.update(keys.ROOM + keys.room_part(room), value, token)
        finally:
            self._giving_back.discard(room)
        self._forget(room, token)

    def require_token(self, room: RoomKey) -> int:
        """The token by which the room is this node's for certain at this moment.

        Raises:
            StoreError: it is not, or not for certain.
        """
        token = self._owned.get(room)
        if token is None:
            raise StoreError("the room is another node's")
        if not self._lease.is_valid:
            raise StoreError("the node's lease has run out")
        return token

    @property
    def count(self) -> int:
        """How many rooms this node has."""
        return len(self._owned)

    def _begin_anew(self) -> None:
        """The lease had run out: whatever was ours can be another node's by now."""
        self._retaken.update(self._owned)
        self._owned.clear()
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
        token, taken = self._owned.get(room), self._view.rooms.get(room)
        if token is not None and taken is not None and taken.revision > token:
            self._lose(room)
            token = None
        if taken is None or taken.revision > self._given_back.get(room, 0):
            self._given_back.pop(room, None)
            if token is None and taken is not None and self._is_mine(taken):
                # The answer to our taking has not come, or comes later than this.
                self._own(room, taken.revision)
        if self._view.owner_of(room) is None or not self._view.tasks_in(room):
            self._waiting.setdefault(room, self._clock.monotonic())
            self._news.set()

    def _lose(self, room: RoomKey) -> None:
        self._owned.pop(room, None)
        self._retaken.discard(room)
        if room not in self._giving_back:
            _log.warning("room is another node's now", **_fields(room))
        self._tell(room)

    async def _keep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(
                    _LOOK_EVERY_S if self._waiting or self._retaken else None
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
        await self._for_each(self._retaken, self._retake)
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

    async def _retake(self, room: RoomKey) -> None:
        """Take a room anew that was ours."""
        taken = self._view.rooms.get(room)
        if taken is None or taken.node != self._lease.node:
            self._retaken.discard(room)
            self._waiting.setdefault(room, self._clock.monotonic())
            self._tell(room)
            return
        try:
            await self._take(room, taken.revision)
        except ConflictError:
            found = await self._registry.get(keys.ROOM + keys.room_part(room))
            if found is None or found.revision != taken.revision:
                self._lose(room)

    async def _settle(self, room: RoomKey) -> None:
        """See to a room that may be without an owner, or without tasks."""
        view = self._view
        taken, owner, token = view.rooms.get(room), view.owner_of(room), self._owned.get(room)
        if not view.tasks_in(room):
            if token is not None:
                if not self._holds[room] and not self._has_anchors(room):
                    await self._give_back(room, token)
            elif taken is not None and owner is None:
                await self._registry.delete(keys.ROOM + keys.room_part(room), taken.revision)
            if view.tasks_in(room):
                return  # one has come meanwhile
        elif owner is None and token is None and room not in self._retaken:
            if not self.is_leaving and self._is_my_turn(room, taken):
                await self._take(room, 0 if taken is None else taken.revision)
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

    async def _give_back(self, room: RoomKey, token: int) -> None:
        self._giving_back.add(room)
        try:
            # Or it is gone, by a try of ours whose answer did not come, or another node's.
            with suppress(ConflictError):
                await self._registry.delete(keys.ROOM + keys.room_part(room), token)
        finally:
            self._giving_back.discard(room)
        self._forget(room, token)

    def _forget(self, room: RoomKey, token: int) -> None:
        if self._owned.get(room) == token:
            del self._owned[room]
            self._given_back[room] = token
            self._tell(room)

    async def _take(self, room: RoomKey, revision: int) -> None:
        lease = self._lease
        value = json.dumps({"node": lease.node, "session": lease.session}).encode()
        key = keys.ROOM + keys.room_part(room)
        session = lease.session
        if revision:
            token = await self._registry.update(key, value, revision)
        else:
            token = await self._registry.create(key, value)
        if lease.session == session:  # or it is to be taken anew
            self._own(room, token)

    def _is_mine(self, taken: RoomOwner) -> bool:
        return taken.node == self._lease.node and taken.session == self._lease.session

    def _own(self, room: RoomKey, token: int) -> None:
        if self._owned.get(room) == token:
            return
        self._retaken.discard(room)
        self._waiting.pop(room, None)
        self._owned[room] = token
        _log.info("room is this node's", token=token, **_fields(room))
        self._tell(room)

    def _tell(self, room: RoomKey) -> None:
        for call in self._on_changed:
            call(room)


def _fields(room: RoomKey) -> dict[str, object]:
    return {"sdk_app_id": room.sdk_app_id, "room_id": room.wire_id}
