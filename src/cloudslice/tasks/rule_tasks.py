"""The tasks of one rule: they begin and end with their rooms.

1. A rule's task is one of its robot's UserId in a room that matches. While there is one, no second
   one begins, also not after a restart.
2. A task begins when somebody comes into a room, or sends media there. It is deleted when the room
   has ended.
3. A task that ends before its room: if it was idle, another one begins when somebody comes or sends
   again; if its connection was lost, after a pause. If somebody has ended it, there is none until
   the room has ended and begun again.
4. What cannot begin is tried again after a pause that doubles. Where the app's limit or the spool
   is the reason, all of the rule waits until a task of the app has ended.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from cloudslice.clock import Clock
from cloudslice.faults import Faults
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.slices import TaskRef
from cloudslice.tasks.auto_task_rules import AutoTaskRule
from cloudslice.tasks.model import (
    SpoolFullError,
    TaskError,
    TaskNotFoundError,
    TooManyTasksError,
)
from cloudslice.tasks.rule_service import FindTasks, KnownTask, RuleService

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 60.0
_FULL_PAUSE_S = 1.0
"""While the app may have no more tasks, rooms are not looked at more often."""
_FULL_RETRY_S = 60.0
"""After so long the limit is tried again, whatever was heard."""


_LISTED_LATE_S = 10.0
"""A list of rooms may be older, by so much, than what another node has heard."""


@dataclass(slots=True)
class _Room:
    """A room that is there and matches."""

    is_active: bool = False
    """Somebody has come or sends, since the room's last task ended."""
    is_done: bool = False
    """Somebody has ended its task."""
    task_id: str | None = None
    """Of its task, until that has ended."""
    failures: int = 0
    retry_at: float = 0.0
    """Monotonic second."""
    there_until: float = 0.0
    """Until this monotonic second it is there, though a list does not have it."""

    def postpone(self, now: float) -> None:
        self.failures += 1
        self.retry_at = now + min(_FIRST_PAUSE_S * 2 ** (self.failures - 1), _LONGEST_PAUSE_S)


