"""Runs the tasks of one node: a robot for each, from Create to event 1002, across restarts."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import ParamSpec, Self

import structlog

from cloudslice.clock import Clock
from cloudslice.config import AppSettings, LimitSettings, Settings
from cloudslice.faults import Faults
from cloudslice.identity.user_sig import IdentityError, verify_user_sig
from cloudslice.rooms.base import Attendance, LeaveCode, RoomEntryError, RoomProvider
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.slicing.pictures.due_times import DueTimes
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.slicing.robot import Robot
from cloudslice.tasks.deliveries import Deliveries
from cloudslice.tasks.entry import enter_room
from cloudslice.tasks.model import TaskStatus
from cloudslice.tasks.store import BrokenTask, StoredTask, StoreError, TaskStore
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
    has_tried: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the robot has entered, or failed."""
    is_stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a leave code is."""
    life: asyncio.Task[None] | None = None

    @property
    def status(self) -> TaskStatus:
        """What DescribeCloudSliceTask says of it."""
        if self.stored.leave_code is not None:
            return TaskStatus.EXITED
        return TaskStatus.IN_PROGRESS if self.robot.is_slicing else TaskStatus.IDLE

    def is_of_robot(self, other: "RunningTask") -> bool:
        """Whether it is of the same robot as another one: only one of them can be in the room."""
        mine, others = self.stored, other.stored
        return (mine.room, mine.robot_user_id) == (others.room, others.robot_user_id)


class Worker:
    """Makes robots be as is wanted of their tasks; an asynchronous context manager.

    Entering it takes up the tasks that a former process has left. Leaving it closes their open
    slices; the tasks themselves go on with the next process.

    Attributes:
        faults: unforeseen errors: each ends or delays one step of one task.
        taken_up: the TaskIds that were on record at the start.
    """

    def __init__(
        self,
        settings: Settings,
        store: TaskStore,
        deliveries: Deliveries,
        rooms: Mapping[str, RoomProvider],
        pictures: PicturePool,
        clock: Clock,
        tick: Tick,
    ) -> None:
        """
        Args:
            settings: the apps with their limits and secret keys.
            store: holds the tasks.
            deliveries: takes their slices.
            rooms: by the name that an app's `rooms` setting has.
            pictures: makes pictures of key frames.
            clock: for idle times and slicing.
            tick: on which robots do what is due.
        """
        self.faults = Faults("task")
        self.taken_up: frozenset[str] = frozenset()
        self._settings = settings
        self._store = store
        self._deliveries = deliveries
        self._rooms = rooms
        self._pictures = pictures
        self._due_times = DueTimes()
        self._clock = clock
        self._tasks: dict[str, RunningTask] = {}
        self._of_ended = SlicingCounters()
        self._group = asyncio.TaskGroup()
        self._tick = tick

    async def __aenter__(self) -> Self:
        """Take up what is there.

        Raises:
            StoreError: the tasks cannot be read.
        """
        tasks, broken = await self._store.load()
        self.taken_up = frozenset(
            (*(each.task_id for each in tasks), *(each.ref.task_id for each in broken))
        )
        await self._group.__aenter__()
        self._tick.add(self)
        for task in tasks:
            self._take_up(task)
        for each in broken:
            self._spawn(self._end_broken, each)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tick.remove(self)
        for task in self._tasks.values():
            self._leave(task)
            if task.life is not None and task.stored.leave_code is None:
                task.life.cancel()  # the next process goes on with it
        try:
            await self._pictures.settle()
        except Exception as fault:
            self.faults.caught(fault)
        finally:
            await self._group.__aexit__(kind, error, traceback)

    @property
    def tasks(self) -> Collection[RunningTask]:
        """All unfinished ones."""
        return self._tasks.values()

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
                self.faults.caught(error, **task.stored.log_fields)

    def find(self, task_id: str) -> RunningTask | None:
        """An unfinished task."""
        return self._tasks.get(task_id)

    def run(self, stored: StoredTask, app: AppSettings) -> None:
        """Have a robot enter the room of a task that is in the store."""
        self._begin(stored, app.limits, self._rooms[app.rooms])

    def change(
        self, task: RunningTask, lists: SubscriptionLists | None, slicing: SliceParams | None
    ) -> None:
        """Have a task's robot go by what is not None, for all that arrives from now on."""
        now = self._clock.monotonic()
        if task.attendance is not None:
            task.attendance.catch_up()
        if slicing is not None:
            task.robot.set_params(slicing, now)
        if lists is not None:
            task.robot.set_lists(lists, now)

    def stop(self, task: RunningTask, code: LeaveCode) -> None:
        """Begin the stop; once begun, nothing changes its code.

        The robot leaves the room at once, but not within this call: the room may be the caller.
        """
        if task.stored.leave_code is None:
            task.stored.leave_code = code
            asyncio.get_running_loop().call_soon(self._leave, task)
            task.is_stopping.set()

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

    def _take_up(self, stored: StoredTask) -> None:
        """Go on with a task of a former process."""
        app = self._settings.app(stored.room.sdk_app_id)
        if stored.leave_code is None:
            if app is not None and self._may_enter(stored, app):
                self.run(stored, app)
                _log.info("task resumed", **stored.log_fields)
                return
            if app is None:
                _log.error("task not resumed: its app is not in the settings", **stored.log_fields)
            stored.leave_code = LeaveCode.CONNECTION_LOST
        self._begin(stored, LimitSettings(), None)

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
            _log.error("task not resumed: bad UserSig", reason=str(error), **stored.log_fields)
            return False
        return True

    def _begin(self, stored: StoredTask, limits: LimitSettings, rooms: RoomProvider | None) -> None:
        task = RunningTask(stored, self._make_robot(stored, limits))
        before = [
            each
            for each in self._tasks.values()
            if each.is_of_robot(task) and not each.has_tried.is_set()
        ]
        self._tasks[stored.task_id] = task
        self._tick.wake()
        task.life = self._spawn(self._live, task, rooms, before)
        task.life.add_done_callback(lambda _: task.has_tried.set())

    def _make_robot(self, stored: StoredTask, limits: LimitSettings) -> Robot:
        def on_finished(code: LeaveCode) -> None:
            task = self._tasks.get(stored.task_id)
            if task is not None:
                self.stop(task, code)

        return Robot(
            stored.task_id,
            stored.slicing,
            stored.lists,
            store=self._deliveries,
            pictures=self._pictures,
            due_times=self._due_times,
            clock=self._clock,
            max_anchors=limits.anchors_per_task,
            faults=self.faults,
            on_finished=on_finished,
        )

    async def _live(
        self, task: RunningTask, rooms: RoomProvider | None, before: list[RunningTask]
    ) -> None:
        """A task's whole life here: its robot enters, is there until it is to stop, and leaves.

        Args:
            rooms: where the room is; None: the robot is not to enter any more.
            before: older tasks of the same robot that have not entered yet: in a slow room the
                newer one, which is to replace them, must not be the first.
        """
        stored = task.stored
        if stored.bucket is not None:
            await self._persist(self._deliveries.open, stored.ref, stored.bucket)
        for each in before:
            await each.has_tried.wait()
        has_entered = rooms is not None and await self._enter(task, rooms)
        if not stored.has_entered:
            await self._persist(self._store.note_entered, stored.ref, has_failed=not has_entered)
            stored.has_entered = True
        if stored.leave_code is None:
            await task.is_stopping.wait()
        code = stored.leave_code or LeaveCode.STOPPED
        await self._persist(self._store.set_stopping, stored.task_id, code)
        await self._persist(self._pictures.settle)
        await self._persist(self._deliveries.flush)
        await self._persist(self._store.finish, stored.ref, code)
        del self._tasks[stored.task_id]
        self._of_ended.add(task.robot.counters)
        _log.info("task ended", leave_code=int(code), **stored.log_fields)

    async def _enter(self, task: RunningTask, rooms: RoomProvider) -> bool:
        """Whether the robot has entered its room; it leaves again if it was stopped meanwhile."""
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
            _log.warning("robot could not enter", reason=str(error), **stored.log_fields)
            self.stop(task, LeaveCode.CONNECTION_LOST)
            return False
        finally:
            task.has_tried.set()
        if stored.leave_code is not None:
            self._leave(task)
        return True

    async def _end_broken(self, task: BrokenTask) -> None:
        """End a task on record that nobody can go on with."""
        ref = task.ref
        _log.error("task not resumed", reason=task.fault, task_id=ref.task_id, room_id=ref.room_id)
        await self._persist(self._store.finish, ref, LeaveCode.CONNECTION_LOST)

    def _leave(self, task: RunningTask) -> None:
        """Have the robot out of its room, with all that has arrived by now in its slices."""
        for step in (task.attendance.leave if task.attendance else None, task.robot.stop):
            try:
                if step is not None:
                    step()
            except Exception as error:
                self.faults.caught(error, **task.stored.log_fields)

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

    async def _persist(
        self, write: Callable[P, Awaitable[None]], *arguments: P.args, **named: P.kwargs
    ) -> None:
        """Do a write that must not be left out, however long the disk refuses it."""
        while True:
            try:
                return await write(*arguments, **named)
            except (StoreError, OSError) as error:
                _log.error("write failed, will be repeated", reason=str(error))
            except Exception as error:
                self.faults.caught(error)
            await asyncio.sleep(_WRITE_RETRY_S)
