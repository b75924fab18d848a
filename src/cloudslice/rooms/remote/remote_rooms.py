"""The rooms of one kind that are on other people's servers: a `RoomProvider`."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType
from typing import Self

from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.faults import Faults
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import LeaveCode, RoomEntryError, RoomListener
from cloudslice.rooms.management import RoomNotFoundError, RoomServerError
from cloudslice.rooms.remote.remote_room import RemoteRoom, RoomState
from cloudslice.rooms.remote.room_reports import RoomReports
from cloudslice.rooms.remote.room_server import RoomServer, UnreachableError, user_id_taken

_CHECK_S = 5.0
"""The API's caller has its answer within 6 s. Servers give up, and say why, a second before."""


class _RobotAttendance:
    """A robot's Attendance of a remote room."""

    def __init__(self, rooms: "RemoteRooms", key: RoomKey, user_id: str, robot: RoomListener):
        self._rooms = rooms
        self._key = key
        self._user_id = user_id
        self._robot = robot

    def catch_up(self) -> None:
        room = self._rooms.find(self._key)
        if room is not None:
            room.catch_up()

    def leave(self) -> None:
        self._rooms.leave(self._key, self._user_id, self._robot)


class RemoteRooms(AbstractAsyncContextManager["RemoteRooms"]):
    """See the module. A context in which rooms are visited; at its end all are left.

    Args:
        kind: the name that the setting `rooms` of an app has.
        servers: by SdkAppId.
        grace_s: see `RemoteRoom`.
        clock: for time-outs.
        bus: is told of anchors and their media.
    """

    def __init__(
        self,
        kind: str,
        servers: Mapping[int, RoomServer],
        grace_s: float,
        clock: Clock,
        bus: Bus,
    ) -> None:
        self.faults = Faults(f"{kind} rooms")
        self.entry_timeout_s = grace_s + 1.0  # who waits longer than a room does hears its reason
        self._servers = servers
        self._grace_s = grace_s
        self._clock = clock
        self._bus = bus
        self._rooms: dict[RoomKey, RemoteRoom] = {}
        self._runs: dict[RoomKey, asyncio.Task[None]] = {}
        self._entering: dict[RoomKey, list[tuple[str, RoomListener]]] = {}
        """Robots that are on their way in, with their UserIds."""
        self._group = asyncio.TaskGroup()
        self._counts_of_ended = Counter[str]()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for key in list(self._rooms):
            self._close(key)
        await self._group.__aexit__(kind, error, trace)

    async def check(self, key: RoomKey, robot_user_id: str) -> None:
        """See `RoomProvider`."""
        room = self._rooms.get(key)
        if room is not None and room.state is RoomState.CONNECTED:
            return
        try:
            async with asyncio.timeout(_CHECK_S):
                await self._servers[key.sdk_app_id].check(key, robot_user_id)
        except UnreachableError as error:
            raise RoomEntryError(str(error)) from error
        except TimeoutError as error:
            raise RoomEntryError(f"the server of rooms gave no answer in {_CHECK_S:g} s") from error

    async def enter(
        self, key: RoomKey, robot_user_id: str, listener: RoomListener
    ) -> _RobotAttendance:
        """See `RoomProvider`."""
        if self.holds_user(key, robot_user_id):
            raise user_id_taken(robot_user_id)
        room = self._rooms.get(key) or self._open(key)
        entering = (robot_user_id, listener)
        self._entering.setdefault(key, []).append(entering)
        try:
            await room.entered()
            if self._rooms.get(key) is not room:
                raise RoomEntryError("the room has ended")
            room.add_robot(robot_user_id, listener)
        finally:
            self._entering[key].remove(entering)
            self._close_if_unused(key, room)
        return _RobotAttendance(self, key, robot_user_id, listener)

    def holds_user(self, key: RoomKey, user_id: str) -> bool:
        """See `RoomProvider`. Known of rooms only that a robot is in; of others `check` says it."""
        return key in self._rooms and user_id in self._rooms[key].anchors

    async def exists(self, room: RoomKey) -> bool:
        """See `RoomService`."""
        if room in self._rooms:
            return True
        with _told():
            return await self._servers[room.sdk_app_id].exists(room)

    async def remove_users(self, room: RoomKey, user_ids: Sequence[str]) -> None:
        """See `RoomService`."""
        await self._require(room)
        visited = self._rooms.get(room)
        robots, anchors = self._robot_ids(room), visited.anchors if visited is not None else {}
        # A person may have a robot's name: on the server a robot has another one.
        others = [each for each in user_ids if each not in robots or each in anchors]
        if others:
            with _told():
                await self._servers[room.sdk_app_id].remove_users(room, others)
        self._evict(room, robots.intersection(user_ids), LeaveCode.REMOVED)

    async def dismiss(self, room: RoomKey) -> None:
        """See `RoomService`."""
        await self._require(room)
        visited = self._rooms.get(room)
        if visited is not None:
            visited.is_being_dismissed = True
        try:
            with _told():
                await self._servers[room.sdk_app_id].dismiss(room)
        finally:
            if visited is not None:
                visited.is_being_dismissed = False
        self._evict(room, self._robot_ids(room), LeaveCode.ROOM_DISMISSED)

    async def list_rooms(
        self, sdk_app_id: int, types: Collection[RoomIdType]
    ) -> Mapping[RoomKey, bool]:
        """See `RoomServer`."""
        return await self._servers[sdk_app_id].list_rooms(sdk_app_id, types)

    def find(self, key: RoomKey) -> RemoteRoom | None:
        """The room, if a robot is in it or on its way."""
        return self._rooms.get(key)

    def leave(self, key: RoomKey, robot_user_id: str, robot: RoomListener) -> None:
        """Have a robot out of its room; harmless when it is out."""
        room = self._rooms.get(key)
        if room is not None:
            room.remove_robot(robot_user_id, robot)
            self._close_if_unused(key, room)

    @property
    def anchor_count(self) -> int:
        """How many anchors are in all rooms."""
        return sum(len(room.anchors) for room in self._rooms.values())

    @property
    def states(self) -> Counter[str]:
        """How many rooms are in each state."""
        none = {state.value: 0 for state in RoomState}
        return Counter(none | Counter(room.state.value for room in self._rooms.values()))

    def media_counts(self) -> Counter[str]:
        """What all visits have received and dropped since the start."""
        total = self._counts_of_ended.copy()
        for room in self._rooms.values():
            total.update(room.media_counts)
        return total

    def _robot_ids(self, key: RoomKey) -> set[str]:
        """The UserIds of the robots that are in a room or on their way."""
        room = self._rooms.get(key)
        inside = set(room.robots) if room is not None else set()
        return inside.union(user_id for user_id, _ in self._entering.get(key, ()))

    def _evict(self, key: RoomKey, user_ids: Collection[str], code: LeaveCode) -> None:
        """Put robots out. One on its way is told at once, and leaves when it has come."""
        for user_id, robot in list(self._entering.get(key, ())):
            if user_id in user_ids:
                robot.on_evicted(code)
        room = self._rooms.get(key)
        if room is not None:
            for user_id in user_ids:
                room.evict_robot(user_id, code)
            self._close_if_unused(key, room)

    async def _require(self, room: RoomKey) -> None:
        if not await self.exists(room):
            raise RoomNotFoundError

    def _open(self, key: RoomKey) -> RemoteRoom:
        server = self._servers[key.sdk_app_id]
        reports = RoomReports(key, self._bus)
        room = RemoteRoom(key, server, self._grace_s, self._clock, reports, self.faults)
        self._rooms[key] = room
        self._runs[key] = self._group.create_task(self._run(key, room))
        return room

    async def _run(self, key: RoomKey, room: RemoteRoom) -> None:
        try:
            await room.run()
        finally:
            self._counts_of_ended.update(room.media_counts)
            if self._rooms.get(key) is room:
                del self._rooms[key], self._runs[key]

    def _close_if_unused(self, key: RoomKey, room: RemoteRoom) -> None:
        if not room.robots and not self._entering.get(key):
            self._entering.pop(key, None)
            if self._rooms.get(key) is room:
                self._close(key)

    def _close(self, key: RoomKey) -> None:
        """A robot that comes from now on opens another visit, while this one is being left."""
        del self._rooms[key]
        self._runs.pop(key).cancel()


@contextmanager
def _told() -> Iterator[None]:
    """The server's silence or refusal, as the API's actions on rooms know it."""
    try:
        yield
    except (UnreachableError, RoomEntryError) as error:
        raise RoomServerError(str(error)) from error
