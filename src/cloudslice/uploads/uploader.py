"""Runs a queue for each task that has slices to upload or is to be told of its end."""

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Self

import structlog

from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.database import Database
from cloudslice.events import LossRecorded, RobotLeft, SliceGone, SliceReady
from cloudslice.faults import Faults
from cloudslice.settings.storage_settings import StorageSettings
from cloudslice.slices import WaitingSlice
from cloudslice.uploads.other_nodes import NoOtherNodes, OtherNodes
from cloudslice.uploads.shared import Shared, SliceSource, UploadCounters
from cloudslice.uploads.spool_limit import SpoolLimit
from cloudslice.uploads.stores import BucketOpener, Stores
from cloudslice.uploads.task_queues import TaskQueues
from cloudslice.uploads.upload_pace import UploadPace

_THREADS = 4

_log = structlog.get_logger(__name__)


class Uploader:
    """Uploads what the spool holds; an async context manager.

    Entering it takes up what a former process has left. It hears of new slices (`SliceReady`), of
    those that came to nothing, and of tasks that end (`RobotLeft`), which it keeps.

    Attributes:
        queues: a queue for each task.
    """

    def __init__(
        self,
        settings: StorageSettings,
        database: Database,
        bus: Bus,
        spool: SliceSource,
        clock: Clock,
        steady_ms: Callable[[], int],
        *,
        bucket_opener: BucketOpener | None = None,
        fence: Callable[[BucketOpener], BucketOpener] = lambda opener: opener,
        pace: UploadPace | None = None,
        patience_s: float = 60.0,
        are_losses_waiting: Callable[[str], bool] = lambda _task_id: False,
        others: OtherNodes | None = None,
    ) -> None:
        """
        Args:
            settings: where buckets are, and for how long uploads are tried.
            database: open, with the SCHEMA of `uploads.progress`.
            bus: tells of slices and tasks, and is told what becomes of them.
            steady_ms: the time for the retention, of a clock that is steady over restarts.
            bucket_opener: gives the stores of buckets; default: those of the settings.
            fence: stands around the stores of buckets.
            patience_s: how long uploads may fail after a task's end before 1005 says so.
            are_losses_waiting: whether a task has lost something that is to be told before its
                end; `LossRecorded` tells when that is so no more.
            others: what other nodes have of the same tasks; None: there are no others.
        """
        self._readers = ThreadPoolExecutor(_THREADS, thread_name_prefix="upload-files")
        self._stores = Stores(settings, self._readers)
        self._spool = spool
        self._bus = bus
        self._stack = AsyncExitStack()
        self._shared = Shared(
            database=database,
            bus=bus,
            spool=spool,
            open_bucket=fence(bucket_opener or self._stores.open),
            readers=self._readers,
            clock=clock,
            steady_ms=steady_ms,
            pace=pace or UploadPace(),
            retention_s=settings.retention_hours * 3600,
            patience_s=patience_s,
            are_losses_waiting=are_losses_waiting,
            others=others or NoOtherNodes(),
        )
        self.queues = TaskQueues(self._shared)
        self._limit = SpoolLimit(
            settings.spool_limit_gib * 1024**3, self._shared, self.queues.all()
        )

    async def __aenter__(self) -> Self:
        """Take up what waits, and begin to upload.

        Raises:
            DatabaseError: the record cannot be read.
        """
        shared = self._shared
        ended = await shared.database.run(shared.progress.load_ended)
        stored = await shared.database.run(shared.progress.load_stored)
        async with AsyncExitStack() as stack:
            stack.callback(self._readers.shutdown)
            await stack.enter_async_context(self._stores.client)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            for work in (shared.receipts.run(), self._limit.run()):
                stack.callback(group.create_task(work).cancel)
            self.queues.start(group)
            stack.callback(self.queues.stop)
            # Before the first one may come that is not among those that wait.
            self._bus.keep(RobotLeft, lambda c, event: shared.progress.end(c, [event.task.task_id]))
            self._bus.listen(RobotLeft, lambda event: self.queues.end(event.task))
            self._bus.listen(SliceReady, self._take)
            self._bus.listen(SliceGone, lambda event: self.queues.look(event.task_id))
            self._bus.listen(LossRecorded, lambda event: self.queues.look(event.task_id))
            there: set[str] = set()
            for task, waiting in self._spool.take_waiting().items():
                there |= stored.intersection(each.name for each in waiting)
                self.queues.add(task, (each for each in waiting if each.name not in stored))
                for name in there.intersection(each.name for each in waiting):
                    shared.remove(task.task_id, name)
            await shared.database.run(partial(shared.progress.forget_stored, names=stored - there))
            for queue in self.queues.all():
                if queue.task.task_id in ended:
                    queue.end()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.queues.seal()
        # Not told of an error of others: a task group would wrap it.
        await self._stack.aclose()

    @property
    def counters(self) -> UploadCounters:
        """What has become of uploads since the start."""
        return self._shared.counters

    @property
    def faults(self) -> Faults:
        """Errors that nobody foresaw."""
        return self._shared.faults

    @property
    def is_full(self) -> bool:
        """Whether the spool is as good as full: no new task should start."""
        return self._limit.is_near

    @property
    def room_bytes(self) -> float:
        """What the spool may take until it is as good as full."""
        return self._limit.room_bytes

    async def wait_idle(self) -> None:
        """Wait until no slice waits for its upload; for ever, if a store does not answer."""
        while self.count_waiting():
            self._shared.settled.clear()
            await self._shared.settled.wait()

    def count_waiting(self) -> int:
        """How many slices wait for their upload."""
        return sum(queue.size for queue in self.queues.all())

    async def end_others(self, task_ids: Collection[str]) -> None:
        """No slice will be added to any task but these: the others are not on record as running.

        Raises:
            DatabaseError: it cannot be put on record.
        """
        shared = self._shared
        begun = await shared.database.run(shared.progress.load_begun)
        filling = await shared.database.run(shared.progress.load_filling)
        known = {queue.task.task_id for queue in self.queues.all()}
        if gone := begun - known - set(task_ids):
            _log.error(
                "tasks had ended that the spool does not know any more", task_ids=sorted(gone)
            )
            await shared.database.run(partial(shared.progress.forget, task_ids=gone))
        others = [
            queue
            for queue in self.queues.all()
            if queue.task.task_id not in filling.union(task_ids) and not queue.has_ended
        ]
        to_end = [queue for queue in others if queue.task.task_id in begun or not queue.is_idle]
        await shared.database.run(
            partial(shared.progress.end, task_ids=[queue.task.task_id for queue in to_end])
        )
        for queue in others:
            task_id = queue.task.task_id
            if queue in to_end:
                _log.error("task ended that is not on record", task_id=task_id, slices=queue.size)
                queue.end()
            else:
                # Its creation was cut off, or all was told of it: nothing is to be told.
                self.queues.drop(task_id)

    def _take(self, event: SliceReady) -> None:
        ready = event.slice
        if queue := self.queues.find(ready.origin.task_id):
            queue.add(WaitingSlice(ready.name, event.file_size))
        self._limit.look()
