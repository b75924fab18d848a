"""The one SQLite file of a node, behind one writer that commits in groups.

Every durable step of the service is a small transaction, and a commit costs a disk flush. So all
parts share one connection: what is queued while a commit is under way is committed together by the
next one, each operation in a savepoint of its own, so that one that fails fails alone. This is
also why no pool of connections is used: writers would only wait for each other's flushes.

The connection belongs to whoever has the lock. For the event loop that is a thread of ours; another
thread that has to wait for its operation anyway carries it out itself (`perform`), and all that is
queued before it. A thread that has slept costs more to wake than most operations take: so what is
in no hurry can say so, and goes along with what is.
"""

import asyncio
import math
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import structlog

from cloudslice.migrations import MigrationError, Schema, migrate

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]
"""Reads and writes through the connection; runs on another thread than the event loop's, within a
transaction that others share, so it must neither commit nor roll back nor take long."""

_GROUP_LIMIT = 500
"""Operations in one transaction: bounds how long the first of them waits for its commit."""
_BUSY_TIMEOUT_S = 5.0
"""A process that is just being replaced gets so long to let go of the file."""
_RETRY_S = 2.0
_CHECK_LIMIT_BYTES = 1 << 30
"""A larger file is not checked at the start, which would take too long."""
_INDEX_FAULT = " index "
"""In SQLite's words about a row that an index lacks, or has where it should not."""
_REFUSALS = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
"""SQLite's primary result codes that speak of the file and its disk, not of the statement."""
_DAMAGES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_COMPACT_FROM_BYTES = 64 * 1024**2
_CONVERT_UP_TO_BYTES = 256 * 1024**2
"""A larger file of a former version is not rewritten for the sake of giving back pages later: that
takes some seconds for each GiB."""
_INCREMENTAL = 2
"""PRAGMA auto_vacuum's word for it."""
_SPARE_PAGES = 4096
"""16 MiB of free pages are kept: new rows use them again."""
_PAGES_AT_ONCE = 256
"""1 MiB: given back in some milliseconds."""
_SHRINK_PAUSE_S = 60.0
"""After an error, such as a full disk."""
_LOG_LIMIT_BYTES = 64 * 1024**2
"""What the write-ahead log is cut to when a large transaction has made it larger."""

_log = structlog.get_logger(__name__)


class DatabaseError(Exception):
    """The database cannot be opened or written; the text names the file and the reason."""


class _DamagedError(sqlite3.DatabaseError):
    """SQLite's own check has found damage."""


def is_refusal(error: Exception) -> bool:
    """Whether an error within an operation is the disk's or the file's: trying again may help, and
    other operations would meet it too."""
    return isinstance(error, DatabaseError) or _primary_code(error) in _REFUSALS


@dataclass(slots=True)
class _Job:
    operation: Callable[[sqlite3.Connection], object]
    future: Future[object]
    result: object = None
    error: Exception | None = None
    after: list[Callable[[], object]] = field(default_factory=list)


