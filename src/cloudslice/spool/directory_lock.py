"""One process uses a spool at a time."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes from using a directory in this way meanwhile.

    Besides the lock on the database: that file can be deleted while it is open, and a second
    process would make another one.

    Raises:
        BlockingIOError: another process uses it.
        OSError: it cannot be opened.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            text = "is in use by another process"
            raise BlockingIOError(error.errno, text, str(directory)) from error
        except OSError as error:  # not every file system has locks
            _log.warning("the spool cannot be locked", why=error.strerror)
        yield
    finally:
        os.close(descriptor)
