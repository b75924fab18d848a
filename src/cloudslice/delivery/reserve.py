"""A file that holds some room on the disk, so that a loss can be put on record when it is full.

The process gives it up only as it ends: what it has lost by then is known to nobody else.
"""

import os
from pathlib import Path

import structlog

from cloudslice.delivery.slice_files import sync_directory

_SIZE = 1024 * 1024
"""Bytes: the database's log of about a thousand losses of as many tasks."""

_log = structlog.get_logger(__name__)


class Reserve:
    """Room on the disk; everything here blocks."""

    def __init__(self, path: Path) -> None:
        """Takes the file, on the disk of the database."""
        self._path = path

    def make(self) -> None:
        """Hold the room, if there is as much."""
        try:
            with self._path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, _SIZE)
        except OSError as error:
            _log.warning("no room on the disk is reserved", why=error.strerror)
            self.release()

    def release(self) -> None:
        """Let others have the room, now."""
        try:
            self._path.unlink(missing_ok=True)
            sync_directory(self._path.parent)
        except OSError as error:
            _log.warning("the reserve cannot be released", why=error.strerror)
