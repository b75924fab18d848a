"""The one thread that writes in the spool's directory.

Not a pool: a group of slices costs little more than one (see `slice_files`), and order needs no
locks. So calls gather for a moment before the thread is woken; they share flushes then.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import structlog

from cloudslice.spool.drafts import Outcome
from cloudslice.spool.files import sync_file_system
from cloudslice.spool.recovery import Recovery, TakenUp
from cloudslice.spool.refusals import RETRY_S
from cloudslice.spool.writer import SliceWriter

_GATHER_S = 0.05
"""Seconds that calls are gathered before the thread wakes. Adds as much to the time until audio
is in its file."""
_PATIENCE_S = 60.0
"""Seconds of nothing but faults after which the thread ends: a restart may mend it."""
_BATCH = 256
"""Calls carried out together: bounds how long a picture waits for others' flushes."""

Call = Callable[[], None]

_log = structlog.get_logger(__name__)


class SpoolThread:
    """Takes up what is there, then carries out calls in order, a batch at a time."""

    def __init__(
        self,
        directory: Path,
        writer: SliceWriter,
        report: Callable[[Outcome], None],
        sync_interval_s: float,
    ) -> None:
        """
        Args:
            writer: its calls are what is carried out.
            report: called on the loop with what became of each batch.
            sync_interval_s: so often what has grown reaches the device; 0: when the kernel likes.
        """
        self._directory = directory
        self._writer = writer
        self._report = report
        self._sync_interval_s = sync_interval_s
        self._calls: queue.SimpleQueue[Sequence[Call] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._crash: asyncio.Future[None] = self._loop.create_future()
        self._gathered: list[Call] = []
        self._timer: asyncio.TimerHandle | None = None
        self._told: list[Call] = []
        """To be called when what became of the batch is reported."""
        self._synced_at = 0.0
        self._failing_since: float | None = None
        self._thread: threading.Thread | None = None

    async def start(self, recovery: Recovery) -> TakenUp:
        """Take up what the directory holds; raises OSError if it cannot be read or written."""
        started: Future[TakenUp] = Future()
        self._thread = threading.Thread(target=self._run, args=(recovery, started), name="spool")
        self._thread.start()
        return await asyncio.wrap_future(started)

    def gather(self, call: Call) -> None:
        """Carry out a call soon, after those before it; returns at once."""
        self._gathered.append(call)
        if self._timer is None:
            self._timer = self._loop.call_later(_GATHER_S, self._hand_over)

    async def run(self, call: Call) -> None:
        """Carry out a call now, and wait until what came before it is whole or lost, and reported.
        Raises what the call raises, or what has ended the thread."""
        done: Future[None] = Future()

        def carry_out() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                call()
            except Exception as error:
                self._told.append(partial(done.set_exception, error))
            else:
                self._told.append(partial(done.set_result, None))

        self.gather(carry_out)
        self._hand_over()
        waiting = asyncio.wrap_future(done)
        await asyncio.wait((waiting, self._crash), return_when=asyncio.FIRST_COMPLETED)
        if self._crash.done():
            waiting.cancel()
            await self._crash
        await waiting

    async def watch(self) -> None:
        """Never returns; raises what ended the thread, should that ever happen."""
        await asyncio.shield(self._crash)

    async def stop(self) -> None:
        """Carry out all calls, and end; all is reported then."""
        if self._thread is not None:
            self._hand_over()
            self.end()
            await asyncio.to_thread(self._thread.join)
            await asyncio.sleep(0)  # for the loop to call what the thread has asked it to

    def end(self) -> None:
        """End soon, without waiting for it."""
        self._calls.put(None)

    def _hand_over(self) -> None:
        """Wake the thread for what has been gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gathered, self._gathered = self._gathered, []
        self._calls.put(gathered)

    def _run(self, recovery: Recovery, started: "Future[TakenUp]") -> None:
        if not started.set_running_or_notify_cancel():
            return
        try:
            taken_up = recovery.run()
        except Exception as error:  # whatever it is, the one who starts us is to know
            started.set_exception(error)
            return
        for draft in taken_up.growing:
            self._writer.resume(draft)
        started.set_result(taken_up)
        try:
            self._serve()
        except Exception as error:
            _log.exception("the spool has crashed")
            self._loop.call_soon_threadsafe(self._fail, error)

    def _serve(self) -> None:
        may_come_more = True
        self._work()
        while may_come_more:
            calls, may_come_more = self._take(self._patience_s())
            for call in calls:
                self._carry_out(call)
            self._work()
            if self._is_dirty and (not may_come_more or self._until_sync() <= 0):
                self._sync()
        self._tell(self._writer.close())

    def _work(self) -> None:
        try:
            self._tell(self._writer.work())
        except Exception as error:  # the slices wait, and it is tried again
            self._writer.faults.caught(error)
            now = time.monotonic()
            self._failing_since = self._failing_since or now
            if now - self._failing_since >= _PATIENCE_S:
                raise
        else:
            self._failing_since = None

    def _carry_out(self, call: Call) -> None:
        try:
            call()
        except Exception as error:
            self._writer.faults.caught(error)

    def _tell(self, outcome: Outcome) -> None:
        told, self._told = self._told, []
        self._loop.call_soon_threadsafe(self._report, outcome)
        for each in told:
            each()

    def _patience_s(self) -> float | None:
        """Seconds until there is something to do if nothing comes; None: nothing at all."""
        waits = [RETRY_S] if self._writer.is_behind or self._failing_since is not None else []
        if self._is_dirty:
            waits.append(self._until_sync())
        return min(waits, default=None)

    def _take(self, patience_s: float | None) -> tuple[list[Call], bool]:
        """What was handed over by now, at least once or after `patience_s` nothing; and whether
        more may come."""
        batch: list[Call] = []
        try:
            calls = self._calls.get(timeout=patience_s)
            while calls is not None:
                batch += calls
                if len(batch) >= _BATCH:
                    return batch, True
                calls = self._calls.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    @property
    def _is_dirty(self) -> bool:
        """Whether something was written that may not be on the device, and is to be there soon."""
        return self._writer.has_written and self._sync_interval_s > 0

    def _until_sync(self) -> float:
        """Seconds until what was written is to reach the device."""
        return max(self._synced_at + self._sync_interval_s - time.monotonic(), 0)

    def _sync(self) -> None:
        # All files at once: an fsync of each costs a commit of the file system's journal.
        try:
            sync_file_system(self._directory)
        except OSError as error:
            _log.warning("growing slices cannot be flushed", why=error.strerror)
        self._writer.has_written = False
        self._synced_at = time.monotonic()

    def _fail(self, error: Exception) -> None:
        if not self._crash.done():
            self._crash.set_exception(error)
