"""Runs the tasks of one node: a robot for each, from Create to event 1002, across restarts."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import ParamSpec, Self

import structlog

from cloudslice.clock import Clock
from cloudslice.config import AppSettings, LimitSettings, Settings
from cloudslice.database import Database, DatabaseError
from cloudslice.delivery.service import Delivery
from cloudslice.faults import Faults
from cloudslice.identity.user_sig import IdentityError, verify_user_sig
from cloudslice.rooms.base import Attendance, LeaveCode, RoomEntryError, RoomProvider
from cloudslice.secrets import SecretBox
from cloudslice.slices import TaskRef
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.params import SubscriptionLists
from cloudslice.slicing.pictures.due_times import DueTimes
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.slicing.robot import Robot
from cloudslice.steady_clock import SteadyClock
from cloudslice.tasks import registry
from cloudslice.tasks.entry import enter_room
from cloudslice.tasks.model import (
    RobotIdTakenError,
    SpoolFullError,
    TaskNotFoundError,
    TaskSpec,
    TaskStatus,
    TooManyTasksError,
)
from cloudslice.tasks.registry import StoredTask
from cloudslice.tasks.task_id import new_task_id
from cloudslice.tick import Tick

_log = structlog.get_logger(__name__)

P = ParamSpec("P")

_WRITE_RETRY_S = 2.0


@dataclass(eq=False, slots=True)
class RunningTask:
    """An unfinished task and its robot."""

    stored: StoredTask
    robot: Robot
    attendance: Attendance | None = None
    entry: asyncio.Task[None] | None = None
    """Ends once the robot has entered or failed, and event 1001 is recorded."""

    @property
    def status(self) -> TaskStatus:
        """What DescribeCloudSliceTask says of it."""
        if self.stored.leave_code is not None:
            return TaskStatus.EXITED
        return TaskStatus.IN_PROGRESS if self.robot.is_slicing else TaskStatus.IDLE


class Supervisor:
    """The TaskService of one node; an asynchronous context manager.

    Entering it takes up the tasks that a former process has left. Leaving it closes their open
    slices; the tasks themselves go on with the next process.

    Args:
        settings: the apps with their limits and secret keys.
        database: holds the tasks; with the SCHEMA of `registry` and that of `steady_clock`.
        box: encrypts their signatures.
        delivery: takes slices and events.
        rooms: by the name that an app's `rooms` setting has.
        pictures: makes pictures of key frames.
        clock: for idle times, expiry and slicing.
        tick: on which robots do what is due.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        box: SecretBox,
        delivery: Delivery,
        rooms: Mapping[str, RoomProvider],
        pictures: PicturePool,
        clock: Clock,
        tick: Tick,
    ) -> None:
        self._settings = settings
        self._database = database
        self._box = box
        self._delivery = delivery
        self._rooms = rooms
        self._pictures = pictures
        self._due_times = DueTimes()
        self._clock = clock
        self._steady = SteadyClock(database, clock, "tasks")
        self._tasks: dict[str, RunningTask] = {}
        self._creating: dict[int, int] = {}
        self._of_ended = SlicingCounters()
        self.faults = Faults("task")
        """Unforeseen errors: each ends or delays one step of one task."""
        self._group = asyncio.TaskGroup()
        self._tick = tick

    async def __aenter__(self) -> Self:
        stored = await self._database.run(lambda c: registry.load_tasks(c, self._box))
        await self._steady.__aenter__()
        await self._group.__aenter__()
        self._tick.add(self)
        for each in stored:
            self._take_up(each)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tick.remove(self)
        for task in self._tasks.values():
            if task.entry is not None and task.stored.leave_code is None:
                task.entry.cancel()  # the next process enters anew
            self._leave(task)
        await self._pictures.settle()
        try:
            await self._group.__aexit__(kind, error, traceback)
        finally:
            await self._steady.__aexit__(kind, error, traceback)

    async def create(self, spec: TaskSpec) -> str:
        """Start a task (TaskService.create)."""
        app = self._admit(spec)
        app_id = app.sdk_app_id
        stored = registry.stored_task(spec, new_task_id(), self._steady.now_ms())
        # Counted from here on, so that creations side by side cannot pass the limit together.
        self._creating[app_id] = self._creating.get(app_id, 0) + 1
        try:
            await self._delivery.open(
                _consignor(stored),
                spec.bucket,
                also=lambda c: registry.insert_task(c, stored, self._box),
            )
        finally:
            self._creating[app_id] -= 1
        self._run(stored, app)
        _log.info("task created", **_fields(stored))
        return stored.task_id

    @property
    def is_active(self) -> bool:
        """Whether robots need ticks."""
        return bool(self._tasks)

    def tick(self, now: float) -> None:
        """Have all robots do what is due at monotonic second `now`."""
        for task in list(self._tasks.values()):
            try:
                task.robot.tick(now)
            except Exception as error:
                # A bug that one task meets is not to end the others.
                self.faults.caught(error, **_fields(task.stored))

    def describe(self, sdk_app_id: int, task_id: str) -> TaskStatus:
        """A task's status (TaskService.describe)."""
        return self._find(sdk_app_id, task_id).status

    async def modify(self, sdk_app_id: int, task_id: str, lists: SubscriptionLists | None) -> None:
        """Replace a task's lists (TaskService.modify)."""
        task = self._find(sdk_app_id, task_id)
        if lists is None or task.stored.leave_code is not None:
            return
        # The cut is here, at the call, however long the disk takes: what has arrived by now counts
        # by the former lists. An app that blocks somebody must not find him recorded later.
        self._subscribe(task, lists)
        try:
            await self._database.run(lambda c: registry.set_lists(c, task_id, lists))
        except Exception:
            if task.robot.lists is lists:  # no later call has set others
                self._subscribe(task, task.stored.lists)
            raise
        task.stored.lists = lists
        _log.info("task modified", **_fields(task.stored))

    async def delete(self, sdk_app_id: int, task_id: str) -> None:
        """Begin a task's stop (TaskService.delete)."""
        task = self._find(sdk_app_id, task_id)
        if task.stored.leave_code is None:
            self._stop(task, LeaveCode.STOPPED)
            await self._store_stop(task_id, LeaveCode.STOPPED)

    def count_by_status(self) -> dict[TaskStatus, int]:
        """How many unfinished tasks there are of each status."""
        counts = dict.fromkeys(TaskStatus, 0)
        for task in self._tasks.values():
            counts[task.status] += 1
        return counts

    def slicing_counters(self) -> SlicingCounters:
        """What all robots have made and left out since the start."""
        total = SlicingCounters()
        total.add(self._of_ended)
        for task in self._tasks.values():
            total.add(task.robot.counters)
        return total

    def _admit(self, spec: TaskSpec) -> AppSettings:
        app_id = spec.room.sdk_app_id
        app = self._settings.app(app_id)
        unfinished = sum(each.stored.room.sdk_app_id == app_id for each in self._tasks.values())
        if app is None or unfinished + self._creating.get(app_id, 0) >= app.limits.tasks:
            raise TooManyTasksError(f"the app's limit of unfinished tasks is reached: {unfinished}")
        if self._delivery.is_full:
            raise SpoolFullError("the spool of slices that wait for their upload is full")
        if self._rooms[app.rooms].holds_user(spec.room, spec.robot_user_id):
            raise RobotIdTakenError(
                f"`UserId` {spec.robot_user_id} is in the room already, and is not a robot"
            )
        return app

    def _find(self, sdk_app_id: int, task_id: str) -> RunningTask:
        task = self._tasks.get(task_id)
        if (
            task is None
            or task.stored.room.sdk_app_id != sdk_app_id
            or task.stored.callable_until_ms <= self._steady.now_ms()
        ):
            raise TaskNotFoundError("no such task, or it has ended")
        return task

    def _take_up(self, stored: StoredTask) -> None:
        """Go on with a task of a former process."""
        app = self._settings.app(stored.room.sdk_app_id)
        if stored.leave_code is None and app is not None and self._may_enter(stored, app):
            self._run(stored, app)
            _log.info("task resumed", **_fields(stored))
            return
        if app is None:
            _log.error("task not resumed: its app is not in the settings", **_fields(stored))
        stored.leave_code = stored.leave_code or LeaveCode.CONNECTION_LOST
        task = RunningTask(stored, self._make_robot(stored, LimitSettings()))
        self._tasks[stored.task_id] = task
        self._spawn(self._finish, task, stored.leave_code)

    def _may_enter(self, stored: StoredTask, app: AppSettings) -> bool:
        """Whether the robot may enter its room once more."""
        try:
            verify_user_sig(
                stored.user_sig,
                app.secret_key.get_secret_value(),
                app.sdk_app_id,
                stored.robot_user_id,
                now_s=self._clock.utc_ms() / 1000,
            )
        except IdentityError as error:
            _log.error("task not resumed: bad UserSig", reason=str(error), **_fields(stored))
            return False
        return True

    def _run(self, stored: StoredTask, app: AppSettings) -> None:
        task = RunningTask(stored, self._make_robot(stored, app.limits))
        self._tasks[stored.task_id] = task
        self._tick.wake()
        task.entry = self._spawn(self._enter, task, self._rooms[app.rooms])

    def _make_robot(self, stored: StoredTask, limits: LimitSettings) -> Robot:
        return Robot(
            stored.task_id,
            stored.slicing,
            stored.lists,
            store=self._delivery,
            pictures=self._pictures,
            due_times=self._due_times,
            clock=self._clock,
            max_anchors=limits.anchors_per_task,
            faults=self.faults,
            on_finished=lambda code: self._stop_by_id(stored.task_id, code),
        )

    def _spawn(
        self, work: Callable[P, Awaitable[None]], *arguments: P.args, **named: P.kwargs
    ) -> asyncio.Task[None]:
        """Run `work` beside all else. What it raises is counted, and ends nothing but itself."""
        return self._group.create_task(self._fenced(work, *arguments, **named))

    async def _fenced(
        self, work: Callable[P, Awaitable[None]], *arguments: P.args, **named: P.kwargs
    ) -> None:
        try:
            await work(*arguments, **named)
        except Exception as error:
            self.faults.caught(error)

    async def _enter(self, task: RunningTask, rooms: RoomProvider) -> None:
        stored = task.stored
        try:
            task.attendance = await enter_room(
                rooms,
                stored.room,
                stored.robot_user_id,
                task.robot,
                is_wanted=lambda: stored.leave_code is None,
                faults=self.faults,
            )
        except RoomEntryError as error:
            _log.warning("robot could not enter", reason=str(error), **_fields(stored))
            await self._record_entry(task, has_failed=True)
            self._stop(task, LeaveCode.CONNECTION_LOST)
            return
        if stored.leave_code is not None:
            self._leave(task)  # stopped on the way in
        await self._record_entry(task, has_failed=False)

    def _leave(self, task: RunningTask) -> None:
        """Have the robot out of its room, with all that has arrived by now in its slices."""
        for step in (task.attendance.leave if task.attendance else None, task.robot.stop):
            try:
                if step is not None:
                    step()
            except Exception as error:
                self.faults.caught(error, **_fields(task.stored))

    def _subscribe(self, task: RunningTask, lists: SubscriptionLists) -> None:
        """Have the robot go by `lists` for all that arrives from now on."""
        now = self._clock.monotonic()
        if task.attendance is not None:
            task.attendance.catch_up()
        task.robot.set_lists(lists, now)

    async def _record_entry(self, task: RunningTask, *, has_failed: bool) -> None:
        if not task.stored.has_entered:
            task.stored.has_entered = True
            task_id = task.stored.task_id
            await self._persist(
                lambda: self._delivery.record_start(
                    task_id,
                    has_failed=has_failed,
                    also=lambda c: registry.set_entered(c, task_id),
                )
            )

    async def _store_stop(self, task_id: str, code: LeaveCode) -> None:
        await self._database.run(lambda c: registry.set_stopping(c, task_id, code))

    def _stop_by_id(self, task_id: str, code: LeaveCode) -> None:
        task = self._tasks.get(task_id)
        if task is not None:
            self._stop(task, code)

    def _stop(self, task: RunningTask, code: LeaveCode) -> None:
        """Begin the stop; once begun, nothing changes its code."""
        if task.stored.leave_code is None:
            task.stored.leave_code = code
            self._spawn(self._finish, task, code)

    async def _finish(self, task: RunningTask, code: LeaveCode) -> None:
        task_id = task.stored.task_id
        self._leave(task)  # first, however long the disk takes: nothing more is recorded
        await self._persist(lambda: self._store_stop(task_id, code))
        if task.entry is not None:
            await asyncio.wait({task.entry})  # 1001 comes before 1002
        await self._persist(self._pictures.settle)
        await self._persist(self._delivery.flush)
        await self._persist(
            lambda: self._delivery.record_stop(
                task_id, int(code), also=lambda c: registry.delete_task(c, task_id)
            )
        )
        del self._tasks[task_id]
        self._of_ended.add(task.robot.counters)
        _log.info("task ended", leave_code=int(code), **_fields(task.stored))

    async def _persist(self, write: Callable[[], Awaitable[None]]) -> None:
        """Do a write that must not be left out, however long the disk refuses it."""
        while True:
            try:
                return await write()
            except DatabaseError as error:
                _log.error("write failed, will be repeated", reason=str(error))
            except Exception as error:
                self.faults.caught(error)
            await asyncio.sleep(_WRITE_RETRY_S)


def _consignor(stored: StoredTask) -> TaskRef:
    return TaskRef(
        stored.task_id, stored.room.sdk_app_id, stored.room.wire_id, stored.robot_user_id
    )


def _fields(stored: StoredTask) -> dict[str, object]:
    return {
        "task_id": stored.task_id,
        "sdk_app_id": stored.room.sdk_app_id,
        "room_id": stored.room.wire_id,
    }
