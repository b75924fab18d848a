"""What is on record of the slices in the spool: operations on the database."""

import json
import secrets
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from cloudslice.delivery.consignors import read_prefix, read_room_id
from cloudslice.ids import ObjectName
from cloudslice.slices import SliceKind, SliceOrigin

_LARGEST_GAP = 2**40
"""Between the ids of two starts: 2**63 ids are enough for some ten million starts."""


class UnknownTaskError(Exception):
    """A slice was handed in for a task that is not on record."""


@dataclass(frozen=True, slots=True)
class SliceRecord:
    """A slice that is complete and waits for its upload."""

    id: int
    origin: SliceOrigin
    object_key: str
    start_ms: int
    duration_ms: int
    details: Mapping[str, str]
    size: int
    sha256: str
    created_ms: int
    attempts: int


@dataclass(frozen=True, slots=True)
class UnfinishedRecord:
    """A slice whose file was not known to be complete when the process ended."""

    id: int
    origin: SliceOrigin
    object_key: str
    duration_ms: int | None
    """Known if the slice was about to be completed."""
    is_waiting: bool
    """Its file was whole; what else there was to know of it is missing."""


_COLUMNS = (
    "id, task_id, user_id, kind, extension, object_key, start_ms, duration_ms, details, size,"
    " sha256, created_ms, attempts"
)


def register(
    connection: sqlite3.Connection, origin: SliceOrigin, start_ms: int, created_ms: int
) -> int:
    """Put a slice on record before it has a file, its name reserved, and return its id.

    Raises:
        UnknownTaskError: its task is not on record.
    """
    second, key = _reserve_name(connection, origin, start_ms)
    cursor = connection.execute(
        "INSERT INTO slices (task_id, user_id, kind, extension, object_key, utc_second,"
        " start_ms, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            origin.task_id,
            origin.user_id,
            origin.kind.value,
            origin.extension,
            key,
            second,
            start_ms,
            created_ms,
        ),
    )
    assert cursor.lastrowid is not None  # noqa: S101 - an INSERT has one
    return cursor.lastrowid


def fix_start(connection: sqlite3.Connection, slice_id: int, start_ms: int) -> None:
    """Note when a slice that is about to be completed starts. This fixes its name too; the one
    that was reserved for it before is free again if it is another one.

    Raises:
        UnknownTaskError: its task is not on record.
    """
    row = connection.execute(
        "SELECT start_ms, task_id, user_id, kind, extension FROM slices WHERE id = ?", (slice_id,)
    ).fetchone()
    if row is None or row[0] == start_ms:
        return
    if row[0] // 1000 != start_ms // 1000:
        _release_name(connection, slice_id)
        second, key = _reserve_name(connection, _to_origin(row[1:]), start_ms)
        connection.execute(
            "UPDATE slices SET object_key = ?, utc_second = ? WHERE id = ?", (key, second, slice_id)
        )
    connection.execute("UPDATE slices SET start_ms = ? WHERE id = ?", (start_ms, slice_id))


def describe(
    connection: sqlite3.Connection, slice_id: int, duration_ms: int, details: Mapping[str, str]
) -> None:
    """Note what a slice covers, which must be on record before its file can be complete."""
    connection.execute(
        "UPDATE slices SET duration_ms = ?, details = ? WHERE id = ?",
        (duration_ms, json.dumps(dict(details)), slice_id),
    )


def mark_waiting(
    connection: sqlite3.Connection, slice_id: int, size: int, sha256: str
) -> SliceRecord | None:
    """The slice's file is complete and durable; None if the slice is not on record."""
    row = connection.execute(
        f"UPDATE slices SET waiting = 1, size = ?, sha256 = ? WHERE id = ? RETURNING {_COLUMNS}",  # noqa: S608
        (size, sha256, slice_id),
    ).fetchone()
    return None if row is None else _to_record(row)


def find_due(
    connection: sqlite3.Connection,
    task_id: str,
    now_at: float,
    limit: int,
    *,
    exclude: Collection[int] = (),
) -> list[SliceRecord]:
    """Up to `limit` of a task's waiting slices that may be tried now, the longest due first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM slices WHERE task_id = ? AND waiting AND due_at <= ?"  # noqa: S608
        " ORDER BY due_at, id LIMIT ?",
        (task_id, now_at, limit + len(exclude)),
    )
    return [_to_record(row) for row in rows if row[0] not in exclude][:limit]


def find_next_due(
    connection: sqlite3.Connection, task_id: str, exclude: Collection[int]
) -> float | None:
    """When the next of a task's waiting slices may be tried."""
    rows = connection.execute(
        "SELECT id, due_at FROM slices WHERE task_id = ? AND waiting ORDER BY due_at, id LIMIT ?",
        (task_id, 1 + len(exclude)),
    )
    return next((due_at for slice_id, due_at in rows if slice_id not in exclude), None)


