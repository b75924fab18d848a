"""The webhooks on record: operations on the database.

1. A body is made once, when its event happens, and never again: a receiver tells repeated events by
   their identical bytes (docs/wire.md, 10.1).
2. What is IN_LINE is sent in the order of its ids within its subject. What is REPEATED has failed
   and is tried again when it is due.
3. What is DELIVERED or GIVEN_UP is kept for a while, so that it can be listed and replayed
   (`history`).
"""

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from cloudslice.vetting import forget_odd
from cloudslice.webhooks.bodies import Notice


class State(IntEnum):
    """How far an event's webhook has come."""

    IN_LINE = 0
    REPEATED = 1
    DELIVERED = 2
    GIVEN_UP = 3


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event that has to be sent.

    Attributes:
        subject: what it is about; see `Notice`.
        attempts: that have failed so far.
        since_ms: from when on its retention counts, of the clock that is steady over restarts.
        queued_at: monotonic second from which it has been held in memory.
        first_at: monotonic second at which its first attempt started, while it is REPEATED.
    """

    id: int
    subject: str
    event_type: int
    body: bytes
    attempts: int
    since_ms: int
    queued_at: float
    first_at: float | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """An event is delivered or given up."""

    event_id: int
    size: int
    """Of its body, in bytes."""
    state: State
    attempts: int
    """How many were made."""
    error: str | None
    """Of its last attempt, if that has failed."""
    utc_ms: int
    steady_ms: int


_COLUMNS = "id, subject, event_type, body, attempts, since_ms, first_at"


def insert(
    connection: sqlite3.Connection,
    notice: Notice,
    body: bytes,
    *,
    created_ms: int,
    since_ms: int,
    now_at: float,
) -> OutboxEvent:
    """Put an event on record."""
    cursor = connection.execute(
        "INSERT INTO webhooks (subject, sdk_app_id, event_type, body, created_ms, since_ms)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (notice.subject, notice.sdk_app_id, notice.type, body, created_ms, since_ms),
    )
    assert cursor.lastrowid is not None  # noqa: S101 - an INSERT has one
    # A plain number, as read from the database: a log line would show an `EventType` otherwise.
    event_type = int(notice.type)
    return OutboxEvent(cursor.lastrowid, notice.subject, event_type, body, 0, since_ms, now_at)


def take_up(connection: sqlite3.Connection) -> list[int]:
    """Put what a former process has left in line; returns the apps that have some.

    Rows that cannot be read are deleted and logged.
    """
    forget_odd(connection, "webhooks")
    connection.execute(
        "UPDATE webhooks SET state = 0, first_at = NULL, due_at = NULL WHERE state = 1"
    )
    rows = connection.execute("SELECT DISTINCT sdk_app_id FROM webhooks WHERE state = 0")
    return [sdk_app_id for (sdk_app_id,) in rows]


def count_from(connection: sqlite3.Connection, now_ms: int) -> None:
    """All times that are counted begin now, of the clock that is steady over restarts."""
    connection.execute("UPDATE webhooks SET since_ms = ?", (now_ms,))
    connection.execute("UPDATE webhooks SET kept_from_ms = ? WHERE state >= 2", (now_ms,))


def find_in_line(
    connection: sqlite3.Connection, sdk_app_id: int, after_id: int, limit: int, now_at: float
) -> list[OutboxEvent]:
    """An app's events that are in line, in order, from behind `after_id` on."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM webhooks"  # noqa: S608
        " WHERE state = 0 AND sdk_app_id = ? AND id > ? ORDER BY id LIMIT ?",
        (sdk_app_id, after_id, limit),
    )
    return _to_events(rows, now_at)


def find_repeated(
    connection: sqlite3.Connection,
    sdk_app_id: int,
    now_at: float,
    limit: int,
    exclude: Collection[int],
) -> tuple[list[OutboxEvent], float | None]:
    """An app's repeated events that are due, the longest due first, and when the next one is."""
    rows = connection.execute(
        f"SELECT due_at, {_COLUMNS} FROM webhooks"  # noqa: S608
        " WHERE state = 1 AND sdk_app_id = ? ORDER BY due_at, id LIMIT ?",
        (sdk_app_id, limit + len(exclude) + 1),
    )
    waiting = [(due_at, row) for due_at, *row in rows if row[0] not in exclude]
    due = [row for due_at, row in waiting[:limit] if due_at <= now_at]
    next_at = waiting[len(due)][0] if len(due) < len(waiting) else None
    return _to_events(due, now_at), next_at


def count_waiting(connection: sqlite3.Connection) -> int:
    """How many events are still to be delivered."""
    count: int
    # In two parts, as each has an index.
    (count,) = connection.execute(
        "SELECT (SELECT count(*) FROM webhooks WHERE state = 0)"
        " + (SELECT count(*) FROM webhooks WHERE state = 1)"
    ).fetchone()
    return count


def repeat(
    connection: sqlite3.Connection, event_id: int, error: str, *, first_at: float, due_at: float
) -> None:
    """An attempt failed and is to be repeated at `due_at`."""
    connection.execute(
        "UPDATE webhooks SET state = 1, attempts = attempts + 1, last_error = ?, first_at = ?,"
        " due_at = ? WHERE id = ?",
        (error, first_at, due_at, event_id),
    )


def put_back(connection: sqlite3.Connection, event_id: int, error: str) -> None:
    """An attempt failed, and the event waits in line."""
    connection.execute(
        "UPDATE webhooks SET state = 0, attempts = attempts + 1, last_error = ?, first_at = NULL,"
        " due_at = NULL WHERE id = ?",
        (error, event_id),
    )


def line_up(connection: sqlite3.Connection, sdk_app_id: int, failing_since: float) -> None:
    """Put an app's repeated events that were first tried at `failing_since` or later in line."""
    connection.execute(
        "UPDATE webhooks SET state = 0, first_at = NULL, due_at = NULL"
        " WHERE state = 1 AND sdk_app_id = ? AND first_at >= ?",
        (sdk_app_id, failing_since),
    )


def end(connection: sqlite3.Connection, endings: Iterable[Ending]) -> None:
    """Events are delivered or given up: they are not to be sent again."""
    connection.executemany(
        "UPDATE webhooks SET state = ?, attempts = ?, last_error = ?, first_at = NULL,"
        " due_at = NULL, ended_ms = ?, kept_from_ms = ? WHERE id = ?",
        [
            (each.state, each.attempts, each.error, each.utc_ms, each.steady_ms, each.event_id)
            for each in endings
        ],
    )


def _to_events(rows: Iterable[Sequence[Any]], now_at: float) -> list[OutboxEvent]:
    return [
        OutboxEvent(event_id, subject, event_type, body, attempts, since_ms, now_at, first_at)
        for event_id, subject, event_type, body, attempts, since_ms, first_at in rows
    ]
