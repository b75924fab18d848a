"""What a sender has read of the stream, in the table of `webhooks`: operations on its database.

An event's id is its number in the stream.
"""

import sqlite3
from collections.abc import Sequence

from cloudslice.cluster.event_messages import StreamEvent
from cloudslice.webhooks.outbox import OutboxEvent, State


def clear(connection: sqlite3.Connection, sdk_app_id: int) -> None:
    """Forget all of an app."""
    connection.execute("DELETE FROM webhooks WHERE sdk_app_id = ?", (sdk_app_id,))


def insert(
    connection: sqlite3.Connection,
    sdk_app_id: int,
    event_id: int,
    event: StreamEvent,
    *,
    since_ms: int,
    now_at: float,
) -> OutboxEvent:
    """Put an event in line."""
    values = (event_id, sdk_app_id, event.subject, event.event_type, event.body, event.created_ms)
    connection.execute(
        "INSERT INTO webhooks"
        " (id, sdk_app_id, subject, event_type, body, created_ms, since_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*values, since_ms),
    )
    return OutboxEvent(event_id, event.subject, event.event_type, event.body, 0, since_ms, now_at)


def insert_ended(
    connection: sqlite3.Connection,
    sdk_app_id: int,
    event_id: int,
    event: StreamEvent,
    kept_from_ms: int,
) -> None:
    """Put an event there that has ended somehow: as if it had been delivered at once."""
    values = (event_id, sdk_app_id, event.subject, event.event_type, event.body, event.created_ms)
    connection.execute(
        "INSERT OR IGNORE INTO webhooks"
        " (id, sdk_app_id, subject, event_type, body, created_ms, ended_ms, since_ms,"
        " kept_from_ms, state, attempts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
        (*values, event.created_ms, kept_from_ms, kept_from_ms, State.DELIVERED),
    )


def put_again(connection: sqlite3.Connection, event_ids: Sequence[int], since_ms: int) -> None:
    """Events are in line again."""
    connection.executemany(
        "UPDATE webhooks SET state = 0, since_ms = ?, ended_ms = NULL, kept_from_ms = NULL"
        " WHERE id = ?",
        [(since_ms, event_id) for event_id in event_ids],
    )


def find_floor(connection: sqlite3.Connection, sdk_app_id: int, read_to: int) -> int:
    """The number below which all events of an app have ended; those up to `read_to` are here."""
    lowest = [
        connection.execute(
            f"SELECT min(id) FROM webhooks WHERE sdk_app_id = ? AND state = {state:d}",  # noqa: S608
            (sdk_app_id,),
        ).fetchone()[0]
        for state in (State.IN_LINE, State.REPEATED)
    ]
    return min((each for each in lowest if each is not None), default=read_to + 1)


def find_oldest(connection: sqlite3.Connection, sdk_app_id: int, read_to: int) -> int:
    """The number below which no event of an app is kept."""
    (oldest,) = connection.execute(
        "SELECT min(id) FROM webhooks WHERE sdk_app_id = ?", (sdk_app_id,)
    ).fetchone()
    return read_to + 1 if oldest is None else int(oldest)
