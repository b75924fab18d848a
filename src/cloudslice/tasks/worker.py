"""Runs the tasks of one node: a robot for each, from Create to event 1002, across restarts."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from typing import Self

import structlog

from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.config import AppSettings, LimitSettings, Settings
from cloudslice.events import AudioGap, PictureNotTaken
from cloudslice.faults import Faults
from cloudslice.identity.user_sig import IdentityError, verify_user_sig
from cloudslice.rooms.base import LeaveCode, RoomProvider
from cloudslice.slices import TaskRef
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.pictures.due_times import DueTimes
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.slicing.robot import Robot
from cloudslice.tasks.deliveries import Deliveries
from cloudslice.tasks.model import TaskStatus
from cloudslice.tasks.rule_service import KnownTask
from cloudslice.tasks.running import RunningTask, Surroundings
from cloudslice.tasks.store import BrokenTask, StoredTask, TaskStore
from cloudslice.tick import Tick

_STOP_S = 5.0
"""Seconds that stopping tasks have for it when the process ends: what a disk has not taken
by then is done by the next process."""

_log = structlog.get_logger(__name__)


class Worker:
    """Makes robots be as is wanted of their tasks; an asynchronous context manager.

    Entering it takes up the tasks that a former process has left. Leaving it closes their open
    slices; the tasks themselves go on with the next process.

    Attributes:
        faults: unforeseen errors: each ends or delays one step of one task.
        taken_up: the TaskIds that were on record at the start.
        counters: what all robots have made and left out.
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
        bus: Bus,
    ) -> None:
        """
        Args:
            rooms: by the name that an app's `rooms` setting has.
            tick: on which robots do what is due.
            bus: is told of what they leave out.
        """
        self.faults = Faults("task")
        self.taken_up: frozenset[str] = frozenset()
        self._settings = settings
        self._around = Surroundings(store, deliveries, pictures, clock, self.faults)
        self._rooms = rooms
        self._due_times = DueTimes()
        self._tasks: dict[str, RunningTask] = {}
        self._bus = bus
        self.counters = SlicingCounters()
        bus.listen(AudioGap, self.counters.note)
        bus.listen(PictureNotTaken, self.counters.note)
        self._lives: set[asyncio.Task[None]] = set()
        self._group = asyncio.TaskGroup()
        self._tick = tick

    async def __aenter__(self) -> Self:
        """Take up what is there.

        Raises:
            StoreError: the tasks cannot be read.
        """
        tasks, broken = await self._around.store.load()
        self.taken_up = frozenset(
            (*(each.task_id for each in tasks), *(each.ref.task_id for each in broken))
        )
        await self._group.__aenter__()
        self._tick.add(self)
        for task in tasks:
            self.take_up(task)
        for each in broken:
            self.end_broken(each)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._tick.remove(self)
        for task in self._tasks.values():
            task.interrupt()
        try:
            try:
                await self._around.pictures.settle()
            except Exception as fault:
                self.faults.caught(fault)
            if self._lives:
                await asyncio.wait(self._lives, timeout=_STOP_S)
        finally:
            for life in self._lives:
                life.cancel()
            await self._group.__aexit__(None, None, None)  # it would wrap an error of others

    @property
    def tasks(self) -> Collection[RunningTask]:
        """All unfinished ones."""
        return self._tasks.values()

    def find_known(self) -> list[KnownTask]:
        """All unfinished ones, as rules see them."""
        stored = (each.stored for each in self._tasks.values())
        return [
            KnownTask(each.task_id, each.room, each.robot_user_id, each.leave_code)
            for each in stored
        ]

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

    def runs(self, task_id: str) -> bool:
        """Whether there is an unfinished task of that TaskId."""
        return task_id in self._tasks

    def run(self, stored: StoredTask, app: AppSettings) -> None:
        """Have a robot enter the room of a task that is in the store."""
        self._begin(stored, app.limits, self._rooms[app.rooms])

    def count_by_status(self) -> dict[TaskStatus, int]:
        """How many unfinished tasks there are of each status."""
        counts = dict.fromkeys(TaskStatus, 0)
        for task in self._tasks.values():
            counts[task.status] += 1
        return counts

    def take_up(self, stored: StoredTask) -> None:
        """Go on with a task of a former process, or of another node."""
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
                now_s=self._around.clock.utc_ms() / 1000,
            )
        except IdentityError as error:
            _log.error("task not resumed: bad UserSig", reason=str(error), **stored.log_fields)
            return False
        return True

    def _begin(self, stored: StoredTask, limits: LimitSettings, rooms: RoomProvider | None) -> None:
        task = RunningTask(stored, self._make_robot(stored, limits), self._around)
        before = [each for each in self._tasks.values() if each.is_on_its_way(stored)]
        self._tasks[stored.task_id] = task
        self._tick.wake()
        task.life = self._start(self._run(task, rooms, before))

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        life = self._group.create_task(work)
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        return life

    async def _run(
        self, task: RunningTask, rooms: RoomProvider | None, before: list[RunningTask]
    ) -> None:
        try:
            await task.live(rooms, before)
        except Exception as error:
            self.faults.caught(error, **task.stored.log_fields)
        if self._tasks.get(task.stored.task_id) is task:
            del self._tasks[task.stored.task_id]

    def _make_robot(self, stored: StoredTask, limits: LimitSettings) -> Robot:
        around = self._around
        return Robot(
            stored.task_id,
            stored.slicing,
            stored.lists,
            store=around.deliveries,
            pictures=around.pictures,
            due_times=self._due_times,
            clock=around.clock,
            max_anchors=limits.anchors_per_task,
            counters=self.counters,
            publish=self._bus.publish,
            faults=self.faults,
            on_finished=lambda code: self._stop(stored.task_id, code),
        )

    def _stop(self, task_id: str, code: LeaveCode) -> None:
        task = self._tasks.get(task_id)
        if task is not None:
            task.stop(code)

    def end_broken(self, task: BrokenTask) -> None:
        """End a task on record that nobody can go on with."""
        ref = task.ref
        _log.error("task not resumed", reason=task.fault, task_id=ref.task_id, room_id=ref.room_id)
        self._start(self._forget(ref))

    def abandon(self, task_id: str) -> None:
        """Another node goes on with a task: its slices end here, and nothing more is told of it."""
        task = self._tasks.pop(task_id, None)
        if task is not None:
            task.abandon()

    async def _forget(self, ref: TaskRef) -> None:
        await self._around.persist(self._around.store.finish, ref, LeaveCode.CONNECTION_LOST)
