"""The uploads of one task: a few at a time, with patience when its bucket fails.

A task has a bucket, and a bucket fails as a whole more often than not. So the lane as a whole
pauses after a failure and then tries a single slice, while each slice has a pace of its own on
top, so that one that the store will never take does not hold up the others.

While all goes well a lane is handed its slices and asks the database for nothing. It does so when
it has fallen behind: after a restart or a failure, or when more slices came than it holds.
"""

import asyncio
import sqlite3
from collections import deque

import structlog

from cloudslice.delivery import slices
from cloudslice.delivery.model import Bucket
from cloudslice.delivery.slices import SliceRecord
from cloudslice.delivery.spool import DamagedSliceError
from cloudslice.delivery.storage import ObjectStore, StorageError, StoredObject
from cloudslice.delivery.uploads import Receipt, UploadContext

_PARALLEL = 4
_FRESH = 32
"""Slices held in memory until their turn; more of them wait in the database."""
_CONTENT_TYPES = {"ogg": "audio/ogg", "png": "image/png", "jpg": "image/jpeg"}

_log = structlog.get_logger(__name__)


class Lane:
    """Uploads a task's slices, from its first one until after its end."""

    def __init__(self, task_id: str, context: UploadContext, *, is_behind: bool) -> None:
        """
        Args:
            task_id: the task.
            context: what all lanes share.
            is_behind: whether there are slices on record that it will not be handed.
        """
        self._task_id = task_id
        self._context = context
        self._is_behind = is_behind
        self._is_asking = False
        self._fresh: deque[SliceRecord] = deque()  # empty while behind
        self._ended_at: float | None = None
        self._wake = asyncio.Event()
        self._bucket: Bucket | None = None
        self._store: ObjectStore | None = None
        self._under_way: dict[int, SliceRecord] = {}
        self._stored: set[int] = set()  # those of them that are only to be put on record
        self._failures = 0  # in a row
        self._failing_since = 0.0
        self._last_failure_at = 0.0
        self._paused_until = 0.0
        self._postponed = is_behind  # whether slices may have to be waited for

    @property
    def under_way(self) -> tuple[int, ...]:
        """The slices that are being uploaded."""
        return tuple(self._under_way)

    def take(self, record: SliceRecord) -> None:
        """There is a new slice, on record."""
        if self._is_behind or self._is_asking or len(self._fresh) >= _FRESH:
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

    def _fall_behind(self) -> None:
        self._is_behind = True
        self._fresh.clear()

    async def run(self) -> None:
        """Upload until the task has ended and nothing is left to do for it."""
        async with asyncio.TaskGroup() as uploads:
            while True:
                self._wake.clear()
                if self._is_pause_over:
                    await self._start_uploads(uploads)
                if await self._settle():
                    return
                await self._sleep()

    @property
    def _is_pause_over(self) -> bool:
        return self._context.clock.monotonic() >= self._paused_until

    @property
    def _room(self) -> int:
        """How many more uploads may be started."""
        uploading = len(self._under_way) - len(self._stored)
        return (1 if self._failures else _PARALLEL) - uploading

    async def _start_uploads(self, uploads: asyncio.TaskGroup) -> None:
        if self._failures:
            await self._give_up_expired()
        room = self._room
        if room <= 0:
            return
        due = await self._find_due(room)
        if due and (self._store is not None or await self._open_store()):
            for record in due:
                self._under_way[record.id] = record
                uploads.create_task(self._upload(record))

    async def _find_due(self, limit: int) -> list[SliceRecord]:
        if not self._is_behind:
            return [self._fresh.popleft() for _ in range(min(limit, len(self._fresh)))]
        now, under_way = self._context.clock.monotonic(), self.under_way
        # Reset first: what comes while we ask may not be in the answer.
        self._is_behind, self._is_asking = False, True
        due = await self._context.database.persist(
            lambda c: slices.find_due(c, self._task_id, now, limit, exclude=under_way)
        )
        self._is_asking = False
        if len(due) == limit:
            self._fall_behind()
        return due

    async def _open_store(self) -> bool:
        """Whether there is a store now; event 1003 is on record then, before the first upload."""
        context, failure = self._context, None
        try:
            self._bucket = await context.database.run(
                lambda c: context.ledger.load_bucket(c, self._task_id)
            )
            self._store = context.open_bucket(self._bucket)
        except StorageError as error:
            failure = error
        await context.database.persist(
            lambda c: context.ledger.announce_uploads(c, self._task_id, failure)
        )
        if failure is not None:
            await self._note_failure(failure, started_at=context.clock.monotonic())
        return failure is None

    async def _upload(self, record: SliceRecord) -> None:
        context = self._context
        try:
            async with context.failing if self._failures else context.healthy:
                started_at = context.clock.monotonic()
                await self._put(record)
        except StorageError as error:
            await self._note_failure(error, started_at=started_at, record=record)
        except DamagedSliceError as error:
            context.spool.set_aside(record, "it is not what was recorded")
            damaged = StorageError(0, "SpoolDamage", f"A slice's file is damaged: {error}.")
            await self._give_up([record], damaged)
        except FileNotFoundError:
            context.counters.vanished += 1
            gone = StorageError(0, "FileVanished", "A slice's file is gone from the spool.")
            await self._give_up([record], gone)
        except OSError as error:
            unreadable = StorageError(0, "SpoolUnreadable", f"{error.strerror}.")
            await self._note_failure(unreadable, started_at=started_at, record=record)
        else:
            await self._note_success(record)
            return
        self._forget(record)

    def _forget(self, record: SliceRecord) -> None:
        """What became of a slice is on record."""
        del self._under_way[record.id]
        self._stored.discard(record.id)
        self._wake.set()

    async def _put(self, record: SliceRecord) -> None:
        assert self._store is not None  # noqa: S101 - `_start_uploads` has seen to it
        await self._context.spool.check(record)
        await self._store.put(
            StoredObject(
                key=record.object_key,
                path=self._context.spool.path(record),
                content_type=_CONTENT_TYPES.get(
                    record.origin.extension, "application/octet-stream"
                ),
                metadata={
                    **record.details,
                    "start-ms": str(record.start_ms),
                    "duration-ms": str(record.duration_ms),
                    "sha256": record.sha256,
                },
            )
        )

    async def _note_success(self, record: SliceRecord) -> None:
        context, bucket, was_outage = self._context, self._bucket, self._failures > 1
        assert bucket is not None  # noqa: S101 - it came with the store
        self._failures = 0
        self._paused_until = 0.0
        self._stored.add(record.id)
        context.receipts.add(Receipt(record, bucket, self._forget))
        if was_outage:
            # Only then: after a single failure it may well be the slice that is at fault.
            await context.database.persist(lambda c: slices.hasten(c, self._task_id))
            self._fall_behind()
        if self._fresh or self._is_behind:
            self._wake.set()

    async def _note_failure(
        self, error: StorageError, *, started_at: float, record: SliceRecord | None = None
    ) -> None:
        context, now = self._context, self._context.clock.monotonic()
        context.counters.failed_attempts += 1
        if self._failures == 0:
            self._failing_since = now
        if self._failures == 0 or started_at >= self._last_failure_at:
            # Uploads that ran side by side and failed together have failed once.
            self._failures += 1
            self._last_failure_at = now
            self._paused_until = now + self._delay_s(self._failures, error)
        self._postponed = True
        self._fall_behind()

        def note(connection: sqlite3.Connection) -> bool:
            if record is not None:
                due_at = now + self._delay_s(record.attempts + 1, error)
                slices.postpone(connection, record.id, due_at)
            return context.ledger.report(connection, self._task_id, error)

        is_new = await context.database.persist(note)
        level = _log.warning if is_new else _log.debug
        where = {"task_id": self._task_id, "bucket": self._bucket and self._bucket.name}
        level("upload failed", **where, status=error.status, error=str(error))

    def _delay_s(self, failures: int, error: StorageError) -> float:
        jitter = self._context.random.random()
        return self._context.pace.delay_s(failures, refused=error.refused, jitter=jitter)

    async def _give_up_expired(self) -> None:
        context, under_way = self._context, self.under_way
        before_ms = context.clock.utc_ms() - round(context.retention_s * 1000)
        expired = await context.database.persist(
            lambda c: slices.find_older(c, self._task_id, before_ms, under_way)
        )
        if expired:
            context.counters.given_up += len(expired)
            error = StorageError(
                0, "RetentionExceeded", "Slices could not be stored in time and were given up."
            )
            await self._give_up(expired, error)

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
        if self._ended_at is None or not self._failures:
            return float("inf")
        return max(self._ended_at, self._failing_since) + self._context.patience_s

    async def _sleep(self) -> None:
        """Until there may be something to do."""
        now = self._context.clock.monotonic()
        times = [
            at for at in (self._paused_until, self._patience_ends_at) if now < at < float("inf")
        ]
        if self._postponed and self._room > 0:
            times.extend(await self._find_next_due())
        delay = max(min(times) - now, 0) if times else None
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            self._fall_behind()

    async def _find_next_due(self) -> list[float]:
        under_way = self.under_way
        next_due = await self._context.database.persist(
            lambda c: slices.find_next_due(c, self._task_id, under_way)
        )
        self._postponed = next_due is not None
        return [] if next_due is None else [max(next_due, self._paused_until)]
