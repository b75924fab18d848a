"""Delivery as others see it: slices go in, and come out at the bucket."""

import asyncio
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import structlog

from cloudslice.clock import Clock
from cloudslice.config import Settings
from cloudslice.database import Database, Operation
from cloudslice.delivery import consignors, slices
from cloudslice.delivery.ledger import Ledger
from cloudslice.delivery.losses import Loss
from cloudslice.delivery.retries import UploadPace
from cloudslice.delivery.slices import SliceRecord
from cloudslice.delivery.spool import Spool
from cloudslice.delivery.uploader import Uploader
from cloudslice.delivery.uploads import UploadContext, UploadCounters
from cloudslice.events import Bus, RobotEntered, RobotLeft
from cloudslice.secrets import SecretBox
from cloudslice.slices import Bucket, Repair, SliceKind, SliceOrigin, TaskRef
from cloudslice.slicing.store import GrowingSlice
from cloudslice.steady_clock import SteadyClock
from cloudslice.uploads.storage_errors import StorageError
from cloudslice.uploads.stores import BucketOpener, Stores

_FULL_AT = 0.95
"""Of the spool's limit: below it, so that a spool kept at its limit by dropping is full."""
_FILE_THREADS = 4

_log = structlog.get_logger(__name__)


class Delivery:
    """Takes slices durably and uploads them; a `SliceStore` and async context manager.

    Entering it takes up what a former process has left. Leaving it waits until what was handed in
    is durable, not until it is delivered.

    Attributes:
        lost: how many slices, or ends of slices, the spool could not keep.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        secrets: SecretBox,
        bus: Bus,
        clock: Clock,
        *,
        repair: Mapping[SliceKind, Repair],
        bucket_opener: BucketOpener | None = None,
        upload_pace: UploadPace | None = None,
        upload_patience_s: float = 60.0,
    ) -> None:
        """
        Args:
            settings: data directory and storage.
            database: open, with the SCHEMA of `delivery.schema` and that of `steady_clock`.
            secrets: encrypts storage keys at rest.
            bus: records what becomes of tasks and slices.
            clock: labels and paces everything.
            repair: how files that were cut off in their growth are made valid.
            bucket_opener: gives the stores of buckets; default: those of the settings.
            upload_pace: when uploads are repeated.
            upload_patience_s: how long uploads may fail after a task's end before 1005 says so.
        """
        self.lost = 0
        self._database = database
        self._secrets = secrets
        self._bus = bus
        self._clock = clock
        self._steady = SteadyClock(database, clock, "delivery")
        self._stack = AsyncExitStack()
        self._files = ThreadPoolExecutor(_FILE_THREADS, thread_name_prefix="upload-files")
        self._stores = Stores(settings.storage, self._files)
        self._events = EventRecorder(settings.app, clock, self._on_recorded)
        self._ledger = Ledger(self._events, secrets, settings.storage)
        self._ledger = Ledger(bus, secrets, settings.storage)
        self._limit_bytes = settings.storage.spool_limit_gib * 1024**3
        self._over_limit = asyncio.Event()
        self._spool = Spool(
            settings.data_dir / "spool",
            database,
            repair,
            self._steady.now_ms,
            on_waiting=self._on_waiting,
            on_gone=self._on_gone,
            on_lost=self._on_lost,
            record_loss=self._record_loss,
        )
        self._context = UploadContext(
            database=database,
            spool=self._spool,
            ledger=self._ledger,
            open_bucket=bucket_opener or self._stores.open,
            clock=clock,
            steady_ms=self._steady.now_ms,
            pace=upload_pace or UploadPace(),
            retention_s=settings.storage.retention_hours * 3600,
            patience_s=upload_patience_s,
        )
        self._uploader = Uploader(self._context)

    async def __aenter__(self) -> Self:
        """Take up what is there, and begin to deliver.

        Raises:
            OSError: the spool's directory cannot be made, read or written.
            DatabaseError: the record cannot be written.
        """
        async with AsyncExitStack() as stack:
            stack.callback(self._files.shutdown)
            await stack.enter_async_context(self._stores)
            await stack.enter_async_context(self._steady)
            await stack.enter_async_context(self._spool)
            if self._steady.is_new:
                await self._database.run(self._count_from_now)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            uploads_ready = asyncio.Event()
            workers = [
                group.create_task(self._uploader.run(uploads_ready)),
                group.create_task(self._spool.watch()),
                group.create_task(self._keep_limit()),
            ]
            for worker in workers:
                stack.callback(worker.cancel)
            await uploads_ready.wait()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(exc_type, exc, traceback)

    @property
    def is_full(self) -> bool:
        """Whether the spool is as good as full: no new task should start."""
        return self._spool.used_bytes >= self._limit_bytes * _FULL_AT

    @property
    def spool_bytes(self) -> int:
        """What the slices in the spool take, growing ones included."""
        return self._spool.used_bytes

    @property
    def files_set_aside(self) -> int:
        """How many of the spool's files were set aside since the start."""
        return self._spool.files_set_aside

    @property
    def uploads(self) -> UploadCounters:
        """What has become of uploads since the start."""
        return self._context.counters

    async def count_waiting(self) -> int:
        """How many slices wait for their upload."""
        return await self._database.run(slices.count_waiting)

    async def open(
        self, consignor: TaskRef, bucket: Bucket, *, also: Operation[object] | None = None
    ) -> None:
        """Be ready for a task's slices and events, in this and later processes.

        Args:
            consignor: the task.
            bucket: where its slices go.
            also: carried out in the same transaction.

        Raises:
            DatabaseError: it could not be put on record.
        """

        def open_task(connection: sqlite3.Connection) -> None:
            consignors.insert(connection, consignor, bucket, self._secrets)
            _also(connection, also)

        await self._database.run(open_task)

    def grow(self, origin: SliceOrigin, start_utc_ms: int) -> GrowingSlice:
        """See `SliceStore`."""
        return self._spool.grow(origin, start_utc_ms)

    def put(
        self, origin: SliceOrigin, start_utc_ms: int, data: bytes, details: Mapping[str, str]
    ) -> None:
        """See `SliceStore`."""
        self._spool.put(origin, start_utc_ms, data, details)

    async def flush(self) -> None:
        """Wait until all slices handed in so far are durable and on record."""
        await self._spool.flush()

    async def record_start(
        self, task_id: str, *, has_failed: bool, also: Operation[object] | None = None
    ) -> None:
        """The robot has entered its room, or could not: event 1001.

        Raises:
            DatabaseError: it could not be put on record.
        """

        def start(connection: sqlite3.Connection) -> None:
            task = consignors.find(connection, task_id)
            if task is not None:
                self._bus.record(connection, RobotEntered(task, has_failed))
            _also(connection, also)

        await self._database.run(start)

    async def record_stop(
        self, task_id: str, leave_code: int, *, also: Operation[object] | None = None
    ) -> None:
        """The robot has left and all its slices are handed in and flushed: event 1002.

        Event 1005 follows when all are uploaded; then the task is forgotten.

        Raises:
            DatabaseError: it could not be put on record.
        """

        def stop(connection: sqlite3.Connection) -> None:
            task = consignors.find(connection, task_id)
            if task is not None:
                self._bus.record(connection, RobotLeft(task, leave_code))
            _also(connection, also)
            consignors.mark_ended(connection, task_id)

        await self._database.run(stop)
        self._uploader.end(task_id)

    def _count_from_now(self, connection: sqlite3.Connection) -> None:
        """Since when slices wait nobody knows: their retention begins."""
        slices.count_from(connection, self._steady.now_ms())

    def _on_waiting(self, records: list[SliceRecord]) -> None:
        self._uploader.take(records)
        if self._spool.used_bytes > self._limit_bytes:
            self._over_limit.set()

    def _on_gone(self, task_ids: set[str]) -> None:
        # A task that has ended may have waited for nothing else.
        self._uploader.settle(task_ids)

    def _on_lost(self, loss: Loss) -> None:
        self.lost += 1
        origin = loss.origin
        who = {"task_id": origin.task_id, "user_id": origin.user_id, "kind": origin.kind.value}
        what = "end of slice lost" if loss.is_partial else "slice lost"
        _log.error(what, **who, why=loss.reason)

    def _record_loss(self, connection: sqlite3.Connection, loss: Loss, count: int) -> None:
        origin = loss.origin
        what = f"{'audio' if origin.kind is SliceKind.AUDIO else 'picture'} of {origin.user_id}"
        amount = "The end of a slice" if loss.is_partial else "A slice"
        if count > 1:
            amount = f"{'The ends of' if loss.is_partial else ''} {count} slices".strip()
        error = StorageError(
            0, "SpoolFailure", f"{amount} ({what}) could not be kept: {loss.reason}."
        )
        self._ledger.lose(connection, origin.task_id, error, count)

    async def _keep_limit(self) -> None:
        """Keep the newest slices: drop the oldest whenever the spool is over its limit."""
        while True:
            await self._over_limit.wait()
            self._over_limit.clear()
            try:
                await self._make_room()
            except Exception as error:
                self._context.caught(error)
                await asyncio.sleep(self._context.pace.first_s)
                self._over_limit.set()

    async def _make_room(self) -> None:
        excess = self._spool.used_bytes - self._limit_bytes
        if excess > 0 and await self._uploader.make_room(round(excess)):
            await self._spool.flush()


def _also(connection: sqlite3.Connection, operation: Operation[object] | None) -> None:
    if operation is not None:
        operation(connection)
