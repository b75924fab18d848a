"""The webhooks that are still to be delivered: operations on the database.

A body is made once, when its event happens, and never again: a receiver tells repeated events by
their identical bytes (docs/wire.md, 10.1).
"""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from cloudslice.vetting import forget_odd
from cloudslice.webhooks.bodies import Notice


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event that has to be sent.

    Attributes:
        subject: what it is about; see `Event`.
        due_at: monotonic second of its recording or, after a failure, of its next attempt.
        first_at: monotonic second at which its first attempt started, if that has failed.
    """

    id: int
    subject: str
    event_type: int
    body: bytes
    attempts: int
    due_at: float
    first_at: float | None


_COLUMNS = "id, subject, event_type, body, attempts, due_at, first_at"


def insert(
    connection: sqlite3.Connection, notice: Notice, body: bytes, now_ms: int, now_at: float
) -> OutboxEvent:
    """Put an event on record: UTC now, and the monotonic second."""
    cursor = connection.execute(
        "INSERT INTO events (subject, sdk_app_id, event_type, body, created_ms, due_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (notice.subject, notice.sdk_app_id, notice.type, body, now_ms, now_at),
    )
    assert cursor.lastrowid is not None  # noqa: S101 - an INSERT has one
    return OutboxEvent(
        cursor.lastrowid, notice.subject, notice.type, body, attempts=0, due_at=now_at,
        first_at=None,
    )  # fmt: skip


def rebase(connection: sqlite3.Connection, now_at: float, now_ms: int) -> list[int]:
    """Take up the unsent events of a former process; returns the apps that have some.

    Their monotonic times were another process's: first attempts are put on this one's time axis
    by `now_ms` of the clock that is steady over restarts, and all are due at once. Rows that cannot
    be read are deleted and logged.
    """
    forget_odd(connection, "events")
    connection.execute(
        "UPDATE events SET due_at = ?1, first_at = ?1 - (?2 - first_ms) / 1000.0",
        (now_at, now_ms),
    )
    rows = connection.execute("SELECT DISTINCT sdk_app_id FROM events")
    return [sdk_app_id for (sdk_app_id,) in rows]


def count_from(connection: sqlite3.Connection, now_ms: int) -> None:
    """The retention of all events begins now."""
    connection.execute("UPDATE events SET first_ms = ? WHERE first_ms IS NOT NULL", (now_ms,))


def find_new(
    connection: sqlite3.Connection, sdk_app_id: int, after_id: int, limit: int
) -> list[OutboxEvent]:
    """An app's events that were never tried, in order, from behind `after_id` on."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM events"  # noqa: S608
        " WHERE attempts = 0 AND sdk_app_id = ? AND id > ?"
        " ORDER BY id LIMIT ?",
        (sdk_app_id, after_id, limit),
    )
    return [_to_event(row) for row in rows]


def find_retries(
    connection: sqlite3.Connection,
    sdk_app_id: int,
    now_at: float,
    limit: int,
    exclude: Collection[int],
) -> list[OutboxEvent]:
    """An app's failed events that are due again, the longest due first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM events"  # noqa: S608
        " WHERE attempts > 0 AND sdk_app_id = ? AND due_at <= ?"
        " ORDER BY due_at LIMIT ?",
        (sdk_app_id, now_at, limit + len(exclude)),
    )
    return [_to_event(row) for row in rows if row[0] not in exclude][:limit]


def find_next_retry(
    connection: sqlite3.Connection, sdk_app_id: int, exclude: Collection[int]
) -> float | None:
    """When the next of an app's failed events is due again."""
    rows = connection.execute(
        "SELECT id, due_at FROM events"
        " WHERE attempts > 0 AND sdk_app_id = ? ORDER BY due_at LIMIT ?",
        (sdk_app_id, 1 + len(exclude)),
    )
    return next((due_at for event_id, due_at in rows if event_id not in exclude), None)


def count_unsent(connection: sqlite3.Connection) -> int:
    """How many events are still to be delivered."""
    count: int
    # In two parts, as each has an index.
    (count,) = connection.execute(
        "SELECT (SELECT count(*) FROM events WHERE attempts = 0)"
        " + (SELECT count(*) FROM events WHERE attempts > 0)"
    ).fetchone()
    return count


def mark_failed(
    connection: sqlite3.Connection,
    event_id: int,
    error: str,
    *,
    first_at: float,
    first_ms: int,
    due_at: float,
) -> None:
    """An attempt failed and is to be repeated at `due_at`."""
    connection.execute(
        "UPDATE events SET attempts = attempts + 1, last_error = ?, first_at = ?,"
        " first_ms = coalesce(first_ms, ?), due_at = ? WHERE id = ?",
        (error, first_at, first_ms, due_at, event_id),
    )


def delete(connection: sqlite3.Connection, event_id: int) -> None:
    """The event is delivered or given up: it is not to be sent again."""
    connection.execute("DELETE FROM events WHERE id = ?", (event_id,))


def _to_event(row: tuple[int, str, int, bytes, int, float, float | None]) -> OutboxEvent:
    return OutboxEvent(*row)
