"""How often this process makes something durable: counted where the service asks for it."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from cloudslice import database
from cloudslice.migrations import Schema
from cloudslice.spool import spool_thread
from cloudslice.sqlite_file import open_file


@dataclass(slots=True)
class Flushes:
    """Counts. SQLite's own flushes are in the transactions: one of its log for each."""

    files: int = 0
    """Calls of fsync for a file."""
    directories: int = 0
    file_systems: int = 0
    """Calls of syncfs."""
    transactions: int = 0


@contextmanager
def counted_flushes() -> Iterator[Flushes]:
    """Count in what is opened from now on."""
    flushes, fsync, syncfs = Flushes(), os.fsync, spool_thread.sync_file_system

    def count_fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            flushes.directories += 1
        else:
            flushes.files += 1
        fsync(descriptor)

    def count_syncfs(directory: Path) -> None:
        flushes.file_systems += 1
        syncfs(directory)

    def count_commit(statement: str) -> None:
        flushes.transactions += statement == "COMMIT"

    def open_counted(path: Path, schemas: Sequence[Schema]) -> sqlite3.Connection:
        connection = open_file(path, schemas)
        connection.set_trace_callback(count_commit)
        return connection

    replaced: list[tuple[object, str, Callable[..., object]]] = [
        (os, "fsync", count_fsync),
        (spool_thread, "sync_file_system", count_syncfs),
        (database, "open_file", open_counted),
    ]
    patches = [patch.object(*each) for each in replaced]
    for each in patches:
        each.start()
    try:
        yield flushes
    finally:
        for each in patches:
            each.stop()
