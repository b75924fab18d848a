"""The uploads of one task: a few at a time, with patience when its bucket fails.

A task has a bucket, and a bucket fails as a whole more often than not. So the queue as a whole
pauses after a failure and then tries a single slice, while each slice has a pace of its own on
top, so that one that the store will never take does not hold up the others.

Each slice of the task that waits is in exactly one place:

1. in `_backlog`: it may be tried, now or later;
2. in `_uploading`: it is being uploaded;
3. in `_unrecorded`: it is stored or given up, and about to be put on record.

All are in memory only: the spool holds them, and a start offers them anew.
"""

import asyncio
from collections.abc import Iterable
from math import inf

from cloudslice.slices import Slice, TaskRef, WaitingSlice, created_ms
from cloudslice.uploads.backlog import Backlog, Pending
from cloudslice.uploads.failures import give_up, report
from cloudslice.uploads.objects import ObjectStore
from cloudslice.uploads.one_upload import is_hopeless, open_store, upload
from cloudslice.uploads.settling import Settling
from cloudslice.uploads.shared import Receipt, Shared
from cloudslice.uploads.storage_errors import StorageError
from cloudslice.uploads.upload_pace import Trouble

_PARALLEL = 4


class TaskQueue:
    """Uploads a task's slices, from its first one until after its end.

    Attributes:
        task: the task.
        is_filling: whether slices are being brought here from elsewhere.
    """

    def __init__(self, task: TaskRef, shared: Shared, waiting: Iterable[WaitingSlice]) -> None:
        """
        Args:
            waiting: its slices that wait, the oldest first.
        """
        self.task = task
        self._shared = shared
        self._backlog = Backlog(waiting)
        self._uploading: set[Pending] = set()
        self._unrecorded: set[Pending] = set()
        self.is_filling = False
        self._wake = asyncio.Event()
        self._store: ObjectStore | None = None
        self._trouble = Trouble(shared.pace, shared.clock, shared.random)
        self._end = Settling(task, shared, self._trouble, lambda: self.is_idle)

    @property
    def size(self) -> int:
        """How many slices wait."""
        return len(self._backlog) + len(self._uploading) + len(self._unrecorded)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, grows, or is to be told."""
        return not (self.size or self._has_more)

    @property
    def has_ended(self) -> bool:
        """Whether no slice will be added by the task; on record."""
        return self._end.has_ended

    def add(self, new: WaitingSlice) -> None:
        """There is a new slice."""
        self._backlog.add(new)
        self._wake.set()

    def end(self) -> None:
        """The task has ended, which is on record."""
        self._end.end()
        self._wake.set()

    def leave(self, *, is_elsewhere: bool) -> None:
        """Another node goes on with the task, and tells of its end; False: it does not."""
        self._end.is_elsewhere = is_elsewhere
        self._wake.set()

    def look(self) -> None:
        """The task may be done with: a slice that was to come will not."""
        self._wake.set()

    def droppable(self) -> list[Pending]:
        """The slices that may be dropped: all but those under way."""
        return self._backlog.all()

    async def drop(self, names: set[str], error: StorageError) -> int:
        """Give up slices that wait; how many of them still did."""
        if not (gone := self._backlog.remove(names)):
            return 0
        self._unrecorded.update(gone)
        is_recorded = False
        try:
            await give_up(self._shared, self.task, gone, error)
            is_recorded = True
        finally:
            if not is_recorded:
                self._backlog.put_back(gone)
            self._forget(gone)
        return len(gone)

    async def run(self) -> None:
        """Upload until the task has ended and nothing is left to do for it."""
        shared = self._shared
        async with asyncio.TaskGroup() as uploads:
            while True:
                self._wake.clear()
                try:
                    if self._trouble.is_pause_over:
                        await self._start_uploads(uploads)
                    if await self._end.settle(is_busy=bool(self._uploading or self._unrecorded)):
                        return
                    await self._sleep()
                except Exception as error:
                    shared.faults.caught(error, task_id=self.task.task_id)
                    self._trouble.note_failure()
                    await asyncio.sleep(self._trouble.pauses_until - shared.clock.monotonic())

    @property
    def _room(self) -> int:
        """How many more uploads may be started."""
        return (1 if self._trouble.failures else _PARALLEL) - len(self._uploading)

    async def _start_uploads(self, uploads: asyncio.TaskGroup) -> None:
        if self._trouble.failures and self._room > 0:
            await self._give_up_expired()
        now = self._shared.clock.monotonic
        while self._room > 0 and self._backlog.next_at() <= now():
            if self._store is None and not await self._open_store():
                return
            if (due := self._backlog.take(now())) is None:
                return  # it was dropped meanwhile
            self._uploading.add(due)
            uploads.create_task(self._upload(due))

    async def _open_store(self) -> bool:
        """Whether there is a store now; event 1003 is on record then, before the first upload."""
        shared = self._shared
        result = open_store(shared, self.task.task_id)
        has_failed = isinstance(result, StorageError)
        await shared.database.persist(
            lambda c: shared.progress.start(c, self.task, has_failed=has_failed)
        )
        if isinstance(result, StorageError):
            self._trouble.note_failure(refused=result.refused)
            await self._report(result)
            return False
        self._store = result
        return True

    async def _upload(self, pending: Pending) -> None:
        shared, store = self._shared, self._store
        assert store is not None  # noqa: S101 - `_start_uploads` has seen to it
        try:
            async with shared.failing if self._trouble.failures else shared.healthy:
                started_at = shared.clock.monotonic()
                result = await upload(shared, store, self.task.task_id, pending.name)
            if isinstance(result, Slice):
                self._note_success(pending, result, store.url(result.object_key))
                return
            if is_hopeless(result):
                await give_up(shared, self.task, [pending], result)
            else:
                await self._postpone(pending, result, started_at)
        except Exception as error:
            # What became of the slice is not on record.
            shared.faults.caught(error, task_id=self.task.task_id, name=pending.name)
            self._trouble.note_failure()
            self._backlog.put_back([pending])
        self._forget([pending])

    def _forget(self, done: Iterable[Pending]) -> None:
        """What became of slices is on record, or they wait again."""
        self._uploading.difference_update(done)
        self._unrecorded.difference_update(done)
        self._wake.set()
        self._shared.settled.set()

    def _note_success(self, pending: Pending, stored: Slice, url: str) -> None:
        # Not after a single failure: then it may well be the slice that is at fault.
        if self._trouble.failures > 1:
            self._backlog.retry_all()
        self._trouble.end()
        self._uploading.remove(pending)
        self._unrecorded.add(pending)
        receipt = Receipt(self.task, stored, url, lambda: self._forget([pending]))
        self._shared.receipts.add(receipt)
        self._wake.set()

    async def _postpone(self, pending: Pending, error: StorageError, started_at: float) -> None:
        """An upload failed: the slice is to be tried again later."""
        if self._trouble.is_news(started_at):
            self._trouble.note_failure(refused=error.refused, at_least_s=error.retry_after_s or 0.0)
        pending.attempts += 1
        due_at = self._trouble.next_try_at(pending.attempts, refused=error.refused)
        await self._report(error)
        # Not before: until this is on record, the slice is under way.
        self._backlog.postpone(pending, due_at)

    async def _report(self, error: StorageError) -> None:
        url = None if self._store is None else self._store.url("")
        await report(self._shared, self.task, error, url=url)

    async def _give_up_expired(self) -> None:
        shared = self._shared
        before_ms = shared.steady_ms() - round(shared.retention_s * 1000)
        expired = {each.name for each in self.droppable() if created_ms(each.name) < before_ms}
        if expired:
            error = StorageError(
                0, "RetentionExceeded", "Slices could not be stored in time and were given up."
            )
            shared.counters.given_up += await self.drop(expired, error)

    @property
    def _has_more(self) -> bool:
        """Whether slices grow or are brought here, or were lost, and that is not on record."""
        shared, task_id = self._shared, self.task.task_id
        is_growing = self.is_filling or shared.spool.count_open(task_id) > 0
        return is_growing or shared.are_losses_waiting(task_id)

    async def _sleep(self) -> None:
        """Until there may be something to do."""
        now = self._shared.clock.monotonic()
        patience_ends_at = self._end.patience_ends_at
        until = patience_ends_at if patience_ends_at > now else inf
        until = min(until, self._end.ask_again_at)
        if self._room > 0:
            until = min(until, max(self._backlog.next_at(), self._trouble.pauses_until))
        try:
            async with asyncio.timeout(None if until == inf else max(until - now, 0)):
                await self._wake.wait()
        except TimeoutError:
            pass
