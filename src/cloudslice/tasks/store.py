"""What must survive a restart: what is wanted of each task, and how far it has come."""

from dataclasses import dataclass, field
from typing import Protocol

from cloudslice.ids import RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.slices import Bucket, TaskRef
from cloudslice.slicing.params import SliceParams, SubscriptionLists


class StoreError(Exception):
    """The store cannot be read or written for now; trying again may help."""


@dataclass(slots=True)
class StoredTask:
    """An unfinished task."""

    task_id: str
    room: RoomKey
    robot_user_id: str
    user_sig: str = field(repr=False)
    private_map_key: str | None = field(repr=False)
    slicing: SliceParams
    lists: SubscriptionLists
    bucket: Bucket
    request: bytes
    """A digest of all that its CreateCloudSliceTask has asked for."""
    created_ms: int
    """By the clock that is steady over restarts, as the next one."""
    callable_until_ms: int
    """When ResourceExpiredHour has elapsed."""
    has_entered: bool = False
    """Whether event 1001 is recorded."""
    leave_code: LeaveCode | None = None
    """Set once the task has begun to stop."""
    names_after_s: int = 0
    """Another node may have named slices of it by seconds up to this one."""

    @property
    def ref(self) -> TaskRef:
        """The task as its events name it."""
        return TaskRef(self.task_id, self.room.sdk_app_id, self.room.wire_id, self.robot_user_id)

    @property
    def log_fields(self) -> dict[str, object]:
        """The task as log lines name it."""
        return {
            "task_id": self.task_id,
            "sdk_app_id": self.room.sdk_app_id,
            "room_id": self.room.wire_id,
        }


@dataclass(frozen=True, slots=True)
class BrokenTask:
    """A task on record that cannot be understood: it is to be ended."""

    ref: TaskRef
    """As far as it can be read."""
    fault: str


class TaskStore(Protocol):
    """Keeps the unfinished tasks. What a method has done when it returns is durable.

    All methods raise StoreError.
    """

    async def load(self) -> tuple[list[StoredTask], list[BrokenTask]]:
        """All tasks, in the order of their creation, and those that cannot be understood."""
        ...

    async def create(self, task: StoredTask, *, since_ms: int) -> str:
        """Keep a new task, unless it is asked for already; in one step, whoever else creates.

        Args:
            since_ms: when a repeated request may have been made for the first time, at most.

        Returns:
            The TaskId: of the new task, or of one that goes on, was created after `since_ms`, and
            has the same `request`.
        """
        ...

    async def modify(
        self,
        task_id: str,
        *,
        lists: SubscriptionLists | None = None,
        slicing: SliceParams | None = None,
    ) -> None:
        """Replace what is not None."""
        ...

    async def note_entered(self, task: TaskRef, *, has_failed: bool) -> None:
        """The task's robot has entered, or could not: record event 1001, too, in one step."""
        ...

    async def set_stopping(self, task_id: str, code: LeaveCode) -> None:
        """The task has begun to stop, and must not go on after a restart. The first code stays."""
        ...

    async def finish(self, task: TaskRef, code: LeaveCode) -> None:
        """Forget a task whose robot has left; record event 1002, too, in one step."""
        ...
