"""What uploads need of other nodes, whose spools may hold slices of the same tasks."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """What is known of a task that has ended."""

    is_ours: bool = True
    """Whether this node tells how its uploads have ended."""
    is_waiting: bool = False
    """Whether other nodes may have slices of it that are not stored."""
    has_lost: bool = False
    """Whether other nodes have lost slices of it."""


class OtherNodes(Protocol):
    """Who else has slices of this node's tasks, and who tells of a task's end."""

    def find_end(self, task_id: str) -> TaskEnd | None:
        """How a task has ended; None: that is not on record yet."""
        ...

    async def claim(self, task_id: str, *, is_final: bool) -> bool:
        """Event 1005 is about to be recorded: nobody else is to do that. False: it is not to be
        recorded now; trying again may help.

        Args:
            is_final: nothing is left to be told after it.
        """
        ...

    async def close(self, task_id: str) -> None:
        """All is told of a task; harmless when that is known."""
        ...

    async def release(self, task_id: str, *, has_lost: bool) -> bool:
        """This node has no slices of another node's task any more. False: that cannot be put on
        record now; trying again may help."""
        ...


class NoOtherNodes:
    """`OtherNodes` of a node that is alone."""

    def find_end(self, _task_id: str) -> TaskEnd | None:
        """See `OtherNodes`."""
        return TaskEnd()

    async def claim(self, _task_id: str, *, is_final: bool) -> bool:
        """See `OtherNodes`."""
        return True

    async def close(self, _task_id: str) -> None:
        """See `OtherNodes`."""

    async def release(self, _task_id: str, *, has_lost: bool) -> bool:
        """See `OtherNodes`."""
        return True
