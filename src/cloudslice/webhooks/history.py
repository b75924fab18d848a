"""Events that can be listed and replayed: those that wait, and for a while those that have ended.

All is done in small steps, each an operation on the database that others need not wait for.
"""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from cloudslice.webhooks.outbox import Ending, State

_ROW_BYTES = 200
"""What an event takes in the file beside its body: 130 to 250 measured, for bodies of 300 to 800
bytes."""
_SCANNED_AT_ONCE = 2000
"""Rows read by one operation."""
_DELETED_AT_ONCE = 500
_COLUMNS = "id, event_type, state, attempts, created_ms, ended_ms, last_error, body"
_MEANT = """sdk_app_id = :sdk_app_id
    AND (:event_id IS NULL OR id = :event_id)
    AND (:task_id IS NULL OR subject = :task_id)
    AND (:since_ms IS NULL OR created_ms >= :since_ms)
    AND (:event_type IS NULL OR event_type = :event_type)
    AND (:first_state IS NULL OR state BETWEEN :first_state AND :last_state)"""
_AGAIN = "state = 0, since_ms = :now_ms, ended_ms = NULL, kept_from_ms = NULL"


class ListedState(StrEnum):
    """How far an event has come, as those who list events say it."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given-up"


_STATES = {
    ListedState.WAITING: (State.IN_LINE, State.REPEATED),
    ListedState.DELIVERED: (State.DELIVERED,),
    ListedState.GIVEN_UP: (State.GIVEN_UP,),
}
_LISTED = {state: listed for listed, states in _STATES.items() for state in states}


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which of an app's events are meant; None does not restrict."""

    sdk_app_id: int
    event_id: int | None = None
    task_id: str | None = None
    since_ms: int | None = None
    """Recorded then or later, UTC."""
    event_type: int | None = None
    state: ListedState | None = None


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """An event as it is on record; times are UTC milliseconds."""

    id: int
    event_type: int
    state: ListedState
    attempts: int
    created_ms: int
    ended_ms: int | None
    last_error: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the events that a query means, in the order in which they were recorded."""

    events: list[ListedEvent]
    marker: int | None
    """The id behind which the next page begins; None if there is none."""


def find(connection: sqlite3.Connection, query: EventQuery, marker: int, limit: int) -> Page:
    """Events from behind the id `marker` on, at most `limit`; there may be fewer on a page that is
    not the last."""
    end = _find_end(connection, query, marker)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM webhooks"  # noqa: S608
        f" WHERE id > :marker AND id <= :end AND {_MEANT} ORDER BY id LIMIT :limit",
        _values(query) | {"marker": marker, "end": end, "limit": limit},
    ).fetchall()
    events = [
        ListedEvent(event_id, event_type, _LISTED[State(state)], *rest)
        for event_id, event_type, state, *rest in rows
    ]
    next_marker = events[-1].id if len(events) == limit else end
    return Page(events, next_marker if _goes_on(connection, query, next_marker) else None)


def replay(
    connection: sqlite3.Connection, query: EventQuery, marker: int, since_ms: int
) -> tuple[list[int], int, int | None]:
    """Put ended events in line again, with the same bodies.

    Args:
        query: which are meant; those that wait are left alone.
        marker: the id behind which to begin.
        since_ms: from when on their retention counts, of the clock that is steady over restarts.

    Returns:
        their ids, the bytes that they took, the marker behind which to go on.
    """
    end = _find_end(connection, query, marker)
    found = connection.execute(
        f"UPDATE webhooks SET {_AGAIN}"  # noqa: S608
        f" WHERE state >= 2 AND id > :marker AND id <= :end AND {_MEANT}"
        " RETURNING id, length(body)",
        _values(query) | {"marker": marker, "end": end, "now_ms": since_ms},
    ).fetchall()
    next_marker = end if _goes_on(connection, query, end) else None
    return [each for each, _ in found], _total([size for _, size in found]), next_marker


def measure(connection: sqlite3.Connection) -> int:
    """The bytes that ended events take."""
    count, size = connection.execute(
        "SELECT count(*), coalesce(sum(length(body)), 0) FROM webhooks WHERE state >= 2"
    ).fetchone()
    return int(size) + int(count) * _ROW_BYTES


def size_of(endings: Collection[Ending]) -> int:
    """The bytes that events take which have just ended."""
    return _total([ending.size for ending in endings])


def delete_oldest(connection: sqlite3.Connection, before_ms: int, excess: int) -> tuple[int, bool]:
    """Delete some of the events that ended first.

    Args:
        before_ms: those that ended before, of the clock that is steady over restarts.
        excess: and as many as take so many bytes, or hardly more.

    Returns:
        the bytes that they took, and whether there may be more to delete.
    """
    found = connection.execute(
        "SELECT id, length(body), kept_from_ms FROM webhooks WHERE state >= 2"
        " ORDER BY kept_from_ms, id LIMIT ?",
        (_DELETED_AT_ONCE,),
    ).fetchall()
    ids: list[tuple[int]] = []
    taken = 0
    for event_id, size, kept_from_ms in found:
        if kept_from_ms >= before_ms and taken >= excess:
            break
        ids.append((event_id,))
        taken += size + _ROW_BYTES
    connection.executemany("DELETE FROM webhooks WHERE id = ?", ids)
    return taken, len(ids) == _DELETED_AT_ONCE


def _total(sizes: list[int]) -> int:
    return sum(sizes) + len(sizes) * _ROW_BYTES


def _find_end(connection: sqlite3.Connection, query: EventQuery, marker: int) -> int:
    """The id up to which one operation may read."""
    if query.event_id is not None:
        return max(query.event_id, marker)
    row = connection.execute(
        "SELECT max(id) FROM (SELECT id FROM webhooks WHERE id > ? ORDER BY id LIMIT ?)",
        (marker, _SCANNED_AT_ONCE),
    ).fetchone()
    return marker if row[0] is None else int(row[0])


def _goes_on(connection: sqlite3.Connection, query: EventQuery, marker: int) -> bool:
    """Whether there may be such events behind `marker`."""
    if query.event_id is not None and query.event_id <= marker:
        return False
    row = connection.execute("SELECT 1 FROM webhooks WHERE id > ? LIMIT 1", (marker,)).fetchone()
    return row is not None


def _values(query: EventQuery) -> dict[str, int | str | None]:
    """Of the names in `_MEANT`."""
    states = (None,) if query.state is None else _STATES[query.state]
    return {
        "sdk_app_id": query.sdk_app_id,
        "event_id": query.event_id,
        "task_id": query.task_id,
        "since_ms": query.since_ms,
        "event_type": query.event_type,
        "first_state": states[0],
        "last_state": states[-1],
    }
