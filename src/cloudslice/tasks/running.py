"""One task's life in a node: its robot enters, is there until it is to stop, and leaves."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import ParamSpec

import structlog

from cloudslice.clock import Clock
from cloudslice.faults import Faults
from cloudslice.rooms.base import Attendance, LeaveCode, RoomEntryError, RoomProvider
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.slicing.robot import Robot
from cloudslice.tasks.deliveries import Deliveries
from cloudslice.tasks.entering import enter_room
from cloudslice.tasks.model import TaskStatus
from cloudslice.tasks.store import StoredTask, StoreError, TaskStore

_log = structlog.get_logger(__name__)

P = ParamSpec("P")

_WRITE_RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all tasks of a node share."""

    store: TaskStore
    deliveries: Deliveries
    pictures: PicturePool
    clock: Clock
    faults: Faults

    async def persist(
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


class RunningTask:
    """An unfinished task and its robot.

    Attributes:
        stored: the task as it is in the store, or is about to be.
        robot: slices for it, as soon as it is in the room.
        life: in which it lives.
    """

    def __init__(self, stored: StoredTask, robot: Robot, around: Surroundings) -> None:
        self.stored = stored
        self.robot = robot
        self.life: asyncio.Task[None] | None = None
        self._around = around
        self._attendance: Attendance | None = None
        self._has_tried = asyncio.Event()
        """Set once the robot has entered, or failed."""
        self._is_stopping = asyncio.Event()
        """Set when a leave code is."""
        # A room on another server can take longer than the idle time to let us in.
        robot.hold_idle_clock()

    @property
    def status(self) -> TaskStatus:
        """What DescribeCloudSliceTask says of it."""
        if self.stored.leave_code is not None:
            return TaskStatus.EXITED
        return TaskStatus.IN_PROGRESS if self.robot.is_slicing else TaskStatus.IDLE

    def is_on_its_way(self, other: StoredTask) -> bool:
        """Whether it is of the same robot as another task, and this has not tried to enter yet."""
        mine = self.stored
        return (
            not self._has_tried.is_set()
            and mine.robot_user_id == other.robot_user_id
            and mine.room == other.room
        )

    def change(self, lists: SubscriptionLists | None, slicing: SliceParams | None) -> None:
        """Have the robot go by what is not None, for all that arrives from now on."""
        now = self._around.clock.monotonic()
        if self._attendance is not None:
            self._attendance.catch_up()
        if slicing is not None:
            self.robot.set_params(slicing, now)
        if lists is not None:
            self.robot.set_lists(lists, now)

    def stop(self, code: LeaveCode) -> None:
        """Begin the stop; once begun, nothing changes its code.

        The robot leaves the room at once, but not within this call: the room may be the caller.
        """
        if self.stored.leave_code is None:
            self.stored.leave_code = code
            asyncio.get_running_loop().call_soon(self._leave)
            self._is_stopping.set()

    def interrupt(self) -> None:
        """The process ends: close the slices. A task that is not stopping goes on with the next
        process."""
        self._leave()
        if self.life is not None and self.stored.leave_code is None:
            self.life.cancel()
            self._has_tried.set()

    def abandon(self) -> None:
        """The task goes on elsewhere: close the slices, and do nothing more for it."""
        self._leave()
        if self.life is not None:
            self.life.cancel()
        self._has_tried.set()

    async def live(self, rooms: RoomProvider | None, before: Iterable["RunningTask"]) -> None:
        """Be in the room, if it can be entered, until it is to stop. Returns when all is recorded.

        Args:
            rooms: where the room is; None: the robot is not to enter any more.
            before: older tasks of the same robot that are on their way: in a slow room the newer
                one, which is to replace them, must not be the first.
        """
        stored, around = self.stored, self._around
        store, persist = around.store, around.persist
        floor_s = stored.names_after_s
        await persist(around.deliveries.open, stored.ref, stored.bucket, names_after_s=floor_s)
        for each in before:
            await each._has_tried.wait()
        has_entered = rooms is not None and await self._enter(rooms)
        if not stored.has_entered:
            await persist(store.note_entered, stored.ref, has_failed=not has_entered)
            stored.has_entered = True
        if stored.leave_code is None:
            await self._is_stopping.wait()
        code = stored.leave_code or LeaveCode.STOPPED
        await persist(store.set_stopping, stored.task_id, code)
        await persist(around.pictures.settle)
        await persist(around.deliveries.flush)
        await persist(store.finish, stored.ref, code)
        _log.info("task ended", leave_code=int(code), **stored.log_fields)

    async def _enter(self, rooms: RoomProvider) -> bool:
        """Whether the robot has entered its room; it leaves again if it was stopped meanwhile."""
        stored = self.stored
        try:
            self._attendance = await enter_room(
                rooms,
                stored.room,
                stored.robot_user_id,
                self.robot,
                is_wanted=lambda: stored.leave_code is None,
                faults=self._around.faults,
            )
        except RoomEntryError as error:
            _log.warning("robot could not enter", reason=str(error), **stored.log_fields)
            self.stop(LeaveCode.CONNECTION_LOST)
            return False
        finally:
            self._has_tried.set()
        self.robot.start_idle_clock()
        if stored.leave_code is not None:
            self._leave()
        return True

    def _leave(self) -> None:
        """Have the robot out of its room, with all that has arrived by now in its slices."""
        for step in (self._attendance.leave if self._attendance else None, self.robot.stop):
            try:
                if step is not None:
                    step()
            except Exception as error:
                self._around.faults.caught(error, **self.stored.log_fields)
