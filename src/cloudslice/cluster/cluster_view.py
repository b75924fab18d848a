"""What the registry says, in a node's memory: nodes, rooms, tasks, and what owners say of them.

It is behind the registry by some milliseconds, or by as long as the connection is lost: good for
choosing and showing. What is changed is decided by the registry's compare-and-set.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import structlog

from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.ended_task import EndedTask
from cloudslice.cluster.ending import end
from cloudslice.cluster.registry import Entry, Registry, RegistryError
from cloudslice.cluster.task_records import Owner, Values, read_owner, read_record
from cloudslice.faults import Faults
from cloudslice.ids import RoomKey

_QUIET_S = 1.0
"""Who hears nothing for so long asks whether it has missed something."""
_READY_S = 10.0
"""What is there may take as long as it is much: a node that starts waits as long as more comes."""
_RETRY_S = 0.5

_log = structlog.get_logger(__name__)

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node whose lease goes on, as it said itself when it refreshed it last."""

    node: str
    session: str
    """Of its lease: another one after the lease has run out once."""
    headroom: float = 1.0
    """Which part of what it can do is free: 0 to 1."""
    rooms: int = 0
    is_open: bool = True
    """Whether it takes new tasks."""
    url: str = ""
    """By which anchors reach it; empty: it has not told."""
    is_leaving: bool = False
    """It is being stopped: it takes no rooms, whoever else is there."""

    def to_value(self) -> bytes:
        """As the registry has it."""
        values = {
            "session": self.session,
            "headroom": round(self.headroom, 3),
            "rooms": self.rooms,
            "is_open": self.is_open,
            "url": self.url,
            "is_leaving": self.is_leaving,
        }
        return json.dumps(values).encode()

    @classmethod
    def from_value(cls, node: str, value: bytes) -> Self | None:
        """What `to_value` has written; None if it has not."""
        values = read_record(value)
        try:
            return cls(
                node,
                str(values["session"]),
                float(values["headroom"]),
                int(values["rooms"]),
                bool(values["is_open"]),
                str(values.get("url", "")),
                bool(values.get("is_leaving", False)),
            )
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class RoomOwner:
    """Who has taken a room, or an app's sending; its owner as long as that session of the node's
    lease goes on."""

    node: str
    session: str
    revision: int
    """The fencing token."""


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task's record."""

    room: RoomKey
    task_id: str
    values: Values

    @property
    def owner(self) -> Owner:
        """Who runs it, or has run it last."""
        return read_owner(self.values)


