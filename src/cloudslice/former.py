"""Takes over what a version has left that kept its slices on record in the database.

Its slices become files that say themselves what they are, in the directories of their tasks, and
the tables that nobody needs any more go. What a kill leaves half done is done again by the next
start: each step gives the same result twice. Everything here blocks.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import structlog

from cloudslice.secrets import SecretBox
from cloudslice.slices import Bucket, Slice, SliceKind, SliceOrigin, TaskRef, Vendor
from cloudslice.spool.files import open_regular, read_regular, write_all
from cloudslice.spool.slice_format import PART, WHOLE, Head, make_tail
from cloudslice.spool.task_directory import TaskDirectory

_log = structlog.get_logger(__name__)

_Row = dict[str, object]


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
            _take_over_task(connection, spool, box, row)
        with connection:
            connection.execute("PRAGMA defer_foreign_keys = ON")
            for table in ("removals", "slices", "names", "name_lanes"):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
            columns = connection.execute("PRAGMA table_info(events)").fetchall()
            if any(column["name"] == "outcome" for column in columns):
                connection.execute("DELETE FROM events WHERE outcome IS NOT NULL")
        _log.info("slices of a former version are taken over")


def _take_over_task(connection: sqlite3.Connection, spool: Path, box: SecretBox, row: _Row) -> None:
    task = TaskRef(
        str(row["task_id"]),
        int(str(row["sdk_app_id"])),
        json.loads(str(row["room_id"])),
        str(row["robot_user_id"]),
    )
    bucket = Bucket(
        Vendor(int(str(row["vendor"]))),
        str(row["region"]),
        str(row["bucket"]),
        "",
        "",
        prefix=tuple(json.loads(str(row["prefix"]))),
    )
    sealed = row["credentials"]
    assert isinstance(sealed, bytes)  # noqa: S101 - the column holds nothing else
    directory = TaskDirectory(spool / task.task_id, task, bucket, sealed, box)
    directory.write()
    for name in connection.execute(
        "SELECT user_id, kind, extension, second FROM names JOIN name_lanes ON id = lane_id"
        " WHERE task_id = ? ORDER BY second",
        (task.task_id,),
    ):
        directory.names.take(_origin(name | {"task_id": task.task_id}), name["second"])
    directory.names.write()
    for each in _rows(connection, "slices", task.task_id):
        _take_over_slice(directory, spool, each)


def _take_over_slice(directory: TaskDirectory, spool: Path, row: _Row) -> None:
    """Write a slice's file anew; the former one goes, unless it is not what was recorded."""
    origin, start_ms = _origin(row), int(str(row["start_ms"]))
    name = f"{int(str(row['created_ms'])):013d}-{int(str(row['id'])):016x}"
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
            whole = Slice(
                name, origin, str(row["object_key"]), start_ms, int(str(row["duration_ms"])),
                json.loads(str(row["details"])), len(content), sha256,
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
        str(row["task_id"]), str(row["user_id"]), SliceKind(row["kind"]), str(row["extension"])
    )


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    return found is not None


def _rows(connection: sqlite3.Connection, table: str, task_id: str | None = None) -> Iterator[_Row]:
    condition = "" if task_id is None else " WHERE task_id = ?"
    values = () if task_id is None else (task_id,)
    yield from connection.execute(f"SELECT * FROM {table}{condition}", values).fetchall()  # noqa: S608
