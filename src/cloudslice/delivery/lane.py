"""The uploads of one task: a few at a time, with patience when its bucket fails.

A task has a bucket, and a bucket fails as a whole more often than not. So the lane as a whole
pauses after a failure and then tries a single slice, while each slice has a pace of its own on
top, so that one that the store will never take does not hold up the others.

Each slice of the task is in exactly one place:

1. in `_fresh`: handed over, and not tried yet;
2. in `_under_way`: being uploaded, or stored and about to be put on record;
3. in the database only. `_ask_at` is no later than the time from which it may be tried.

Whatever moves a slice to the third place moves `_ask_at` with it. Asking the database resets
`_ask_at` first, so that what comes there while the answer is awaited is not forgotten.

While all goes well a lane is handed its slices and asks the database for nothing. It does so when
it has fallen behind: after a restart or a failure, or when more slices came than it holds.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from math import inf

import structlog

from cloudslice.delivery import slices
from cloudslice.delivery.retries import Trouble
from cloudslice.delivery.slices import SliceRecord
from cloudslice.delivery.spool import DamagedSliceError
from cloudslice.delivery.uploads import Receipt, UploadContext, to_object
from cloudslice.slices import Bucket
from cloudslice.uploads.objects import ObjectStore
from cloudslice.uploads.storage_errors import StorageError

_PARALLEL = 4
_FRESH = 32
"""Slices held in memory until their turn; more of them wait in the database."""

_log = structlog.get_logger(__name__)


class Lane:
    """Uploads a task's slices, from its first one until after its end.

    Attributes:
        has_ended: whether the task has ended.
    """

    def __init__(self, task_id: str, context: UploadContext, *, is_behind: bool) -> None:
        """
        Args:
            task_id: the task.
            context: what all lanes share.
            is_behind: whether there are slices on record that it will not be handed.
        """
        self._task_id = task_id
        self._context = context
        self._ask_at = -inf if is_behind else inf
        self._is_asking = False
        self._fresh: deque[SliceRecord] = deque()
        self._ended_at: float | None = None
        self._wake = asyncio.Event()
        self._bucket: Bucket | None = None
        self._store: ObjectStore | None = None
        self._under_way: dict[int, SliceRecord] = {}
        self._stored: set[int] = set()  # those of them that are only to be put on record
        self._trouble = Trouble(context.pace, context.clock, context.random)
        self._is_outage_over = False  # and the slices that wait are still to be hastened

    @property
    def under_way(self) -> tuple[int, ...]:
        """The slices that are being uploaded."""
        return tuple(self._under_way)

    @property
    def has_ended(self) -> bool:
        return self._ended_at is not None

    def take(self, record: SliceRecord) -> None:
        """There is a new slice, on record."""
        is_behind = self._ask_at <= self._context.clock.monotonic()
        if is_behind or self._is_asking or len(self._fresh) >= _FRESH:
            self._fall_behind()
        else:
            self._fresh.append(record)
        self._wake.set()

    def end(self) -> None:
        """The task has ended, which is on record."""
        if self._ended_at is None:
            self._ended_at = self._context.clock.monotonic()
        self._wake.set()

    def look(self) -> None:
        """Slices that wait may be off the record by now."""
        self._fall_behind()
        self._wake.set()

    def settle(self) -> None:
        """A slice that was not handed over came to nothing: the task may be done with."""
        self._wake.set()

    def _fall_behind(self) -> None:
        self._ask_at = -inf
        self._fresh.clear()

    async def run(self) -> None:
        """Upload until the task has ended and nothing is left to do for it."""
        context = self._context
        async with asyncio.TaskGroup() as uploads:
            is_done = False
            while not is_done:
                self._wake.clear()
                try:
                    is_done = await self._go_on(uploads)
                except Exception as error:
                    context.caught(error, task_id=self._task_id)
                    self._fall_behind()
                    self._note_failure()
                    await asyncio.sleep(self._trouble.pauses_until - context.clock.monotonic())

    async def _go_on(self, uploads: asyncio.TaskGroup) -> bool:
        """Start what may be started and wait for more; whether the lane's work is done."""
        if self._trouble.is_pause_over:
            await self._start_uploads(uploads)
        if await self._settle():
            return True
        await self._sleep()
        return False

    @property
    def _room(self) -> int:
        """How many more uploads may be started."""
        uploading = len(self._under_way) - len(self._stored)
        return (1 if self._trouble.failures else _PARALLEL) - uploading

    async def _start_uploads(self, uploads: asyncio.TaskGroup) -> None:
        if self._trouble.failures:
            await self._give_up_expired()
        elif self._is_outage_over:
            await self._context.database.persist(lambda c: slices.hasten(c, self._task_id))
            self._is_outage_over = False
            self._fall_behind()
        room = self._room
        if room <= 0:
            return
        due = await self._find_due(room)
        if due and (self._store is not None or await self._open_store()):
            for record in due:
                self._under_way[record.id] = record
                uploads.create_task(self._upload(record))

    async def _find_due(self, limit: int) -> list[SliceRecord]:
        now = self._context.clock.monotonic()
        if self._ask_at > now:
            return [self._fresh.popleft() for _ in range(min(limit, len(self._fresh)))]
        task_id, under_way = self._task_id, self.under_way

        def find(connection: sqlite3.Connection) -> tuple[list[SliceRecord], float | None]:
            due = slices.find_due(connection, task_id, now, limit, exclude=under_way)
            known = (*under_way, *(record.id for record in due))
            return due, slices.find_next_due(connection, task_id, known)

        # Reset first: what comes while we ask may not be in the answer.
        self._ask_at, self._is_asking = inf, True
        self._fresh.clear()
        try:
            due, next_due = await self._context.database.persist(find)
        finally:
            self._is_asking = False
        self._ask_at = min(self._ask_at, inf if next_due is None else next_due)
        return due

    async def _open_store(self) -> bool:
        """Whether there is a store now; event 1003 is on record then, before the first upload."""
        context, failure = self._context, None
        try:
            self._bucket = await context.database.run(
                lambda c: context.ledger.load_bucket(c, self._task_id)
            )
            store = context.open_bucket(self._bucket)
        except StorageError as error:
            failure = error
        await context.database.persist(
            lambda c: context.ledger.announce_uploads(c, self._task_id, failure)
        )
        if failure is not None:
            self._fall_behind()
            self._note_failure(refused=failure.refused)
            await self._report(failure)
            return False
        self._store = store
        return True

    async def _upload(self, record: SliceRecord) -> None:
        context = self._context
        ask_at = -inf
        try:
            async with context.failing if self._trouble.failures else context.healthy:
                started_at = context.clock.monotonic()
                error = await self._try(record)
            if error is None:
                self._note_success(record)
                return
            if isinstance(error, DamagedSliceError):
                context.spool.set_aside(record, "it is not what was recorded")
                damaged = StorageError(0, "SpoolDamage", f"A slice's file is damaged: {error}.")
                await self._give_up([record], damaged)
            elif isinstance(error, FileNotFoundError):
                gone = StorageError(0, "FileVanished", "A slice's file is gone from the spool.")
                await self._give_up([record], gone)
                context.counters.vanished += 1
            else:
                ask_at = await self._postpone(record, error, started_at)
        except Exception as error:
            # What became of the slice is not on record: it is found there again after a pause.
            context.caught(error, task_id=self._task_id, key=record.object_key)
            self._note_failure()
        self._ask_at = min(self._ask_at, ask_at)
        self._forget(record)

    def _forget(self, record: SliceRecord) -> None:
        """What became of a slice is on record."""
        del self._under_way[record.id]
        self._stored.discard(record.id)
        self._wake.set()

    async def _try(
        self, record: SliceRecord
    ) -> StorageError | FileNotFoundError | DamagedSliceError | None:
        """Upload a slice once; returns why it is not stored."""
        try:
            assert self._store is not None  # noqa: S101 - `_start_uploads` has seen to it
            content = await self._context.spool.read(record)
            await self._store.put(to_object(record, content))
        except (StorageError, FileNotFoundError, DamagedSliceError) as error:
            return error
        except OSError as error:
            return StorageError(0, "SpoolUnreadable", f"{error.strerror}.")
        except Exception as error:
            self._context.caught(error, task_id=self._task_id, key=record.object_key)
            return StorageError(0, "InternalError", "An upload failed by a fault of the server.")
        return None

    def _note_success(self, record: SliceRecord) -> None:
        context, bucket = self._context, self._bucket
        assert bucket is not None  # noqa: S101 - it came with the store
        # Not after a single failure: then it may well be the slice that is at fault.
        self._is_outage_over |= self._trouble.failures > 1
        self._trouble.end()
        self._stored.add(record.id)
        context.receipts.add(Receipt(record, bucket, self._forget))
        if self._fresh or self._ask_at < inf or self._is_outage_over:
            self._wake.set()

    async def _postpone(self, record: SliceRecord, error: StorageError, started_at: float) -> float:
        """Note a failed upload; returns from when on the slice may be tried again."""
        if self._trouble.is_news(started_at):
            self._note_failure(refused=error.refused)
        due_at = self._trouble.next_try_at(record.attempts + 1, refused=error.refused)
        await self._report(error, lambda c: slices.postpone(c, record.id, due_at))
        return due_at

    async def _report(
        self, error: StorageError, also: Callable[[sqlite3.Connection], object] | None = None
    ) -> None:
        """Record event 1006, if the reason is new, and what belongs to it."""
        context = self._context
        context.counters.failed_attempts += 1

        def note(connection: sqlite3.Connection) -> bool:
            if also is not None:
                also(connection)
            return context.ledger.report(connection, self._task_id, error)

        is_new = await context.database.persist(note)
        level = _log.warning if is_new else _log.debug
        where = {"task_id": self._task_id, "bucket": self._bucket and self._bucket.name}
        level("upload failed", **where, status=error.status, error=str(error))

    def _note_failure(self, *, refused: bool = False) -> None:
        self._trouble.note_failure(refused=refused)
        self._is_outage_over = False

    async def _give_up_expired(self) -> None:
        context, under_way = self._context, self.under_way
        before_ms = context.steady_ms() - round(context.retention_s * 1000)
        expired = await context.database.persist(
            lambda c: slices.find_older(c, self._task_id, before_ms, under_way)
        )
        if expired:
            error = StorageError(
                0, "RetentionExceeded", "Slices could not be stored in time and were given up."
            )
            await self._give_up(expired, error)
            context.counters.given_up += len(expired)

    async def _give_up(self, records: list[SliceRecord], error: StorageError) -> None:
        context = self._context
        for record in await context.database.persist(
            lambda c: context.ledger.give_up(c, records, error)
        ):
            context.spool.remove(record)
            _log.error(
                "slice given up", task_id=self._task_id, key=record.object_key, why=str(error)
            )

    async def _settle(self) -> bool:
        """Whether the lane's work is done."""
        if self._ended_at is None or self._under_way:
            return False
        context, is_over = self._context, self._patience_ends_at <= self._context.clock.monotonic()
        return await context.database.persist(
            lambda c: context.ledger.settle(c, self._task_id, is_patience_over=is_over)
        )

    @property
    def _patience_ends_at(self) -> float:
        if self._ended_at is None or not self._trouble.failures:
            return inf
        return max(self._ended_at, self._trouble.since) + self._context.patience_s

    async def _sleep(self) -> None:
        """Until there may be something to do."""
        now = self._context.clock.monotonic()
        until = self._next_time(now)
        try:
            async with asyncio.timeout(None if until == inf else max(until - now, 0)):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _next_time(self, now: float) -> float:
        """When there is something to do, if nothing happens before."""
        patience_ends_at = self._patience_ends_at
        until = patience_ends_at if patience_ends_at > now else inf
        if self._room > 0:
            next_try = -inf if self._fresh or self._is_outage_over else self._ask_at
            until = min(until, max(next_try, self._trouble.pauses_until))
        return until
