"""What tasks need of delivery."""

from typing import Protocol

from cloudslice.slices import Bucket, TaskRef
from cloudslice.slicing.slice_store import SliceStore


class Deliveries(SliceStore, Protocol):
    """Takes the slices of all tasks."""

    async def open(self, task: TaskRef, bucket: Bucket, *, names_after_s: int = 0) -> None:
        """Be ready for a task's slices, in this and later processes. Harmless when it is: a task
        is opened by each process that takes it up.

        Args:
            task: the task.
            bucket: where its slices go.
            names_after_s: no slice is named by a second up to this one.

        Raises:
            OSError: the disk refuses it.
        """
        ...

    def close(self, task_id: str) -> None:
        """Forget a task that has no slices."""
        ...

    async def flush(self) -> None:
        """Wait until all slices handed in so far are durable. What ends a task comes after it."""
        ...
