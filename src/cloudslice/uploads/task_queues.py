"""The queues of all tasks that are not settled, and the tasks of asyncio in which they run."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager

from cloudslice.slices import TaskRef, WaitingSlice
from cloudslice.uploads.shared import Shared
from cloudslice.uploads.task_queue import TaskQueue


class TaskQueues:
    """Makes queues when they are needed, and runs them until their tasks are settled."""

    def __init__(self, shared: Shared) -> None:
        """Takes what all queues share."""
        self._shared = shared
        self._queues: dict[str, TaskQueue] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run queues in `group` from now on."""
        self._group = group

    def seal(self) -> None:
        """Make no queues any more: what comes now waits for the next start."""
        self._group = None

    def stop(self) -> None:
        """End all uploads."""
        for run in self._runs.values():
            run.cancel()

    def all(self) -> Collection[TaskQueue]:
        """Those that there are, at any time."""
        return self._queues.values()

    def get(self, task_id: str) -> TaskQueue | None:
        """The queue of a task, if there is one."""
        return self._queues.get(task_id)

    def find(self, task_id: str) -> TaskQueue | None:
        """The queue of a task that the spool knows, made if it is not there."""
        if (queue := self._queues.get(task_id)) is not None or self._group is None:
            return queue
        task = self._shared.spool.find_task(task_id)
        return None if task is None else self.add(task)

    def add(self, task: TaskRef, waiting: Iterable[WaitingSlice] = ()) -> TaskQueue:
        """Make the queue of a task, with the slices of it that wait, the oldest first."""
        assert self._group is not None  # noqa: S101 - only called when started
        queue = self._queues[task.task_id] = TaskQueue(task, self._shared, waiting)
        self._runs[task.task_id] = self._group.create_task(self._run(queue))
        return queue

    def drop(self, task_id: str) -> None:
        """Forget a task of which nothing is to be told."""
        self._runs.pop(task_id).cancel()
        del self._queues[task_id]
        self._shared.spool.close(task_id)

    def end(self, task: TaskRef) -> None:
        """A task has ended, which is on record."""
        # One that the spool does not know has nothing to deliver, which is told as well.
        if (queue := self.find(task.task_id)) is not None or self._group is not None:
            (queue or self.add(task)).end()

    def look(self, task_id: str) -> None:
        """Something has changed that the end of a task may have waited for."""
        if queue := self._queues.get(task_id):
            queue.look()

    def leave(self, task_id: str, *, is_elsewhere: bool = True) -> None:
        """Another node goes on with a task, or has ended it: what is here is delivered, and no end
        is told; unless it is to be told by us already. False: it is this node's again."""
        # A task without a queue may have a directory, whose end is to be put on record.
        queue = self.find(task_id) if is_elsewhere else self._queues.get(task_id)
        if queue is not None and not queue.has_ended:
            queue.leave(is_elsewhere=is_elsewhere)

    def leave_others(self, task_ids: Collection[str]) -> None:
        """Leave all tasks but these."""
        for task_id in self._queues.keys() - set(task_ids):
            self.leave(task_id)

    @asynccontextmanager
    async def filling(self, task: TaskRef) -> AsyncIterator[TaskQueue]:
        """A task's queue, to which slices that are brought into the spool are added meanwhile: it
        is not done with before, nor in a later process if this one is killed."""
        progress, task_id = self._shared.progress, task.task_id
        queue = self.find(task_id) or self.add(task)
        queue.is_filling = True
        try:
            persist = self._shared.database.persist
            await persist(lambda c: progress.fill(c, task_id, is_filling=True))
            yield queue
            await persist(lambda c: progress.fill(c, task_id, is_filling=False))
        finally:
            queue.is_filling = False
            queue.look()

    async def take_over(self, task: TaskRef, *, is_told: bool) -> None:
        """This node tells of the end of a task that has ended elsewhere; harmless when it does.

        Args:
            is_told: it is told already that its uploads are incomplete.
        """
        progress, ended = self._shared.progress, [task.task_id]
        await self._shared.database.persist(lambda c: progress.end(c, ended, is_told=is_told))
        self.end(task)

    def has_ended(self, task_id: str) -> bool:
        """Whether a task has ended here, and that is not settled."""
        queue = self._queues.get(task_id)
        return queue is not None and queue.has_ended

    def knows(self, task_id: str) -> bool:
        """Whether there may be something of a task here."""
        return task_id in self._queues or self._shared.spool.find_task(task_id) is not None

    async def _run(self, queue: TaskQueue) -> None:
        """Run a queue until its task is settled; should it break, it goes on."""
        task_id = queue.task.task_id
        while True:
            try:
                await queue.run()
                if not (queue.size or queue.is_filling):  # or slices have come in its last moment
                    break
            except Exception as error:
                self._shared.faults.caught(error, task_id=task_id)
                await asyncio.sleep(self._shared.pace.first_s)
        del self._queues[task_id], self._runs[task_id]
        self._shared.spool.close(task_id)
