"""Whose slices are, on a node that is alone."""

from collections.abc import Callable, Collection

from cloudslice.slices import TaskRef
from cloudslice.uploads.task_queues import TaskQueues


class SingleCustody:
    """A `Custody` of a node that is alone: nobody else tells of the end of what it adopts.

    Args:
        queues: of its uploads.
        runs: whether it runs a task.
    """

    def __init__(self, queues: TaskQueues, runs: Callable[[str], bool]) -> None:
        self._queues = queues
        self._runs = runs

    async def begin(self, _node: str) -> int | None:
        """See `Custody`."""
        return None

    def admit(self, object_key: str) -> None:
        """See `Custody`."""

    async def hand_over(self, task: TaskRef, _node: str, *, has_slices: bool) -> None:
        """See `Custody`."""
        if has_slices and not self._runs(task.task_id):
            await self._queues.take_over(task, is_told=False)

    async def finish(self, _node: str, _damaged: Collection[str]) -> None:
        """See `Custody`."""