def find_older(
    connection: sqlite3.Connection, task_id: str, created_before_ms: int, exclude: Collection[int]
) -> list[SliceRecord]:
    """A task's waiting slices that were begun before a time."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM slices WHERE task_id = ? AND waiting AND created_ms < ?"  # noqa: S608
        " ORDER BY id",
        (task_id, created_before_ms),
    )
    return [_to_record(row) for row in rows if row[0] not in exclude]


def find_oldest(
    connection: sqlite3.Connection, size: int, exclude: Collection[int]
) -> list[SliceRecord]:
    """The oldest waiting slices of all tasks, as many as make up `size` bytes."""
    found: list[SliceRecord] = []
    rows = connection.execute(f"SELECT {_COLUMNS} FROM slices WHERE waiting ORDER BY id")  # noqa: S608
    for row in rows:
        if size <= 0:
            break
        if row[0] not in exclude:
            found.append(_to_record(row))
            size -= found[-1].size
    return found


def find_unfinished(connection: sqlite3.Connection) -> list[UnfinishedRecord]:
    """The slices that are not waiting, or of whom something is not known, oldest first."""
    rows = connection.execute(
        "SELECT id, task_id, user_id, kind, extension, object_key, duration_ms, waiting"
        " FROM slices WHERE NOT waiting OR duration_ms IS NULL OR size IS NULL OR sha256 IS NULL"
        " ORDER BY id"
    )
    return [
        UnfinishedRecord(row[0], _to_origin(row[1:5]), row[5], row[6], is_waiting=bool(row[7]))
        for row in rows
    ]


def find_waiting(connection: sqlite3.Connection) -> Iterator[SliceRecord]:
    """All slices that wait for their upload, oldest first."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM slices WHERE waiting ORDER BY id").fetchall()  # noqa: S608
    return map(_to_record, rows)


def find_sizes(connection: sqlite3.Connection) -> dict[int, int]:
    """The size in bytes of each waiting slice by its id."""
    return dict(connection.execute("SELECT id, size FROM slices WHERE waiting"))


def count_waiting(connection: sqlite3.Connection) -> int:
    """How many slices wait for their upload."""
    count: int
    (count,) = connection.execute("SELECT count(*) FROM slices WHERE waiting").fetchone()
    return count


def tasks_with_slices(connection: sqlite3.Connection) -> list[str]:
    """The tasks that have waiting slices."""
    rows = connection.execute("SELECT DISTINCT task_id FROM slices WHERE waiting")
    return [task_id for (task_id,) in rows]


def postpone(connection: sqlite3.Connection, slice_id: int, due_at: float) -> None:
    """An upload failed and is to be tried again from `due_at` (monotonic second) on."""
    connection.execute(
        "UPDATE slices SET attempts = attempts + 1, due_at = ? WHERE id = ?", (due_at, slice_id)
    )


def hasten(connection: sqlite3.Connection, task_id: str | None = None) -> None:
    """A task's slices, or all, may be tried at once."""
    connection.execute(
        "UPDATE slices SET due_at = 0 WHERE due_at > 0 AND (?1 IS NULL OR task_id = ?1)",
        (task_id,),
    )


def count_from(connection: sqlite3.Connection, now_ms: int) -> None:
    """The retention of all slices begins now."""
    connection.execute("UPDATE slices SET created_ms = ?", (now_ms,))


def delete(connection: sqlite3.Connection, slice_id: int) -> bool:
    """Forget a slice whose name stays used and whose file may go; whether it was on record."""
    row = connection.execute(
        "DELETE FROM slices WHERE id = ? RETURNING id, size, sha256", (slice_id,)
    ).fetchone()
    if row is not None:
        connection.execute("INSERT OR REPLACE INTO removals VALUES (?, ?, ?)", row)
    return row is not None


def find_removals(connection: sqlite3.Connection) -> dict[int, tuple[int | None, str | None]]:
    """Size and sha256 of the files that may still be there of slices off the record, by id."""
    rows = connection.execute("SELECT slice_id, size, sha256 FROM removals")
    return {slice_id: (size, sha256) for slice_id, size, sha256 in rows}