class ClusterView:
    """See the module; an async context manager that follows the registry.

    Attributes:
        nodes: by their names.
        rooms: those that somebody has taken.
        room_counts: how many rooms each node has taken.
        senders: who has taken the sending of an app's webhooks.
        tasks: by their TaskIds.
        statuses: what the owner of a task says of it, with the token by which it is the owner.
        ended: tasks that have ended and are not settled, by their TaskIds.
        removals: who is to be put out of rooms, by their keys.
        faults: errors that nobody foresaw, of those who listen.
    """

    def __init__(self, registry: Registry) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.rooms: dict[RoomKey, RoomOwner] = {}
        self.room_counts: Counter[str] = Counter()
        self.senders: dict[int, RoomOwner] = {}
        self.tasks: dict[str, TaskInfo] = {}
        self.statuses: dict[str, tuple[str, int]] = {}
        self.ended: dict[str, EndedTask] = {}
        self.removals: dict[str, Values] = {}
        self.faults = Faults("cluster view")
        self._registry = registry
        self._entries: dict[str, Entry] = {}
        self._in_room: dict[RoomKey, dict[str, TaskInfo]] = {}
        self._counts: Counter[int] = Counter()
        """Tasks by app."""
        self._has_changed = asyncio.Event()
        self._listeners: list[Callable[[str], object]] = []
        self._is_ready = asyncio.Event()
        self._run: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Know all that is there.

        Raises:
            RegistryError: it cannot be had.
        """
        self._run = asyncio.create_task(self._follow())
        try:
            while not self._is_ready.is_set():
                self._has_changed.clear()
                async with asyncio.timeout(_READY_S):
                    await self._has_changed.wait()
        except TimeoutError as error:
            await self.__aexit__(None, None, None)
            raise RegistryError("NATS does not tell what is in the registry") from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run is not None:
            await end(self._run)

    def listen(self, listener: Callable[[str], object]) -> None:
        """Have `listener` told of each key that was changed, after the change is in here."""
        self._listeners.append(listener)

    def owner_of(self, room: RoomKey) -> NodeInfo | None:
        """The node that has the room, if its lease goes on."""
        return self._alive(self.rooms.get(room))

    def sender_of(self, sdk_app_id: int) -> NodeInfo | None:
        """The node that sends an app's webhooks, if its lease goes on."""
        return self._alive(self.senders.get(sdk_app_id))

    def tasks_in(self, room: RoomKey) -> Mapping[str, TaskInfo]:
        """The tasks of a room, by their TaskIds."""
        return self._in_room.get(room, {})

    def room_of(self, task_id: str) -> RoomKey | None:
        """The room of a task that is known."""
        info = self.tasks.get(task_id)
        return None if info is None else info.room

    def count_tasks(self, sdk_app_id: int) -> int:
        """How many unfinished tasks an app has."""
        return self._counts[sdk_app_id]

    async def wait_for(self, condition: Callable[[], bool], within_s: float) -> None:
        """Wait until `condition` of what is in here holds, or so many seconds have passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not condition():
                    self._has_changed.clear()
                    await self._has_changed.wait()

    def _alive(self, taken: RoomOwner | None) -> NodeInfo | None:
        node = None if taken is None else self.nodes.get(taken.node)
        return node if taken is not None and node and node.session == taken.session else None

    async def _follow(self) -> None:
        while True:
            try:
                async with aclosing(self._registry.changes(quiet_s=_QUIET_S)) as changes:
                    there: set[str] | None = set()
                    async for entry in changes:
                        if entry is not None:
                            if there is not None:
                                there.add(entry.key)
                            self._apply(entry)
                        elif there is not None:
                            self._drop_others(there)
                            there = None
                            self._is_ready.set()
                            self._has_changed.set()
            except RegistryError as error:
                _log.debug("asking the registry for all anew", reason=str(error))
            except Exception as error:
                self.faults.caught(error)
            await asyncio.sleep(_RETRY_S)

    def _drop_others(self, there: set[str]) -> None:
        """What is not there any more has gone while nobody was told."""
        for key in [each for each in self._entries if each not in there]:
            self._apply(Entry(key, b"", self._entries[key].revision))

    def _apply(self, entry: Entry) -> None:
        known = self._entries.get(entry.key)
        if known is not None and entry.value and known.revision >= entry.revision:
            return
        if entry.value:
            self._entries[entry.key] = entry
        elif self._entries.pop(entry.key, None) is None:
            return
        try:
            self._parse(entry)
        except ValueError:
            _log.warning("a key of the registry cannot be read", key=entry.key)
        self._has_changed.set()
        for listener in self._listeners:
            try:
                listener(entry.key)
            except Exception as error:
                self.faults.caught(error, key=entry.key)

    def _parse(self, entry: Entry) -> None:
        key, value = entry.key, entry.value
        if key.startswith(keys.NODE):
            node = key.removeprefix(keys.NODE)
            _set(self.nodes, node, NodeInfo.from_value(node, value) if value else None)
        elif key.startswith(keys.ROOM):
            room = keys.read_room_part(key.removeprefix(keys.ROOM))
            owner = _read_owner(entry)
            if room in self.rooms:
                self.room_counts[self.rooms[room].node] -= 1
            if owner is not None:
                self.room_counts[owner.node] += 1
            _set(self.rooms, room, owner)
        elif key.startswith(keys.SENDER):
            _set(self.senders, int(key.removeprefix(keys.SENDER)), _read_owner(entry))
        elif key.startswith(keys.TASK):
            room, task_id = keys.read_task_key(key)
            task = TaskInfo(room, task_id, read_record(value)) if value else None
            self._counts[room.sdk_app_id] += (task is not None) - (task_id in self.tasks)
            _set(self.tasks, task_id, task)
            in_room = self._in_room.setdefault(room, {})
            _set(in_room, task_id, task)
            if not in_room:
                del self._in_room[room]
        elif key.startswith(keys.REMOVAL):
            _set(self.removals, key, read_record(value) if value else None)
        elif key.startswith(keys.STATUS):
            values = read_record(value)
            task_id = keys.read_status_key(key)
            status = (str(values.get("status", "")), int(values.get("token", 0)))
            _set(self.statuses, task_id, status if value else None)
        elif key.startswith(keys.ENDED):
            ended = EndedTask.from_value(value) if value else None
            _set(self.ended, keys.read_ended_key(key), ended)


def _read_owner(entry: Entry) -> RoomOwner | None:
    values = read_record(entry.value)
    owner = RoomOwner(str(values.get("node", "")), str(values.get("session", "")), entry.revision)
    return owner if entry.value else None


def _set(there: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        there.pop(key, None)
    else:
        there[key] = value
