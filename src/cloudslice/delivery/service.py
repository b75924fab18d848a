"""Delivery as others see it: slices and events go in, and come out at bucket and webhook."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from cloudslice.clock import Clock
from cloudslice.config import Settings
from cloudslice.database import Database, Operation
from cloudslice.delivery import consignors, outbox, slices
from cloudslice.delivery.callbacks import CallbackCounters, CallbackSender
from cloudslice.delivery.events import Event, EventType, Payload, task_event
from cloudslice.delivery.ledger import Ledger
from cloudslice.delivery.losses import Loss
from cloudslice.delivery.outbox import EventRecorder, OutboxEvent
from cloudslice.delivery.retries import CallbackPace, UploadPace
from cloudslice.delivery.slices import SliceRecord
from cloudslice.delivery.spool import Spool
from cloudslice.delivery.storage import BucketOpener, open_bucket
from cloudslice.delivery.storage_errors import StorageError
from cloudslice.delivery.uploader import Uploader
from cloudslice.delivery.uploads import UploadContext, UploadCounters
from cloudslice.events import Bus, RobotEntered, RobotLeft
from cloudslice.secrets import SecretBox
from cloudslice.slices import Bucket, Repair, SliceKind, SliceOrigin, TaskRef
from cloudslice.slicing.store import GrowingSlice
from cloudslice.steady_clock import SteadyClock

_FULL_AT = 0.95
"""Of the spool's limit: below it, so that a spool kept at its limit by dropping is full."""
_FILE_THREADS = 4

_log = structlog.get_logger(__name__)


class Delivery:
    """Takes slices and events durably and delivers them; a `SliceStore` and async context manager.

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
        clock: Clock,
        *,
        repair: Mapping[SliceKind, Repair],
        bucket_opener: BucketOpener | None = None,
        upload_pace: UploadPace | None = None,
        upload_patience_s: float = 60.0,
        callback_pace: CallbackPace | None = None,
    ) -> None:
        """
        Args:
            settings: data directory, storage, callbacks and apps.
            database: open, with the SCHEMA of `delivery.schema` and that of `steady_clock`.
            secrets: encrypts storage keys at rest.
            clock: labels and paces everything.
            repair: how files that were cut off in their growth are made valid.
            bucket_opener: gives the stores of buckets; default: those of the settings.
            upload_pace: when uploads are repeated.
            upload_patience_s: how long uploads may fail after a task's end before 1005 says so.
            callback_pace: when webhooks are repeated; default: by the settings' retention.
        """
        self.lost = 0
        self._database = database
        self._secrets = secrets
        self._clock = clock
        self._steady = SteadyClock(database, clock, "delivery")
        self._stack = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._files = ThreadPoolExecutor(_FILE_THREADS, thread_name_prefix="upload-files")
        self._events = EventRecorder(settings.app, clock, self._on_recorded)
        self._ledger = Ledger(self._events, secrets, settings.storage)
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
            open_bucket=bucket_opener
            or (lambda bucket: open_bucket(bucket, settings.storage, self._files)),
            clock=clock,
            steady_ms=self._steady.now_ms,
            pace=upload_pace or UploadPace(),
            retention_s=settings.storage.retention_hours * 3600,
            patience_s=upload_patience_s,
        )
        self._uploader = Uploader(self._context)
        self._sender = CallbackSender(
            database,
            settings.app,
            clock,
            self._steady.now_ms,
            timeout_s=settings.callbacks.timeout_s,
            pace=callback_pace
            or CallbackPace(retention_s=settings.callbacks.retention_hours * 3600),
        )

    async def __aenter__(self) -> Self:
        """Take up what is there, and begin to deliver.

        Raises:
            OSError: the spool's directory cannot be made, read or written.
            DatabaseError: the record cannot be written.
        """
        self._loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            stack.callback(self._files.shutdown)
            await stack.enter_async_context(self._steady)
            await stack.enter_async_context(self._spool)
            if self._steady.is_new:
                await self._database.run(self._count_from_now)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            uploads_ready, sender_ready = asyncio.Event(), asyncio.Event()
            workers = [
                group.create_task(self._uploader.run(uploads_ready)),
                group.create_task(self._sender.run(sender_ready)),
                group.create_task(self._spool.watch()),
                group.create_task(self._keep_limit()),
            ]
            for worker in workers:
                stack.callback(worker.cancel)
            await uploads_ready.wait()
            await sender_ready.wait()
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

    @property
    def callbacks(self) -> CallbackCounters:
        """What has become of webhooks since the start."""
        return self._sender.counters

    async def count_waiting(self) -> tuple[int, int]:
        """How many slices wait for their upload, and how many events for their delivery."""
        return await self._database.run(lambda c: (slices.count_waiting(c), outbox.count_unsent(c)))

    def keep_events(self, bus: Bus) -> None:
        """Have what happens to tasks' robots put on record: events 1001 and 1002."""
        bus.keep(RobotEntered, self._keep_entered)
        bus.keep(RobotLeft, self._keep_left)
        bus.listen(RobotLeft, lambda event: self._uploader.end(event.task.task_id))

    def _keep_entered(self, connection: sqlite3.Connection, event: RobotEntered) -> None:
        payload = {"Status": int(event.has_failed)}
        self._events.record(connection, task_event(event.task, EventType.START, payload))

    def _keep_left(self, connection: sqlite3.Connection, event: RobotLeft) -> None:
        payload = {"LeaveCode": event.leave_code}
        self._events.record(connection, task_event(event.task, EventType.STOP, payload))
        consignors.mark_ended(connection, event.task.task_id)

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
        await self._database.run(
            partial(self._record, task_id, EventType.START, {"Status": int(has_failed)}, also)
        )

    async def record_stop(
        self, task_id: str, leave_code: int, *, also: Operation[object] | None = None
    ) -> None:
        """The robot has left and all its slices are handed in and flushed: event 1002.

        Event 1005 follows when all are uploaded; then the task is forgotten.

        Raises:
            DatabaseError: it could not be put on record.
        """

        def stop(connection: sqlite3.Connection) -> None:
            self._record(task_id, EventType.STOP, {"LeaveCode": leave_code}, also, connection)
            consignors.mark_ended(connection, task_id)

        await self._database.run(stop)
        self._uploader.end(task_id)

    def tell(self, event: Event) -> None:
        """Something has happened, now, that nothing else on record hangs on. Returns at once.

        An event that cannot be put on record is lost, and logged.
        """
        now_ms = self._clock.utc_ms()
        self._database.post(
            lambda connection: self._events.record(connection, event, event_ms=now_ms),
            "record an event",
        )

    def _record(
        self,
        task_id: str,
        event_type: EventType,
        payload: Payload,
        also: Operation[object] | None,
        connection: sqlite3.Connection,
    ) -> None:
        consignor = consignors.find(connection, task_id)
        if consignor is not None:
            self._events.record(connection, task_event(consignor, event_type, payload))
        _also(connection, also)

    def _count_from_now(self, connection: sqlite3.Connection) -> None:
        """Since when slices and events wait nobody knows: their retention begins."""
        now_ms = self._steady.now_ms()
        slices.count_from(connection, now_ms)
        outbox.count_from(connection, now_ms)

    def _on_recorded(self, sdk_app_id: int, event: OutboxEvent) -> None:
        self._after_commit(self._sender.take, sdk_app_id, event)

    def _after_commit(self, call: Callable[..., object], *args: object) -> None:
        """For an operation: `call` on the loop when its work is durable."""
        if (loop := self._loop) is not None:
            self._database.after_commit(partial(loop.call_soon_threadsafe, call, *args))

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