class Database:
    """Runs operations in the order they come, durably; an async context manager.

    Results are delivered after the commit: what `run` has returned from survives a power cut.
    Leaving the context carries out everything that was queued before it closes the file.

    Attributes:
        failures: how many operations given to `post` have failed.
    """

    def __init__(self, path: Path, schemas: Sequence[Schema]) -> None:
        self.failures = 0
        self._path = path
        self._schemas = tuple(schemas)
        self._jobs: deque[_Job] = deque()
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """Wakes the thread; False for the last time."""
        self._timer: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None  # with the lock only
        self._current: _Job | None = None  # likewise
        self._shrink_from = -math.inf  # likewise: not before this monotonic second

    async def __aenter__(self) -> Self:
        """Open or create the file and bring its tables up to date.

        Raises:
            DatabaseError: another process has it open, it was written by a newer version, or it
                cannot be read or written.
        """
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, args=(opened,), name="database")
        self._thread.start()
        await asyncio.wrap_future(opened)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread, self._thread = self._thread, None
        self._stop_timer()
        if thread is not None:
            self._bell.put(False)
            await asyncio.to_thread(thread.join)

    async def run(self, operation: Operation[T], *, within_s: float = 0) -> T:
        """The result of `operation`, after its commit; its exception, if it raises one.

        Args:
            operation: what to carry out.
            within_s: so long it may wait for others to be committed with.

        Raises:
            DatabaseError: the disk or the file refuses it.
        """
        future = self._queue(operation)
        self._ring(within_s)
        return await asyncio.wrap_future(future)

    async def persist(self, operation: Operation[T], *, within_s: float = 0) -> T:
        """As `run`, but repeated for as long as the disk refuses: for what must not be left out."""
        while True:
            try:
                return await self.run(operation, within_s=within_s)
            except DatabaseError as error:
                _log.error("database write refused", error=str(error), retry_in_s=_RETRY_S)
                await asyncio.sleep(_RETRY_S)

    def perform(self, operation: Operation[T]) -> T:
        """As `run`, for other threads than the event loop's: blocks, and works on the caller's."""
        future = self._queue(operation)
        self._carry_out()
        return future.result()

    def post(self, operation: Operation[object], what: str) -> None:
        """Carry out `operation` in its turn, without waiting for it.

        A failure is logged as that of `what` and counted in `failures`.
        """

        def note(done: Future[object]) -> None:
            error = done.exception()
            if error is not None:
                self.failures += 1
                _log.error("database operation failed", what=what, error=str(error))

        self._queue(operation).add_done_callback(note)
        self._ring(0)

    def after_commit(self, call: Callable[[], object]) -> None:
        """For an operation to say: `call` this when my work is durable, and only then.

        It is called on the operation's thread, in the order of operations, so it must be quick and
        must not raise.
        """
        if self._current is None:
            raise RuntimeError("only an operation knows what comes after its commit")
        self._current.after.append(call)

    def _queue(self, operation: Operation[T]) -> Future[T]:
        if self._thread is None:
            raise RuntimeError("the database is not open")
        future: Future[T] = Future()
        self._jobs.append(_Job(operation, future))  # type: ignore[arg-type]  # T is erased here
        return future

    def _ring(self, within_s: float) -> None:
        """Have the thread see to what is queued; at some other time than now only on the loop."""
        if within_s == 0:
            self._bell.put(True)
            return
        loop = asyncio.get_running_loop()
        if self._timer is None or self._timer.when() > loop.time() + within_s:
            self._stop_timer()
            self._timer = loop.call_later(within_s, self._ring_late)

    def _ring_late(self) -> None:
        self._timer = None
        if self._jobs:
            self._bell.put(True)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _work(self, opened: Future[None]) -> None:
        try:
            self._connection = _open(self._path, self._schemas)
        except (OSError, sqlite3.Error, MigrationError) as error:
            opened.set_exception(_explain(self._path, error))
            return
        opened.set_result(None)
        try:
            while self._bell.get():
                self._carry_out()
            self._carry_out()
        finally:
            self._connection.close()

    def _carry_out(self) -> None:
        """Commit all that is queued."""
        with self._lock:
            while group := self._gather():
                self._commit(group)
            self._shrink()

    def _shrink(self) -> None:
        """Give some of many free pages back to the disk, in a transaction of its own."""
        connection = self._connection
        assert connection is not None  # noqa: S101 - it is open as long as there is a thread
        if time.monotonic() < self._shrink_from:
            return
        try:
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            if free > _SPARE_PAGES:
                # Not by `execute`, which takes one step of the statement: one page.
                connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
        except sqlite3.Error as error:
            self._shrink_from = time.monotonic() + _SHRINK_PAUSE_S
            _log.warning("database not made smaller", path=str(self._path), error=str(error))

    def _gather(self) -> list[_Job]:
        """What is queued, in order, less what was cancelled."""
        group: list[_Job] = []
        while self._jobs and len(group) < _GROUP_LIMIT:
            job = self._jobs.popleft()
            if job.future.set_running_or_notify_cancel():
                group.append(job)
        return group

    def _commit(self, group: list[_Job]) -> None:
        """Carry out a group in one transaction and tell each its end."""
        connection = self._connection
        assert connection is not None  # noqa: S101 - it is open as long as there is a thread
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in group:
                self._current = job
                _attempt(connection, job)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for job in group:
                job.error = job.error or _explain(self._path, error)
        self._current = None
        for job in group:
            if job.error is not None:
                if is_refusal(job.error):
                    job.error = _explain(self._path, job.error)
                job.future.set_exception(job.error)
                continue
            for call in job.after:
                call()
            job.future.set_result(job.result)


