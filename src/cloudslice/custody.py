"""Who is to know whose slices are, when a node adopts the spool of another one."""

from collections.abc import Callable, Collection
from typing import Protocol

from cloudslice.slices import TaskRef
from cloudslice.uploads.task_queues import TaskQueues


class Custody(Protocol):
    """What others know of whose slices are, when they change hands."""

    async def begin(self, node: str) -> int | None:
        """The last second by which slices of a node may be named; None: by any.

        Args:
            node: its name; empty: it is not known.

        Raises:
            AdoptionError: its slices cannot be had now.
        """
        ...

    def admit(self, object_key: str) -> None:
        """This node stores a slice that another one could have stored."""
        ...

    async def hand_over(self, task: TaskRef, node: str, *, has_slices: bool) -> None:
        """All that `node` had of a task is this node's, if there was anything; raises
        AdoptionError."""
        ...

    async def finish(self, node: str, damaged: Collection[str]) -> None:
        """Nothing is left of any task of `node`; of the `damaged` ones it was lost; raises
        AdoptionError."""
        ...


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
