"""Has tasks begin and end with their rooms, by rules of the settings, as if somebody had called."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Self

from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.events import RobotLeft, RoomCreated, RoomDismissed
from cloudslice.faults import Faults
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.slices import TaskRef
from cloudslice.tasks.auto_task_rules import AutoTaskRule
from cloudslice.tasks.rule_service import FindTasks, KnownTask, RuleService
from cloudslice.tasks.rule_tasks import RuleTasks


class AutoTasks(AbstractAsyncContextManager["AutoTasks"]):
    """A `RoomNews` that has tasks begin and end; a context in which it does.

    To be entered when the worker has taken up the tasks of a former process.

    Attributes:
        faults: unforeseen errors: each delays one rule.
        counts: tasks started and stopped, and tries that failed.
    """

    def __init__(
        self,
        rules: Sequence[AutoTaskRule],
        tasks: RuleService,
        find_tasks: FindTasks,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self.faults = Faults("auto-task")
        self.counts = Counter({"started": 0, "stopped": 0, "failed": 0})
        self._rules = [
            RuleTasks(rule, tasks, find_tasks, clock, self.faults, self.counts) for rule in rules
        ]
        self._bus = bus
        self._group = asyncio.TaskGroup()
        self._runs: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._bus.listen(RoomCreated, lambda event: self.on_room_active(event.room))
        self._bus.listen(RoomDismissed, lambda event: self.on_room_ended(event.room))
        self._bus.listen(RobotLeft, self._on_robot_left)
        for rule in self._rules:
            rule.take_up()
            self._runs.append(self._group.create_task(rule.run()))
        return self

    async def __aexit__(self, *_error: object) -> None:
        for run in self._runs:
            run.cancel()
        await self._group.__aexit__(None, None, None)  # it would wrap an error of others

    def on_room_active(self, room: RoomKey) -> None:
        """See `RoomNews`."""
        for rule in self._rules:
            rule.note_active(room)

    def on_room_ended(self, room: RoomKey) -> None:
        """See `RoomNews`."""
        for rule in self._rules:
            rule.note_ended(room)

    def on_rooms_listed(self, sdk_app_id: int, rooms: Mapping[RoomKey, bool]) -> None:
        """See `RoomNews`."""
        for rule in self._rules:
            if rule.rule.app.sdk_app_id == sdk_app_id:
                rule.note_all(rooms)

    def on_task_begun(self, task: KnownTask) -> None:
        """A task has begun that this node has not made, or has become this node's."""
        for rule in self._rules:
            rule.note_begun(task)

    def on_task_left(self, task: TaskRef, code: LeaveCode) -> None:
        """A task has ended; may be told twice."""
        for rule in self._rules:
            rule.note_left(task, code)

    def on_stopped_with_room(self, task: KnownTask) -> None:
        """A task is being stopped as its room has ended, by whichever node."""
        for rule in self._rules:
            rule.note_stopped_with_room(task)

    def forget(self, room: RoomKey) -> None:
        """A room has gone to another node, with its task."""
        for rule in self._rules:
            rule.forget(room)

    def _on_robot_left(self, event: RobotLeft) -> None:
        self.on_task_left(event.task, LeaveCode(event.leave_code))