def note_removed(connection: sqlite3.Connection, slice_ids: Iterable[int]) -> None:
    """The files of slices off the record are gone, durably."""
    connection.executemany("DELETE FROM removals WHERE slice_id = ?", [(i,) for i in slice_ids])


def skip_ids(connection: sqlite3.Connection) -> None:
    """Leave out a random number of ids, so that none of the next is one of another database's.

    A copy of a database goes on with the ids that the original gave after it, and a new one begins
    at 1. In either a file in the spool could be taken for another task's slice. With a million ids
    in each, the gap leaves that a chance of two in a million.
    """
    connection.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'slices', 0"
        " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'slices')"
    )
    connection.execute(
        "UPDATE sqlite_sequence SET seq = CAST(seq AS INTEGER) + ? WHERE name = 'slices'",
        (secrets.randbelow(_LARGEST_GAP),),
    )


def delete_unused(connection: sqlite3.Connection, slice_ids: Iterable[int]) -> set[str]:
    """Forget slices that came to nothing, so that their names are free again; their tasks."""
    task_ids: set[str] = set()
    for slice_id in slice_ids:
        _release_name(connection, slice_id)
        row = connection.execute(
            "DELETE FROM slices WHERE id = ? RETURNING task_id", (slice_id,)
        ).fetchone()
        if row is not None:
            task_ids.add(row[0])
    return task_ids


def _reserve_name(
    connection: sqlite3.Connection, origin: SliceOrigin, start_ms: int
) -> tuple[int, str]:
    """The UTC second and the object key of a slice that starts then; no other slice has them."""
    row = connection.execute(
        "SELECT sdk_app_id, room_id, prefix FROM consignors WHERE task_id = ?", (origin.task_id,)
    ).fetchone()
    if row is None:
        raise UnknownTaskError(f"no task {origin.task_id}")
    second = _reserve_second(connection, origin, start_ms // 1000)
    name = ObjectName(
        prefix=read_prefix(row[2]),
        task_id=origin.task_id,
        user_id=origin.user_id,
        kind=origin.kind,
        sdk_app_id=row[0],
        room_id=str(read_room_id(row[1])),
        utc_second=second,
        extension=origin.extension,
    )
    return second, name.to_key()


def _release_name(connection: sqlite3.Connection, slice_id: int) -> None:
    """The name of a slice is free again: no object has it."""
    connection.execute(
        "DELETE FROM names WHERE (lane_id, second) = (SELECT name_lanes.id, utc_second"
        " FROM slices JOIN name_lanes USING (task_id, user_id, kind, extension)"
        " WHERE slices.id = ?)",
        (slice_id,),
    )


def _reserve_second(connection: sqlite3.Connection, origin: SliceOrigin, second: int) -> int:
    """The first second from `second` on that names no slice of the task yet (docs/wire.md, 9.2)."""
    lane = (origin.task_id, origin.user_id, origin.kind.value, origin.extension)
    lane_id = _find_lane(connection, lane)
    if lane_id is None:
        connection.execute(
            "INSERT INTO name_lanes (task_id, user_id, kind, extension) VALUES (?, ?, ?, ?)", lane
        )
        lane_id = _find_lane(connection, lane)
    for (used,) in connection.execute(
        "SELECT second FROM names WHERE lane_id = ? AND second >= ? ORDER BY second",
        (lane_id, second),
    ):
        if used > second:
            break
        second += 1
    connection.execute("INSERT INTO names VALUES (?, ?)", (lane_id, second))
    return second


def _find_lane(connection: sqlite3.Connection, lane: tuple[str, str, str, str]) -> int | None:
    row = connection.execute(
        "SELECT id FROM name_lanes"
        " WHERE task_id = ? AND user_id = ? AND kind = ? AND extension = ?",
        lane,
    ).fetchone()
    return None if row is None else row[0]


def _to_origin(row: tuple[str, str, str, str]) -> SliceOrigin:
    return SliceOrigin(row[0], row[1], SliceKind(row[2]), row[3])


def _to_record(
    row: tuple[int, str, str, str, str, str, int, int, str, int, str, int, int],
) -> SliceRecord:
    return SliceRecord(
        id=row[0],
        origin=_to_origin(row[1:5]),
        object_key=row[5],
        start_ms=row[6],
        duration_ms=row[7],
        details=json.loads(row[8]),
        size=row[9],
        sha256=row[10],
        created_ms=row[11],
        attempts=row[12],
    )
