"""What is on record of the tasks that are delivered for: operations on the database."""

import json
import sqlite3
from dataclasses import dataclass

from cloudslice import vetting
from cloudslice.secrets import SecretBox
from cloudslice.slices import Bucket, TaskRef, Vendor


@dataclass(frozen=True, slots=True)
class Ending:
    """How far a task's end has come."""

    ended: bool
    """Event 1002 is on record: no slice will be added."""
    open_slices: int
    """Slices that grow or wait for their upload."""
    incomplete_announced: bool
    """Event 1005 with Status 1 is on record."""
    lost: int
    """Finished slices that never reached the bucket."""


def insert(
    connection: sqlite3.Connection, consignor: TaskRef, bucket: Bucket, secrets: SecretBox
) -> None:
    """Put a task on record, or change its bucket if it is there."""
    credentials = secrets.seal(
        json.dumps([bucket.access_key, bucket.secret_key]), _context(consignor.task_id)
    )
    connection.execute(
        "INSERT INTO consignors (task_id, sdk_app_id, room_id, robot_user_id, vendor, region,"
        " bucket, prefix, credentials) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (task_id) DO UPDATE SET vendor = excluded.vendor, region = excluded.region,"
        " bucket = excluded.bucket, prefix = excluded.prefix, credentials = excluded.credentials",
        (
            consignor.task_id,
            consignor.sdk_app_id,
            json.dumps(consignor.room_id),
            consignor.robot_user_id,
            bucket.vendor,
            bucket.region,
            bucket.name,
            json.dumps(bucket.prefix),
            credentials,
        ),
    )


def find_ended(connection: sqlite3.Connection) -> list[str]:
    """The tasks that have ended and are not settled."""
    rows = connection.execute("SELECT task_id FROM consignors WHERE ended")
    return [task_id for (task_id,) in rows]


def find(connection: sqlite3.Connection, task_id: str) -> TaskRef | None:
    """The task as events name it, if it is on record."""
    row = connection.execute(
        "SELECT sdk_app_id, room_id, robot_user_id FROM consignors WHERE task_id = ?", (task_id,)
    ).fetchone()
    return None if row is None else TaskRef(task_id, row[0], read_room_id(row[1]), row[2])


def find_bucket(connection: sqlite3.Connection, task_id: str, secrets: SecretBox) -> Bucket | None:
    """Where the task's slices go; raises SecretKeyError if its keys cannot be decrypted."""
    row = connection.execute(
        "SELECT vendor, region, bucket, prefix, credentials FROM consignors WHERE task_id = ?",
        (task_id,),
    ).fetchone()
    if row is None:
        return None
    access_key, secret_key = json.loads(secrets.open(row[4], _context(task_id)))
    return Bucket(
        Vendor(row[0]), row[1], row[2], access_key, secret_key, prefix=read_prefix(row[3])
    )


def read_room_id(text: str) -> int | str:
    """A task's room as its row has it; raises ValueError if it is none."""
    room_id = json.loads(text)
    if type(room_id) not in (int, str):
        raise ValueError(f"not a room: {text}")
    return room_id  # type: ignore[no-any-return]  # just checked


def read_prefix(text: str) -> tuple[str, ...]:
    """The prefix of a task's object keys as its row has it; raises ValueError if it is none."""
    prefix = json.loads(text)
    if not isinstance(prefix, list) or not all(isinstance(each, str) for each in prefix):
        raise ValueError(f"not a prefix: {text}")
    return tuple(prefix)


def forget_odd(connection: sqlite3.Connection) -> None:
    """Forget the tasks whose rows cannot be used, which is logged: nobody could say where their
    slices go. Within the same transaction those are to be forgotten, too (`odd_rows`)."""
    connection.execute("PRAGMA defer_foreign_keys = ON")
    vetting.forget_odd(connection, "consignors", _find_fault)


def mark_ended(connection: sqlite3.Connection, task_id: str) -> None:
    connection.execute("UPDATE consignors SET ended = 1 WHERE task_id = ?", (task_id,))


def mark_uploads_announced(connection: sqlite3.Connection, task_id: str) -> bool:
    """Whether this is the first time (event 1003 is due)."""
    cursor = connection.execute(
        "UPDATE consignors SET uploads_announced = 1 WHERE task_id = ? AND NOT uploads_announced",
        (task_id,),
    )
    return cursor.rowcount > 0


def mark_incomplete_announced(connection: sqlite3.Connection, task_id: str) -> None:
    connection.execute(
        "UPDATE consignors SET incomplete_announced = 1 WHERE task_id = ?", (task_id,)
    )


def add_lost(connection: sqlite3.Connection, task_id: str, count: int = 1) -> None:
    connection.execute("UPDATE consignors SET lost = lost + ? WHERE task_id = ?", (count, task_id))


def add_failure(connection: sqlite3.Connection, task_id: str, status: int, code: str) -> bool:
    """Whether it is the first failure for this reason (event 1006 is due)."""
    cursor = connection.execute(
        "INSERT OR IGNORE INTO failures SELECT task_id, ?, ? FROM consignors WHERE task_id = ?",
        (status, code, task_id),
    )
    return cursor.rowcount > 0


def find_ending(connection: sqlite3.Connection, task_id: str) -> Ending | None:
    """How far the task's end has come, if it is on record."""
    row = connection.execute(
        "SELECT ended, (SELECT count(*) FROM slices WHERE slices.task_id = ?1),"
        " incomplete_announced, lost FROM consignors WHERE task_id = ?1",
        (task_id,),
    ).fetchone()
    return None if row is None else Ending(bool(row[0]), row[1], bool(row[2]), row[3])


def delete(connection: sqlite3.Connection, task_id: str) -> None:
    """Forget a task that has no slices left, its storage keys and its names with it."""
    connection.execute("DELETE FROM consignors WHERE task_id = ?", (task_id,))


def _find_fault(row: vetting.Row) -> str | None:
    try:
        read_room_id(str(row["room_id"]))
        read_prefix(str(row["prefix"]))
        Vendor(int(str(row["vendor"])))
    except ValueError as error:
        return f"it cannot be read: {error}"
    return None


def _context(task_id: str) -> str:
    return f"bucket of {task_id}"
