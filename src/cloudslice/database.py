"""The one SQLite file of a node, behind one writer that commits in groups.

Every durable step of the service is a small transaction, and a commit costs a disk flush. So all
parts share one connection: what is queued while a commit is under way is committed together by the
next one, each operation in a savepoint of its own, so that one that fails fails alone. This is
also why no pool of connections is used: writers would only wait for each other's flushes.

The connection belongs to one thread. To wake it costs more than most operations take: so what is in
no hurry can say so, and goes along with what is.
"""

import asyncio
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

import structlog

from cloudslice.faults import Faults
from cloudslice.migrations import MigrationError, Schema
from cloudslice.sqlite_file import DatabaseError, Shrinker, explain, is_refusal, open_file

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]
"""Reads and writes through the connection; runs on another thread than the event loop's, within a
transaction that others share, so it must neither commit nor roll back nor take long."""

_GROUP_LIMIT = 500
"""Operations in one transaction: bounds how long the first of them waits for its commit."""
_RETRY_S = 2.0

_log = structlog.get_logger(__name__)


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
        faults: errors that nobody foresaw, of `post` and of commits.
    """

    def __init__(self, path: Path, schemas: Sequence[Schema]) -> None:
        self._path = path
        self._schemas = tuple(schemas)
        self._jobs: deque[_Job] = deque()
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """Wakes the thread; False for the last time."""
        self._timer: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._current: _Job | None = None  # of the thread
        self.faults = Faults("database")

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

    async def __aexit__(self, *_error: object) -> None:
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

    def post(self, operation: Operation[object], what: str) -> None:
        """Carry out `operation` in its turn, without waiting for it.

        A failure is logged as that of `what`.
        """

        def note(done: Future[object]) -> None:
            error = done.exception()
            if isinstance(error, DatabaseError):
                _log.error("database operation failed", what=what, error=str(error))
            elif isinstance(error, Exception):
                self.faults.caught(error, operation=what)

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
            connection = open_file(self._path, self._schemas)
        except (OSError, sqlite3.Error, MigrationError) as error:
            opened.set_exception(explain(self._path, error))
            return
        opened.set_result(None)
        shrinker = Shrinker(self._path)
        with closing(connection):
            is_open = True
            while is_open:
                is_open = self._bell.get()
                while group := self._gather():
                    self._commit_fenced(connection, group)
                    shrinker.shrink(connection)

    def _gather(self) -> list[_Job]:
        """What is queued, in order, less what was cancelled."""
        group: list[_Job] = []
        while self._jobs and len(group) < _GROUP_LIMIT:
            job = self._jobs.popleft()
            if job.future.set_running_or_notify_cancel():
                group.append(job)
        return group

    def _commit_fenced(self, connection: sqlite3.Connection, group: list[_Job]) -> None:
        """Whatever happens, nobody waits for ever."""
        try:
            self._commit(connection, group)
        except Exception as error:
            self._current = None
            self.faults.caught(error)
            for job in group:
                if not job.future.done():
                    job.future.set_exception(error)

    def _commit(self, connection: sqlite3.Connection, group: list[_Job]) -> None:
        """Carry out a group in one transaction and tell each its end."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")  # a fault has left it
            connection.execute("BEGIN IMMEDIATE")
            for job in group:
                self._current = job
                _attempt(connection, job)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for job in group:
                job.error = job.error or explain(self._path, error)
        self._current = None
        for job in group:
            if job.error is not None:
                if is_refusal(job.error):
                    job.error = explain(self._path, job.error)
                job.future.set_exception(job.error)
                continue
            for call in job.after:
                try:
                    call()
                except Exception as error:
                    self.faults.caught(error)
            job.future.set_result(job.result)


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
