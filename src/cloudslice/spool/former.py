"""Takes over what a version has left that kept its slices on record in the database.

Its slices become files that say themselves what they are, in the directories of their tasks, and
the tables that nobody needs any more go. What a kill leaves half done is done again by the next
start: each step gives the same result twice. A row that cannot be read is never guessed at: its
files stay where they are, and the spool sets them aside. Everything here blocks.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import structlog

from cloudslice.secrets import SecretBox
from cloudslice.slices import Bucket, Slice, SliceKind, SliceOrigin, TaskRef, Vendor
from cloudslice.spool.files import open_regular, read_regular, write_all
from cloudslice.spool.slice_format import PART, WHOLE, Head, make_tail
from cloudslice.spool.task_directory import TaskDirectory
from cloudslice.vetting import decode

_log = structlog.get_logger(__name__)

T = TypeVar("T")
_Row = dict[str, object]
_UNREADABLE = (ValueError, TypeError)
"""What comes of reading a row that is not what was written."""


def take_over(database: Path, spool: Path, box: SecretBox) -> None:
    """Take over a spool whose slices are on record in `database`, if it is one.

    Args:
        database: the SQLite file; nobody has it open.
        spool: the directory.
        box: for the tasks' directories; nothing is decrypted.

    Raises:
        OSError: a slice cannot be read or written; nothing is lost.
        sqlite3.Error: the database cannot be read or written.
    """
    if not database.exists():
        return
    with closing(sqlite3.connect(database)) as connection:
        connection.text_factory = decode
        connection.row_factory = lambda cursor, row: dict(
            zip((column[0] for column in cursor.description), row, strict=True)
        )
        try:
            if not _has_table(connection, "slices"):
                return
        except sqlite3.DatabaseError:
            return  # in use or damaged: who opens it for good says so
        spool.mkdir(exist_ok=True)
        for row in _rows(connection, "consignors"):
            try:
                _take_over_task(connection, spool, box, row)
            except _UNREADABLE as error:
                _log.error("task cannot be taken over", task_id=row["task_id"], why=str(error))
        with connection:
            connection.execute("PRAGMA defer_foreign_keys = ON")
            for table in ("removals", "slices", "names", "name_lanes"):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
            columns = connection.execute("PRAGMA table_info(events)").fetchall()
            if any(column["name"] == "outcome" for column in columns):
                connection.execute("DELETE FROM events WHERE outcome IS NOT NULL")
        _log.info("slices of a former version are taken over")


def _take_over_task(connection: sqlite3.Connection, spool: Path, box: SecretBox, row: _Row) -> None:
    task_id = _get(row, "task_id", str)
    if Path(task_id).name != task_id:
        raise ValueError("its id is no name of a directory")
    room_id, prefix = json.loads(_get(row, "room_id", str)), json.loads(_get(row, "prefix", str))
    if type(room_id) not in (int, str):
        raise ValueError(f"room_id cannot be {room_id!r}")
    if not isinstance(prefix, list) or not all(isinstance(each, str) for each in prefix):
        raise ValueError(f"prefix cannot be {prefix!r}")
    task = TaskRef(task_id, _get(row, "sdk_app_id", int), room_id, _get(row, "robot_user_id", str))
    bucket = Bucket(
        Vendor(_get(row, "vendor", int)),
        _get(row, "region", str),
        _get(row, "bucket", str),
        "",
        "",
        prefix=tuple(prefix),
    )
    sealed = _get(row, "credentials", bytes)
    directory = TaskDirectory(spool / task_id, task, bucket, sealed, box)
    directory.write()
    _take_over_names(connection, directory)
    for each in _rows(connection, "slices", task_id):
        try:
            _take_over_slice(directory, spool, each)
        except _UNREADABLE as error:
            _log.error("slice cannot be taken over", id=each["id"], why=str(error))


def _take_over_names(connection: sqlite3.Connection, directory: TaskDirectory) -> None:
    task_id = directory.task.task_id
    for name in connection.execute(
        "SELECT user_id, kind, extension, second FROM names JOIN name_lanes ON id = lane_id"
        " WHERE task_id = ? ORDER BY second",
        (task_id,),
    ):
        try:
            directory.names.take(
                _origin(name | {"task_id": task_id}), _get(name, "second", int), ""
            )
        except _UNREADABLE as error:
            _log.error("name cannot be taken over", task_id=task_id, why=str(error))
    directory.names.write()


def _take_over_slice(directory: TaskDirectory, spool: Path, row: _Row) -> None:
    """Write a slice's file anew; the former one goes, unless it is not what was recorded."""
    origin, start_ms = _origin(row), _get(row, "start_ms", int)
    name = f"{_get(row, 'created_ms', int):013d}-{_get(row, 'id', int):016x}"
    head = Head(origin, start_ms).to_bytes()
    for suffix in (WHOLE, PART):
        former = spool / f"{row['id']}{suffix}"
        if not former.exists():
            continue
        content = read_regular(former)
        if suffix == WHOLE and row["duration_ms"] is not None:
            sha256 = hashlib.sha256(content).hexdigest()
            if row["sha256"] not in (None, sha256):
                _log.error("slice is not what was recorded", path=str(former))
                return
            details = json.loads(_get(row, "details", str))
            if not isinstance(details, dict):
                raise ValueError(f"details cannot be {details!r}")
            whole = Slice(
                name, origin, _get(row, "object_key", str), start_ms,
                _get(row, "duration_ms", int), details, len(content), sha256,
            )  # fmt: skip
            _write(directory.path / f"{name}{WHOLE}", head + content + make_tail(whole))
        else:
            _write(directory.path / f"{name}{PART}", head + content)
        former.unlink()
        return


def _write(path: Path, data: bytes) -> None:
    descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(descriptor, data, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _origin(row: _Row) -> SliceOrigin:
    return SliceOrigin(
        _get(row, "task_id", str),
        _get(row, "user_id", str),
        SliceKind(row["kind"]),
        _get(row, "extension", str),
    )


def _get(row: _Row, column: str, kind: type[T]) -> T:
    """A value of a row; raises ValueError if it is of another kind."""
    value = row[column]
    if not isinstance(value, kind):
        raise ValueError(f"its {column} cannot be {value!r}")  # noqa: TRY004 - it is data
    return value


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    return found is not None


def _rows(connection: sqlite3.Connection, table: str, task_id: str | None = None) -> Iterator[_Row]:
    condition = "" if task_id is None else " WHERE task_id = ?"
    values = () if task_id is None else (task_id,)
    yield from connection.execute(f"SELECT * FROM {table}{condition}", values).fetchall()  # noqa: S608
