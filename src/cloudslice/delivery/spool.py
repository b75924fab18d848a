"""The spool: a finished slice is durable here before anything else happens to it.

Its calls come from the event loop and return at once; one thread carries them out in order. Not a
pool: a group of slices costs little more than one (see `writer`), and order needs no locks. So
orders gather for a moment before the thread is woken; they share flushes and transactions then.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from cloudslice.database import Database
from cloudslice.delivery.losses import Loss, RecordLoss
from cloudslice.delivery.orders import (
    Abandon,
    Append,
    Begin,
    Discard,
    Draft,
    Finish,
    Flush,
    Order,
    Remove,
    SetAside,
)
from cloudslice.delivery.quarantine import Quarantine
from cloudslice.delivery.recovery import Recovery, recover
from cloudslice.delivery.reserve import Reserve
from cloudslice.delivery.slice_files import SliceFiles, locked, slice_path
from cloudslice.delivery.slice_recorder import Outcome, SliceRecorder
from cloudslice.delivery.slices import SliceRecord
from cloudslice.delivery.writer import RETRY_S, SliceWriter
from cloudslice.slices import Repair, SliceKind, SliceOrigin
from cloudslice.slicing.store import GrowingSlice
from cloudslice.uploads.objects import Content, DamagedContentError, read_content

_GATHER_S = 0.05
"""From the first order to the thread's waking: so much later what was heard is on the disk."""
_BATCH = 256
"""Orders carried out together: bounds how long a picture waits for others' flushes."""
_BACKLOG_BYTES = 64 * 1024 * 1024
"""What may wait in memory for a slow or full disk: several seconds of what a thousand anchors
send."""

_log = structlog.get_logger(__name__)


class DamagedSliceError(Exception):
    """The file of a slice is not what was recorded of it."""


