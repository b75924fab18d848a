"""A task, and what the API asks of the tasks."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from cloudslice.ids import RoomKey
from cloudslice.slices import Bucket
from cloudslice.slicing.params import ParamChanges, SliceParams, SubscriptionLists


class TaskStatus(Enum):
    """The API's Status (docs/wire.md, 7.3)."""

    IDLE = "Idle"
    IN_PROGRESS = "InProgress"
    EXITED = "Exited"


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What a valid CreateCloudSliceTask asks for."""

    room: RoomKey
    robot_user_id: str
    user_sig: str = field(repr=False)
    private_map_key: str | None = field(repr=False)
    slicing: SliceParams
    lists: SubscriptionLists
    bucket: Bucket
    resource_expired_hours: int = 72
    is_of_rule: bool = False
    """A rule asks for it: all that do so for this robot in this room ask for the same."""


class TaskError(Exception):
    """A task call that cannot be carried out; the text is fit to be shown to the API's user."""


class TaskNotFoundError(TaskError):
    """No such task for this app: unknown, ended, or past its ResourceExpiredHour."""


class TooManyTasksError(TaskError):
    """The app has as many unfinished tasks as it may have."""


class RobotIdTakenError(TaskError):
    """A member that is not a robot holds the robot's UserId in the room."""


class RoomRefusedError(TaskError):
    """The room cannot be entered; the text says why."""


class SpoolFullError(TaskError):
    """Slices that wait for their upload fill the spool: new tasks would only add to it."""


class NoCapacityError(TaskError):
    """No node of a cluster takes new tasks: all are full, or there is none."""


class NoRegistryError(TaskError):
    """What a cluster knows of tasks cannot be read or changed for now; trying again may help."""


class TaskService(Protocol):
    """The four slicing actions, behind the API's checks of form."""

    async def create(self, spec: TaskSpec) -> str:
        """Start a task and return its TaskId; the task survives a restart from here on.

        The same again within a minute returns the same TaskId while that task goes on: a client
        repeats what it got no answer to.

        Raises:
            TooManyTasksError, RobotIdTakenError, SpoolFullError, RoomRefusedError
            NoCapacityError: of a cluster; NoRegistryError, as all calls.
        """
        ...

    def describe(self, sdk_app_id: int, task_id: str) -> TaskStatus:
        """Raises TaskNotFoundError."""
        ...

    async def modify(
        self,
        sdk_app_id: int,
        task_id: str,
        lists: SubscriptionLists | None,
        changes: ParamChanges | None = None,
    ) -> None:
        """Replace all four lists, if they are not None, and some parameters, on running streams
        too.

        Raises TaskNotFoundError.
        """
        ...

    async def delete(self, sdk_app_id: int, task_id: str) -> None:
        """Begin the task's stop; again while it is stopping: nothing more.

        Raises TaskNotFoundError.
        """
        ...
