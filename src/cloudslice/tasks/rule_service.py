"""What rules see of tasks, and how they make and end them: of one node, or of all of a cluster."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from cloudslice.ids import RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.tasks.model import TaskSpec


@dataclass(frozen=True, slots=True)
class KnownTask:
    """What rules look at of an unfinished task."""

    task_id: str
    room: RoomKey
    robot_user_id: str
    leave_code: LeaveCode | None


FindTasks = Callable[[], Iterable[KnownTask]]
"""The unfinished tasks."""


class RuleService(Protocol):
    """Two actions of `TaskService`."""

    async def create(self, spec: TaskSpec) -> str:
        """See `TaskService`."""
        ...

    async def delete(self, sdk_app_id: int, task_id: str) -> None:
        """See `TaskService`; the task's room has ended."""
        ...
