"""The uploads of one task: a few at a time, with patience when its bucket fails.

A task has a bucket, and a bucket fails as a whole more often than not. So the queue as a whole
pauses after a failure and then tries a single slice, while each slice has a pace of its own on
top, so that one that the store will never take does not hold up the others.

Each slice of the task that waits is in exactly one place:

1. in `_waiting`: it may be tried when its turn comes;
2. in `_under_way`: being uploaded, or stored or given up and about to be put on record;
3. in `_failed`: it may be tried again from a time on.

All are in memory only: the spool holds them, and a start offers them anew.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Iterable
from math import inf

import structlog

from cloudslice.secrets import SecretKeyError
from cloudslice.slices import (
    Bucket,
    DamagedSliceError,
    DamagedTaskError,
    Slice,
    TaskRef,
    WaitingSlice,
    created_ms,
)
from cloudslice.uploads.objects import ObjectStore
from cloudslice.uploads.shared import Receipt, Shared
from cloudslice.uploads.storage_errors import StorageError
from cloudslice.uploads.upload_pace import Trouble

_PARALLEL = 4

_Failed = tuple[float, str, WaitingSlice, int]
"""Monotonic second of the next try, name, slice, attempts."""

_log = structlog.get_logger(__name__)


class TaskQueue:
    """Uploads a task's slices, from its first one until after its end.

    Attributes:
        task: the task.
        has_ended: whether no slice will be added; on record.
    """

    def __init__(self, task: TaskRef, shared: Shared, waiting: Iterable[WaitingSlice]) -> None:
        """
        Args:
            task: the task.
            shared: what all queues share.
            waiting: its slices that wait, the oldest first.
        """
        self.task = task
        self._shared = shared
        self._waiting = deque(waiting)
        self._failed: list[_Failed] = []
        self._attempts: dict[str, int] = {}
        """Of slices that were tried and are in `_waiting` or `_under_way`."""
        self._under_way: dict[str, WaitingSlice] = {}
        self._unrecorded: set[str] = set()  # those of them that are only to be put on record
        self._ended_at: float | None = None
        self._wake = asyncio.Event()
        self._bucket: Bucket | None = None
        self._store: ObjectStore | None = None
        self._trouble = Trouble(shared.pace, shared.clock, shared.random)

    @property
    def size(self) -> int:
        """How many slices wait."""
        return len(self._waiting) + len(self._failed) + len(self._under_way)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, grows, or is to be told."""
        return not (self.size or self._has_more)

    @property
    def has_ended(self) -> bool:
        return self._ended_at is not None

    def add(self, new: WaitingSlice) -> None:
        """There is a new slice."""
        self._waiting.append(new)
        self._wake.set()

    def end(self) -> None:
        """The task has ended, which is on record."""
        if self._ended_at is None:
            self._ended_at = self._shared.clock.monotonic()
        self._wake.set()

    def look(self) -> None:
        """The task may be done with: a slice that was to come will not."""
        self._wake.set()

    def droppable(self) -> list[WaitingSlice]:
        """The slices that may be dropped: all but those under way."""
        return [*self._waiting, *(each for _, _, each, _ in self._failed)]

    async def drop(self, names: set[str], error: StorageError) -> int:
        """Give up slices that wait; how many of them still did."""
        gone = [each for each in self.droppable() if each.name in names]
        if not gone:
            return 0
        self._waiting = deque(each for each in self._waiting if each.name not in names)
        self._failed = [each for each in self._failed if each[1] not in names]
        heapq.heapify(self._failed)
        for each in gone:
            self._under_way[each.name] = each
            self._unrecorded.add(each.name)
        try:
            await self._give_up([each.name for each in gone], error)
        except Exception:
            self._waiting.extendleft(reversed(gone))
            raise
        finally:
            for each in gone:
                self._forget(each)
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
                    if await self._settle():
                        return
                    await self._sleep()
                except Exception as error:
                    shared.caught(error, task_id=self.task.task_id)
                    self._trouble.note_failure()
                    await asyncio.sleep(self._trouble.pauses_until - shared.clock.monotonic())

    @property
    def _room(self) -> int:
        """How many more uploads may be started."""
        uploading = len(self._under_way) - len(self._unrecorded)
        return (1 if self._trouble.failures else _PARALLEL) - uploading

    async def _start_uploads(self, uploads: asyncio.TaskGroup) -> None:
        if self._trouble.failures and self._room > 0:
            await self._give_up_expired()
        while self._room > 0 and (self._store is not None or self._is_due()):
            if self._store is None and not await self._open_store():
                return
            if (due := self._take_due()) is None:
                return
            self._under_way[due.name] = due
            uploads.create_task(self._upload(due))

    def _is_due(self) -> bool:
        return bool(self._waiting) or self._next_failed_at() <= self._shared.clock.monotonic()

    def _take_due(self) -> WaitingSlice | None:
        """The next slice to be tried now."""
        if self._waiting:
            return self._waiting.popleft()
        if self._next_failed_at() > self._shared.clock.monotonic():
            return None
        _, _, due, attempts = heapq.heappop(self._failed)
        self._attempts[due.name] = attempts
        return due

    def _next_failed_at(self) -> float:
        return self._failed[0][0] if self._failed else inf

    async def _open_store(self) -> bool:
        """Whether there is a store now; event 1003 is on record then, before the first upload."""
        shared, failure = self._shared, None
        try:
            self._bucket = shared.spool.load_bucket(self.task.task_id)
            store = shared.open_bucket(self._bucket)
        except StorageError as error:
            failure = error
        except SecretKeyError as error:
            failure = StorageError(0, "InvalidSecret", f"{error}.")
        except DamagedTaskError as error:
            failure = StorageError(0, "SpoolDamage", f"The task's bucket is not known: {error}.")
        except Exception as error:
            shared.caught(error, task_id=self.task.task_id)
            failure = StorageError(0, "InternalError", "An upload failed by a fault of the server.")
        await shared.database.persist(
            lambda c: shared.progress.start(c, self.task, has_failed=failure is not None)
        )
        if failure is not None:
            self._trouble.note_failure(refused=failure.refused)
            await self._report(failure)
            return False
        self._store = store
        return True

    async def _upload(self, waiting: WaitingSlice) -> None:
        shared = self._shared
        try:
            async with shared.failing if self._trouble.failures else shared.healthy:
                started_at = shared.clock.monotonic()
                result = await self._try(waiting)
            if isinstance(result, Slice):
                self._note_success(waiting, result)
                return
            if result.code in ("SpoolDamage", "FileVanished"):
                await self._give_up([waiting.name], result)
            else:
                await self._postpone(waiting, result, started_at)
        except Exception as error:
            # What became of the slice is not on record.
            shared.caught(error, task_id=self.task.task_id, name=waiting.name)
            self._trouble.note_failure()
            self._waiting.appendleft(waiting)
        self._forget(waiting)

    def _forget(self, waiting: WaitingSlice) -> None:
        """What became of a slice is on record, or it waits again."""
        del self._under_way[waiting.name]
        self._unrecorded.discard(waiting.name)
        self._wake.set()

    async def _try(self, waiting: WaitingSlice) -> Slice | StorageError:
        """Upload a slice once: the slice, or why it is not stored."""
        shared, task_id, store = self._shared, self.task.task_id, self._store
        try:
            assert store is not None  # noqa: S101 - `_start_uploads` has seen to it
            found, item = await asyncio.get_running_loop().run_in_executor(
                shared.readers, shared.read, task_id, waiting.name
            )
            await store.put(item)
        except StorageError as error:
            return error
        except DamagedSliceError as error:
            shared.spool.set_aside(task_id, waiting.name, str(error))
            return StorageError(0, "SpoolDamage", f"A slice's file is damaged: {error}.")
        except FileNotFoundError:
            shared.counters.vanished += 1
            return StorageError(0, "FileVanished", "A slice's file is gone from the spool.")
        except OSError as error:
            return StorageError(0, "SpoolUnreadable", f"{error.strerror or error}.")
        except Exception as error:
            shared.caught(error, task_id=task_id, name=waiting.name)
            return StorageError(0, "InternalError", "An upload failed by a fault of the server.")
        return found

    def _note_success(self, waiting: WaitingSlice, stored: Slice) -> None:
        assert self._store is not None  # noqa: S101 - it has just stored something
        # Not after a single failure: then it may well be the slice that is at fault.
        is_outage_over = self._trouble.failures > 1
        self._trouble.end()
        if is_outage_over and self._failed:
            again = (each for _, _, each, _ in self._failed)
            self._attempts.update((name, attempts) for _, name, _, attempts in self._failed)
            self._waiting = deque(sorted([*self._waiting, *again], key=lambda each: each.name))
            self._failed.clear()
        self._attempts.pop(waiting.name, None)
        self._unrecorded.add(waiting.name)
        url = self._store.url(stored.object_key)
        receipt = Receipt(self.task, stored, url, lambda: self._forget(waiting))
        self._shared.receipts.add(receipt)
        self._wake.set()

    async def _postpone(
        self, waiting: WaitingSlice, error: StorageError, started_at: float
    ) -> None:
        """An upload failed: the slice is to be tried again later."""
        if self._trouble.is_news(started_at):
            self._trouble.note_failure(refused=error.refused, at_least_s=error.retry_after_s or 0.0)
        attempts = self._attempts.pop(waiting.name, 0) + 1
        due_at = self._trouble.next_try_at(attempts, refused=error.refused)
        await self._report(error)
        # Not before: until this is on record, the slice is under way.
        heapq.heappush(self._failed, (due_at, waiting.name, waiting, attempts))

    async def _report(self, error: StorageError) -> None:
        """Record event 1006, if the reason is new."""
        shared = self._shared
        shared.counters.failed_attempts += 1
        is_new = await shared.database.persist(lambda c: shared.progress.fail(c, self.task, error))
        level = _log.warning if is_new else _log.debug
        where = {
            "task_id": self.task.task_id,
            "bucket": self._bucket and self._bucket.name,
            "url": self._store and self._store.url(""),
        }
        level("upload failed", **where, status=error.status, error=str(error))

    async def _give_up_expired(self) -> None:
        shared = self._shared
        before_ms = shared.steady_ms() - round(shared.retention_s * 1000)
        expired = {each.name for each in self.droppable() if created_ms(each.name) < before_ms}
        if expired:
            error = StorageError(
                0, "RetentionExceeded", "Slices could not be stored in time and were given up."
            )
            shared.counters.given_up += await self.drop(expired, error)

    async def _give_up(self, names: list[str], error: StorageError) -> None:
        """Slices will never be in the bucket."""
        shared = self._shared
        await shared.database.persist(
            lambda c: shared.progress.lose(c, self.task, error, len(names))
        )
        for name in names:
            self._attempts.pop(name, None)
            shared.spool.remove(self.task.task_id, name)
        # One line for all of them: there may be very many.
        first, last, count = names[0], names[-1], len(names)
        where = {"task_id": self.task.task_id, "first": first, "last": last}
        _log.error("slices given up", **where, count=count, why=str(error))

    async def _settle(self) -> bool:
        """Whether the queue's work is done."""
        if self._ended_at is None or self._under_way:
            return False
        shared, is_over = self._shared, self._patience_ends_at <= self._shared.clock.monotonic()
        has_slices = not self.is_idle
        return await shared.database.persist(
            lambda c: shared.progress.settle(c, self.task, has_slices=has_slices, is_over=is_over)
        )

    @property
    def _has_more(self) -> bool:
        """Whether slices grow, or were lost, and that is not on record."""
        shared, task_id = self._shared, self.task.task_id
        return shared.spool.count_open(task_id) > 0 or shared.are_losses_waiting(task_id)

    @property
    def _patience_ends_at(self) -> float:
        if self._ended_at is None or not self._trouble.failures:
            return inf
        return max(self._ended_at, self._trouble.since) + self._shared.patience_s

    async def _sleep(self) -> None:
        """Until there may be something to do."""
        now = self._shared.clock.monotonic()
        patience_ends_at = self._patience_ends_at
        until = patience_ends_at if patience_ends_at > now else inf
        if self._room > 0:
            next_try = -inf if self._waiting else self._next_failed_at()
            until = min(until, max(next_try, self._trouble.pauses_until))
        try:
            async with asyncio.timeout(None if until == inf else max(until - now, 0)):
                await self._wake.wait()
        except TimeoutError:
            pass
