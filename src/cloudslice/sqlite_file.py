"""The SQLite file of a node: opened, checked, kept small, and its errors explained.

Everything here blocks, and belongs on the thread that has the connection.
"""

import math
import sqlite3
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog

from cloudslice.migrations import Schema, migrate

_BUSY_TIMEOUT_S = 5.0
"""A process that is just being replaced gets so long to let go of the file."""
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


def open_file(path: Path, schemas: Sequence[Schema]) -> sqlite3.Connection:
    """Open or create the file and bring its tables up to date.

    Raises:
        OSError, sqlite3.Error, MigrationError: it cannot be used; see `explain`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    with ExitStack() as stack:
        stack.callback(connection.close)
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
        stack.pop_all()
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


def explain(path: Path, error: Exception) -> DatabaseError:
    """The error for others that an error of SQLite or the disk means."""
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


class Shrinker:
    """Gives free pages back to the disk, a few at a time."""

    def __init__(self, path: Path) -> None:
        """Takes the file's path, which the log names."""
        self._path = path
        self._not_before = -math.inf  # monotonic second

    def shrink(self, connection: sqlite3.Connection) -> None:
        """Give some of many free pages back, in a transaction of its own."""
        if time.monotonic() < self._not_before:
            return
        try:
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            if free > _SPARE_PAGES:
                # Not by `execute`, which takes one step of the statement: one page.
                connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
        except sqlite3.Error as error:
            self._not_before = time.monotonic() + _SHRINK_PAUSE_S
            _log.warning("database not made smaller", path=str(self._path), error=str(error))