class Spool:
    """A directory of slices that wait for their upload; a `SliceStore` and async context manager.

    Attributes:
        used_bytes: what the slices in it take, growing ones included.
    """

    def __init__(
        self,
        directory: Path,
        database: Database,
        repairs: Mapping[SliceKind, Repair],
        now_ms: Callable[[], int],
        *,
        on_waiting: Callable[[list[SliceRecord]], None],
        on_gone: Callable[[set[str]], None],
        on_lost: Callable[[Loss], None],
        record_loss: RecordLoss,
    ) -> None:
        """
        Args:
            directory: made if it is not there.
            database: the record of the slices.
            repairs: for each kind how a file that was cut off is made valid; without: discarded.
            now_ms: the time from which a slice's retention counts, of a clock that never steps.
            on_waiting: called on the loop with new slices to upload.
            on_gone: called on the loop with tasks of which a slice that came to nothing is off the
                record.
            on_lost: called on the loop for each slice, or end of one, that could not be kept.
            record_loss: puts that on record.
        """
        self.used_bytes = 0
        self._directory = directory
        self._database = database
        self._repairs = repairs
        self._now_ms = now_ms
        self._on_waiting = on_waiting
        self._on_gone = on_gone
        self._on_lost = on_lost
        self._record_loss = record_loss
        self._quarantine = Quarantine(directory)
        self._reserve = Reserve(directory.with_name("reserve"))
        self._gathered: list[Order] = []
        self._timer: asyncio.TimerHandle | None = None
        self._orders: queue.SimpleQueue[list[Order] | None] = queue.SimpleQueue()
        self._bytes_in = 0  # handed in; only touched on the loop
        self._bytes_out = 0  # carried out; only touched on the thread
        self._thread: threading.Thread | None = None
        self._crash: asyncio.Future[None] | None = None
        self._lock = ExitStack()

    async def __aenter__(self) -> Self:
        """Take up what the directory holds, then be ready for more.

        Raises:
            OSError: the directory cannot be made, read or written, or another process uses it.
            DatabaseError: the record cannot be written.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(locked(self._directory))
            await self._start()
            self._lock = stack.pop_all()
        return self

    async def _start(self) -> None:
        started: Future[Recovery] = Future()
        self._crash = asyncio.get_running_loop().create_future()
        self._thread = threading.Thread(
            target=self._work, args=(asyncio.get_running_loop(), started), name="spool"
        )
        self._thread.start()
        recovery = await asyncio.wrap_future(started)
        self.used_bytes = recovery.used_bytes
        for loss in recovery.lost:
            self._on_lost(loss)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Carry out what was ordered; slices that still grow are repaired at the next start."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._hand_over()
            self._orders.put(None)
            await asyncio.to_thread(thread.join)
        self._lock.close()

    def grow(self, origin: SliceOrigin, start_utc_ms: int) -> GrowingSlice:
        """See `SliceStore`."""
        draft = Draft(origin, start_utc_ms, self._now_ms())
        self._gather(Begin(draft))
        return _Growth(self, draft)

    def put(
        self, origin: SliceOrigin, start_utc_ms: int, data: bytes, details: Mapping[str, str]
    ) -> None:
        """See `SliceStore`."""
        growing = self.grow(origin, start_utc_ms)
        growing.append(data)
        growing.finish(start_utc_ms, 0, details)

    def remove(self, record: SliceRecord) -> None:
        """Remove the file of a slice that is off the record."""
        self._gather(Remove(record.id, record.size))

    def path(self, record: SliceRecord) -> Path:
        """Where the file of a waiting slice is."""
        return slice_path(self._directory, record.id)

    async def read(self, record: SliceRecord) -> Content:
        """The content of a waiting slice, which is what was recorded of it.

        Raises:
            DamagedSliceError: it is not.
            OSError: it cannot be read.
        """
        path = self.path(record)
        try:
            return await asyncio.to_thread(read_content, path, record.size, record.sha256)
        except DamagedContentError as error:
            raise DamagedSliceError(path.name) from error

    def set_aside(self, record: SliceRecord, reason: str) -> None:
        """Keep the file of a waiting slice apart; the slice is still to be removed."""
        self._gather(SetAside(record.id, reason))

    @property
    def files_set_aside(self) -> int:
        """How many files were set aside since the start."""
        return self._quarantine.count

    async def watch(self) -> None:
        """Never returns; raises what ended the spool's thread, should that ever happen."""
        await asyncio.shield(self._require_crash())

    async def flush(self) -> None:
        """Wait until all that was ordered so far is durable and on record, or lost. What a full
        disk refuses meanwhile is on record as growing, and is not waited for."""
        crash, done = self._require_crash(), Future[None]()
        self._gather(Flush(done))
        self._hand_over()
        flushed = asyncio.wrap_future(done)
        await asyncio.wait((flushed, crash), return_when=asyncio.FIRST_COMPLETED)
        if crash.done():
            await crash

    def _require_crash(self) -> asyncio.Future[None]:
        if self._crash is None:
            raise RuntimeError("the spool is not open")
        return self._crash

    def order(self, order: Order) -> None:
        """Have an order carried out after those before it; for the slices handed out."""
        if isinstance(order, Append):
            size = len(order.data)
            if self._bytes_in - self._bytes_out + size > _BACKLOG_BYTES:
                order = Abandon(order.draft, "the disk is too slow")
            else:
                self._bytes_in += size
                self.used_bytes += size
        self._gather(order)

    def _gather(self, order: Order) -> None:
        self._gathered.append(order)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_S, self._hand_over)

    def _hand_over(self) -> None:
        """Wake the thread for what has been gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gathered, self._gathered = self._gathered, []
        self._orders.put(gathered)

    def _work(self, loop: asyncio.AbstractEventLoop, started: "Future[Recovery]") -> None:
        try:
            recovery = recover(
                self._directory, self._database, self._repairs, self._quarantine, self._record_loss
            )
        except Exception as error:  # whatever it is, the one who starts us is to know
            started.set_exception(error)
            return
        started.set_result(recovery)
        try:
            self._serve(loop)
        except Exception as error:
            _log.exception("the spool has crashed")
            loop.call_soon_threadsafe(self._fail, error)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        def report(outcome: Outcome) -> None:
            if not outcome.is_empty:
                loop.call_soon_threadsafe(self._report, outcome)

        with SliceFiles(self._directory, self._quarantine) as files:
            recorder = SliceRecorder(self._database, self._record_loss, report)
            writer = SliceWriter(files, recorder, self._repairs, time.monotonic)
            flushes: list[Flush] = []
            taken_bytes, running, was_behind = 0, True, True
            while running:
                if was_behind and not writer.is_behind:
                    self._reserve.make()
                was_behind = writer.is_behind
                batch, running = self._take(RETRY_S if writer.is_behind else None)
                writer.carry_out(batch)
                taken_bytes += sum(len(o.data) for o in batch if isinstance(o, Append))
                self._bytes_out = taken_bytes - writer.backlog_bytes
                flushes += [order for order in batch if isinstance(order, Flush)]
                if writer.is_on_record:
                    _end(flushes)
            writer.close(self._reserve.release)
            _end(flushes)

    def _take(self, patience_s: float | None) -> tuple[list[Order], bool]:
        """What was handed over by now, at least once or after `patience_s` nothing; and whether
        more may come."""
        batch: list[Order] = []
        try:
            orders = self._orders.get(timeout=patience_s)
            while orders is not None:
                batch += orders
                if len(batch) >= _BATCH:
                    return batch, True
                orders = self._orders.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _fail(self, error: Exception) -> None:
        if self._crash is not None and not self._crash.done():
            self._crash.set_exception(error)

    def _report(self, outcome: Outcome) -> None:
        self.used_bytes -= outcome.freed
        for loss in outcome.lost:
            self._on_lost(loss)
        if outcome.waiting:
            self._on_waiting(outcome.waiting)
        if outcome.gone:
            self._on_gone(outcome.gone)


def _end(flushes: list[Flush]) -> None:
    for each in flushes:
        each.done.set_result(None)
    flushes.clear()


class _Growth:
    """A `GrowingSlice` of a spool."""

    def __init__(self, spool: Spool, draft: Draft) -> None:
        self._spool = spool
        self._draft = draft
        self._open = True

    def append(self, data: bytes) -> None:
        self._check_open()
        self._spool.order(Append(self._draft, data))

    def finish(
        self, start_utc_ms: int, duration_ms: int, details: Mapping[str, str], *, head: bytes = b""
    ) -> None:
        self._check_open()
        self._open = False
        self._spool.order(Finish(self._draft, start_utc_ms, duration_ms, details, head))

    def abandon(self, reason: str) -> None:
        if self._open:
            self._open = False
            self._spool.order(Abandon(self._draft, reason))

    def discard(self) -> None:
        self._check_open()
        self._open = False
        self._spool.order(Discard(self._draft))

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("the slice is finished, discarded or abandoned")
