"""Rooms without media, moved by hand: who comes and goes is the test's to say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cloudslice.ids import RoomKey
from cloudslice.rooms.base import LeaveCode, RoomListener
from cloudslice.rooms.management import RoomNotFoundError
from helpers.tracks import ManualAnchor, ManualAudio


@dataclass
class _Room:
    anchors: dict[str, ManualAnchor] = field(default_factory=dict)
    robots: dict[str, RoomListener] = field(default_factory=dict)


@dataclass(frozen=True)
class _Attendance:
    leave: Callable[[], None]

    def catch_up(self) -> None:
        """Nothing waits here."""


class ManualRooms:
    """A RoomProvider and RoomService with the rules of our own rooms."""

    entry_timeout_s = 10.0

    def __init__(self) -> None:
        self._rooms: dict[RoomKey, _Room] = {}

    @property
    def robots(self) -> set[tuple[RoomKey, str]]:
        """Every robot with its room."""
        return {(key, robot) for key, room in self._rooms.items() for robot in room.robots}

    def anchor(self, key: RoomKey, user_id: str) -> ManualAnchor:
        return self._rooms[key].anchors[user_id]

    def join(self, key: RoomKey, user_id: str) -> bool:
        """An anchor with audio comes in; False if a robot has its id, or it is there already."""
        room = self._rooms.setdefault(key, _Room())
        if user_id in room.robots or user_id in room.anchors:
            return False
        anchor = room.anchors[user_id] = ManualAnchor(user_id, ManualAudio())
        for robot in list(room.robots.values()):
            robot.on_anchor_joined(anchor)
        return True

    def leave(self, key: RoomKey, user_id: str) -> None:
        """An anchor goes, if it is there."""
        room = self._rooms.get(key, _Room())
        anchor = room.anchors.pop(user_id, None)
        if anchor is not None:
            for robot in list(room.robots.values()):
                robot.on_anchor_left(anchor)
        self._drop_if_empty(key)

    async def enter(self, key: RoomKey, robot_user_id: str, listener: RoomListener) -> _Attendance:
        room = self._rooms.setdefault(key, _Room())
        former = room.robots.pop(robot_user_id, None)
        if former is not None:
            former.on_evicted(LeaveCode.REPLACED)
        room.robots[robot_user_id] = listener
        for anchor in room.anchors.values():
            listener.on_anchor_joined(anchor)
        return _Attendance(lambda: self._robot_left(key, robot_user_id, listener))

    async def check(self, key: RoomKey, robot_user_id: str) -> None:
        """All rooms can be entered."""

    def holds_user(self, key: RoomKey, user_id: str) -> bool:
        return user_id in self._rooms.get(key, _Room()).anchors

    async def exists(self, room: RoomKey) -> bool:
        return room in self._rooms

    async def remove_users(self, room: RoomKey, user_ids: Sequence[str]) -> None:
        self._put_out(room, user_ids, LeaveCode.REMOVED)

    async def dismiss(self, room: RoomKey) -> None:
        members = self._rooms.get(room, _Room())
        self._put_out(room, [*members.robots, *members.anchors], LeaveCode.ROOM_DISMISSED)

    def _put_out(self, key: RoomKey, user_ids: Sequence[str], code: LeaveCode) -> None:
        if key not in self._rooms:
            raise RoomNotFoundError
        room = self._rooms[key]
        for user_id in user_ids:
            robot = room.robots.pop(user_id, None)
            if robot is not None:
                robot.on_evicted(code)
            self.leave(key, user_id)
        self._drop_if_empty(key)

    def _robot_left(self, key: RoomKey, robot_user_id: str, listener: RoomListener) -> None:
        room = self._rooms.get(key)
        if room is not None and room.robots.get(robot_user_id) is listener:
            del room.robots[robot_user_id]
            self._drop_if_empty(key)

    def _drop_if_empty(self, key: RoomKey) -> None:
        room = self._rooms.get(key)
        if room is not None and not room.anchors and not room.robots:
            del self._rooms[key]