def _open(path: Path, schemas: Sequence[Schema]) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        # An exclusive lock for as long as we run: two processes over one spool would upload and
        # delete each other's slices. It also spares WAL its shared-memory file.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _check(path, connection)
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
        connection.execute("BEGIN IMMEDIATE")
        migrate(connection, schemas)
        connection.execute("COMMIT")
        _compact(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _compact(connection: sqlite3.Connection, path: Path) -> None:
    """Write the file anew if most of it is free, or if it cannot shrink while it is open.

    Files of former versions cannot; this makes them such that can.
    """
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (auto_vacuum,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    is_mostly_free = free * page_size >= _COMPACT_FROM_BYTES and free * 2 >= pages
    is_former = auto_vacuum != _INCREMENTAL and pages * page_size <= _CONVERT_UP_TO_BYTES
    if not (is_mostly_free or is_former):
        return
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError as error:
        # It needs space for a while. Without it the file works as well.
        _log.warning("database not compacted", path=str(path), error=str(error))


def _attempt(connection: sqlite3.Connection, job: _Job) -> None:
    connection.execute("SAVEPOINT operation")
    try:
        job.result = job.operation(connection)
    except Exception as error:
        job.error = error
        if not connection.in_transaction:
            # Some errors (a full disk) make SQLite roll back everything, not just the savepoint.
            raise sqlite3.OperationalError(f"the transaction was lost: {error}") from error
        connection.execute("ROLLBACK TO operation")
    connection.execute("RELEASE operation")


def _check(path: Path, connection: sqlite3.Connection) -> None:
    """Look for damage now, while nothing hangs on the file yet. Indexes that are damaged alone are
    made anew: what they hold is in the tables."""
    if path.stat().st_size > _CHECK_LIMIT_BYTES:
        return
    faults = _find_faults(connection)
    if faults and all(_INDEX_FAULT in fault for fault in faults):
        _log.warning("indexes of the database made anew", path=str(path), why=faults[0])
        try:
            connection.execute("REINDEX")
        except sqlite3.IntegrityError as error:
            raise _DamagedError(faults[0]) from error
        faults = _find_faults(connection)
    if faults:
        raise _DamagedError(faults[0])


def _find_faults(connection: sqlite3.Connection) -> list[str]:
    """What SQLite says about a damaged file, a line for each fault; at most a hundred."""
    # Not quick_check: it takes 0.5 s for 100,000 slices and as many webhooks instead of 1.3 s, but
    # does not look whether an index has all rows.
    verdicts = [" ".join(line.split()) for (line,) in connection.execute("PRAGMA integrity_check")]
    return [] if verdicts == ["ok"] else verdicts


def _primary_code(error: Exception) -> int | None:
    """SQLite's result code, without what extends it; None if it is no error of SQLite's."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _explain(path: Path, error: Exception) -> DatabaseError:
    if isinstance(error, DatabaseError):
        return error
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return DatabaseError(f"{path}: is in use by another process")
    text = f"{path}: {error}"
    if isinstance(error, _DamagedError) or _primary_code(error) in _DAMAGES:
        text += (
            ": the database is damaged; put a copy in its place, or move it away to begin anew;"
            " the spool keeps its slices (docs/operations.md)"
        )
    translated = DatabaseError(text)
    translated.__cause__ = error
    return translated