class RuleTasks:
    """One rule at work."""

    def __init__(
        self,
        rule: AutoTaskRule,
        tasks: RuleService,
        find_tasks: FindTasks,
        clock: Clock,
        faults: Faults,
        counts: Counter[str],
    ) -> None:
        self.rule = rule
        self._tasks = tasks
        self._find_all = find_tasks
        self._clock = clock
        self._faults = faults
        self._counts = counts
        self._rooms: dict[RoomKey, _Room] = {}
        self._is_full = False
        """Whether the last try has met a limit that concerns all rooms."""
        self._left: set[str] = set()
        """Tasks that have ended, as long as they are still known."""
        self._news = asyncio.Event()

    def take_up(self) -> None:
        """Go on with the rule's tasks of a former process. Their rooms count as there until it is
        heard that they are not: people need some seconds to come back."""
        for key, task in self._find_tasks().items():
            if self.rule.matches(key) and task.leave_code is None:
                self._rooms[key] = _Room(task_id=task.task_id)

    def note_active(self, key: RoomKey) -> None:
        if self.rule.matches(key):
            room = self._rooms.setdefault(key, _Room())
            room.is_active = True
            if room.task_id is None:
                self._news.set()

    def note_ended(self, room: RoomKey) -> None:
        if self._rooms.pop(room, None) is not None:
            self._news.set()

    def note_begun(self, task: KnownTask) -> None:
        """Another node has begun a task, or this node goes on with it: its room is there."""
        if task.robot_user_id == self.rule.robot_user_id and self.rule.matches(task.room):
            room = self._rooms.setdefault(task.room, _Room())
            if room.task_id is None and task.task_id not in self._left:
                room.task_id, room.failures = task.task_id, 0
                room.there_until = self._clock.monotonic() + _LISTED_LATE_S

    def note_stopped_with_room(self, task: KnownTask) -> None:
        """Another node has heard of the end of a room, and stops its task."""
        room = self._rooms.get(task.room)
        if room is not None and room.task_id == task.task_id:
            del self._rooms[task.room]

    def forget(self, room: RoomKey) -> None:
        """A room is another node's business now."""
        self._rooms.pop(room, None)

    def note_all(self, rooms: Mapping[RoomKey, bool]) -> None:
        now = self._clock.monotonic()
        gone = [key for key, room in self._rooms.items() if key not in rooms]
        for key in gone:
            if now >= self._rooms[key].there_until:
                self.note_ended(key)
        for room, is_active in rooms.items():
            if is_active:
                self.note_active(room)
        self._news.set()  # a call may have made a task of our robot's, in a room that is not there

    def note_left(self, task: TaskRef, code: LeaveCode) -> None:
        if task.sdk_app_id != self.rule.app.sdk_app_id:
            return
        self._news.set()  # there is a place again
        if task.robot_user_id != self.rule.robot_user_id:
            return
        self._left.add(task.task_id)
        is_number = isinstance(task.room_id, int)
        room_id_type = RoomIdType.NUMBER if is_number else RoomIdType.STRING
        key = RoomKey(task.sdk_app_id, str(task.room_id), room_id_type)
        room = self._rooms.get(key)
        if room is None or room.task_id != task.task_id:
            return  # the room has ended, and perhaps begun again
        room.task_id = None
        match code:
            case LeaveCode.IDLE:
                room.is_active = False
            case LeaveCode.CONNECTION_LOST:
                room.is_active = True
                room.postpone(self._clock.monotonic())
            case LeaveCode.SERVER_DISMISSED:
                del self._rooms[key]
            case _:
                room.is_done = True

    async def run(self) -> None:
        """Have tasks be as is wanted, until cancelled."""
        while True:
            try:
                await self._wait()
                self._news.clear()
                await self._stop_tasks()
                await self._start_tasks()
            except Exception as error:
                self._faults.caught(error, **self._fields)
                await asyncio.sleep(_FIRST_PAUSE_S)

    async def _wait(self) -> None:
        """Until there is something to do, or to be tried again."""
        now = self._clock.monotonic()
        if self._is_full:
            await asyncio.sleep(_FULL_PAUSE_S)
            timeout_s: float | None = _FULL_RETRY_S
        else:
            due = [each.retry_at for each in self._rooms.values() if each.is_active]
            later = [each for each in due if each > now]
            timeout_s = min(later) - now if later else None
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            pass

    def _find_tasks(self) -> dict[RoomKey, KnownTask]:
        """The rule's tasks that are not finished, by their rooms; the newest of each room."""
        mine = [
            each
            for each in self._find_all()
            if each.robot_user_id == self.rule.robot_user_id
            and each.room.sdk_app_id == self.rule.app.sdk_app_id
        ]
        self._left &= {each.task_id for each in mine}
        return {each.room: each for each in mine if each.task_id not in self._left}

    async def _stop_tasks(self) -> None:
        for room, task in self._find_tasks().items():
            if room in self._rooms or not self.rule.matches(room) or task.leave_code is not None:
                continue
            try:
                await self._tasks.delete(room.sdk_app_id, task.task_id)
            except TaskNotFoundError:
                continue  # it has just ended
            except TaskError as error:
                _log.warning(
                    "auto-task not stopped, will try again",
                    reason=str(error),
                    task_id=task.task_id,
                    **self._fields,
                )
                asyncio.get_running_loop().call_later(_FIRST_PAUSE_S, self._news.set)
                continue
            self._counts["stopped"] += 1
            _log.info(
                "auto-task ends with its room",
                task_id=task.task_id,
                room_id=room.wire_id,
                **self._fields,
            )

    async def _start_tasks(self) -> None:
        tasks = self._find_tasks()
        for key, room in list(self._rooms.items()):
            task = tasks.get(key)
            if task is not None:
                # One that is stopping is of the room's former life: its end will be heard.
                if task.leave_code is None:
                    room.task_id, room.failures = task.task_id, 0
            elif self._is_due(key, room) and not await self._start(key, room):
                return
        self._is_full = False

    def _is_due(self, key: RoomKey, room: _Room) -> bool:
        return (
            self._rooms.get(key) is room  # it may have ended meanwhile
            and room.task_id is None
            and room.is_active
            and not room.is_done
            and room.retry_at <= self._clock.monotonic()
        )

    async def _start(self, key: RoomKey, room: _Room) -> bool:
        """Begin a room's task; False if no other one can begin either."""
        try:
            spec = self.rule.make_spec(key, self._clock.utc_ms() / 1000)
            room.task_id = await self._tasks.create(spec)
        except (TooManyTasksError, SpoolFullError) as error:
            if not self._is_full:
                _log.warning("auto-tasks have to wait", reason=str(error), **self._fields)
            self._is_full = True
            self._counts["failed"] += 1
            return False
        except TaskError as error:
            _log.warning(
                "auto-task not started, will try again",
                reason=str(error),
                room_id=key.wire_id,
                **self._fields,
            )
        except Exception as error:
            self._faults.caught(error, room_id=key.wire_id, **self._fields)
        else:
            self._counts["started"] += 1
            return True
        self._counts["failed"] += 1
        room.postpone(self._clock.monotonic())
        return True

    @property
    def _fields(self) -> dict[str, object]:
        return {"sdk_app_id": self.rule.app.sdk_app_id, "user_id": self.rule.robot_user_id}
