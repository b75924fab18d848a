"""Events that can be listed and replayed: which, how many, how long."""

import sqlite3
from collections.abc import Iterator

import pytest

from cloudslice.events import RobotEntered, RobotLeft
from cloudslice.slices import TaskRef
from cloudslice.webhooks import history, outbox
from cloudslice.webhooks.bodies import TaskEvent, task_notice
from cloudslice.webhooks.history import EventQuery, ListedState
from cloudslice.webhooks.outbox import Ending, State
from helpers.webhook_site import APP, TASK, open_memory

OTHER_TASK = TaskRef("other", APP, 150, "bot")
OTHER_APP = TaskRef("theirs", APP + 1, 150, "bot")
ALL = EventQuery(APP)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = open_memory()
    yield connection
    connection.close()


def add(
    connection: sqlite3.Connection,
    state: State = State.DELIVERED,
    event: TaskEvent | None = None,
    *,
    at_ms: int = 1000,
) -> int:
    """An event that happened, and ended, at `at_ms`; its id."""
    notice = task_notice(event or RobotEntered(TASK, has_failed=False))
    made = outbox.insert(connection, notice, b"body", created_ms=at_ms, since_ms=at_ms, now_at=0.0)
    if state is State.REPEATED:
        outbox.repeat(connection, made.id, "HTTP status 500", first_at=1.0, due_at=11.0)
    elif state is not State.IN_LINE:
        error = "too old" if state is State.GIVEN_UP else None
        outbox.end(connection, [Ending(made.id, 4, state, 3, error, at_ms + 5, at_ms + 50)])
    return made.id


def ids(connection: sqlite3.Connection, query: EventQuery) -> list[int]:
    return [event.id for event in history.find(connection, query, 0, 100).events]


def test_an_event_is_listed_with_all_there_is_to_know(connection: sqlite3.Connection) -> None:
    event_id = add(connection, State.GIVEN_UP)
    (event,) = history.find(connection, ALL, 0, 10).events
    assert event == history.ListedEvent(
        event_id, 1001, ListedState.GIVEN_UP, 3, 1000, 1005, "too old", b"body"
    )


def test_waiting_events_are_listed_too(connection: sqlite3.Connection) -> None:
    add(connection, State.IN_LINE)
    add(connection, State.REPEATED)
    events = history.find(connection, ALL, 0, 10).events
    assert [(event.state, event.attempts, event.last_error) for event in events] == [
        (ListedState.WAITING, 0, None),
        (ListedState.WAITING, 1, "HTTP status 500"),
    ]


def test_each_filter_means_what_it_says(connection: sqlite3.Connection) -> None:
    started = add(connection, State.DELIVERED, at_ms=1000)
    left = add(connection, State.GIVEN_UP, RobotLeft(TASK, 0), at_ms=2000)
    other = add(connection, State.REPEATED, RobotEntered(OTHER_TASK, has_failed=False), at_ms=3000)
    theirs = add(connection, State.DELIVERED, RobotEntered(OTHER_APP, has_failed=False))
    assert ids(connection, ALL) == [started, left, other]
    assert ids(connection, EventQuery(APP + 1)) == [theirs]
    assert ids(connection, EventQuery(APP, event_id=left)) == [left]
    assert ids(connection, EventQuery(APP, event_id=theirs)) == []
    assert ids(connection, EventQuery(APP, task_id=TASK.task_id)) == [started, left]
    assert ids(connection, EventQuery(APP, since_ms=2000)) == [left, other]
    assert ids(connection, EventQuery(APP, event_type=1001)) == [started, other]
    for state, expected in zip(ListedState, ([other], [started], [left]), strict=True):
        assert ids(connection, EventQuery(APP, state=state)) == expected
    both = EventQuery(APP, task_id=TASK.task_id, since_ms=2000, state=ListedState.GIVEN_UP)
    assert ids(connection, both) == [left]


@pytest.mark.parametrize("scanned", [2, 3, 1000])
def test_pages_hold_everything_once(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, scanned: int
) -> None:
    """However few rows are read at a time: a page may be short, or empty, and not be the last."""
    monkeypatch.setattr(history, "_SCANNED_AT_ONCE", scanned)
    meant = []
    for n in range(20):
        event_id = add(connection, State.DELIVERED if n % 5 else State.GIVEN_UP)
        meant += [] if n % 5 else [event_id]
    found, marker = [], 0
    query = EventQuery(APP, state=ListedState.GIVEN_UP)
    while marker is not None:
        page = history.find(connection, query, marker, 3)
        found += [event.id for event in page.events]
        marker = page.marker
    assert found == meant


def test_one_event_is_one_page(connection: sqlite3.Connection) -> None:
    """Wherever it stands, also if it is not there any more."""
    first, _, last = add(connection), add(connection), add(connection)
    for event_id in (first, last, last + 1):
        query = EventQuery(APP, event_id=event_id)
        assert history.find(connection, query, event_id - 1, 10).marker is None
        assert history.replay(connection, query, event_id - 1, 9000)[2] is None


def test_only_what_has_ended_is_replayed(connection: sqlite3.Connection) -> None:
    """It is in line again in its old place, with its body, and its retention begins anew."""
    delivered, waiting = add(connection), add(connection, State.REPEATED)
    given_up = add(connection, State.GIVEN_UP)
    ids, size, marker = history.replay(connection, ALL, 0, 9000)
    assert (ids, marker) == ([delivered, given_up], None)
    assert size == 2 * (4 + history._ROW_BYTES)
    in_line = outbox.find_in_line(connection, APP, 0, 10, 0.0)
    assert [(event.id, event.body, event.since_ms) for event in in_line] == [
        (delivered, b"body", 9000),
        (given_up, b"body", 9000),
    ]
    (repeated,), _ = outbox.find_repeated(connection, APP, 11.0, 10, ())
    assert repeated.id == waiting


def test_a_long_replay_goes_in_steps(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_SCANNED_AT_ONCE", 3)
    for _ in range(7):
        add(connection)
    counts, marker = [], 0
    while marker is not None:
        ids, _, marker = history.replay(connection, ALL, marker, 9000)
        counts.append(len(ids))
    assert counts == [3, 3, 1]


def test_the_oldest_are_deleted_first(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some at a time; never what waits."""
    monkeypatch.setattr(history, "_DELETED_AT_ONCE", 2)
    waiting = add(connection, State.IN_LINE, at_ms=0)
    first, second, third = (add(connection, at_ms=at_ms) for at_ms in (1000, 2000, 3000))
    assert history.delete_oldest(connection, 1050, 0) == (0, False)
    assert history.delete_oldest(connection, 1051, 0) == (4 + history._ROW_BYTES, False)
    assert ids(connection, ALL) == [waiting, second, third]
    assert first < second


def test_no_more_is_deleted_than_is_too_much(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole events, the oldest first, some at a time; never what waits."""
    monkeypatch.setattr(history, "_DELETED_AT_ONCE", 3)
    row = 4 + history._ROW_BYTES
    waiting = add(connection, State.IN_LINE, at_ms=0)
    ended = [add(connection, at_ms=1000 * n) for n in range(1, 8)]
    assert history.delete_oldest(connection, 0, 1) == (row, False)
    assert history.delete_oldest(connection, 0, row + 1) == (2 * row, False)
    assert ids(connection, ALL) == [waiting, *ended[3:]]
    assert history.delete_oldest(connection, 0, 100 * row) == (3 * row, True)
    assert history.delete_oldest(connection, 0, 100 * row) == (row, False)
    assert history.delete_oldest(connection, 0, 100 * row) == (0, False)
    assert ids(connection, ALL) == [waiting]


def test_what_ended_events_take_is_measured(connection: sqlite3.Connection) -> None:
    add(connection, State.IN_LINE)
    assert history.measure(connection) == 0
    add(connection)
    add(connection, State.GIVEN_UP)
    assert history.measure(connection) == 2 * (4 + history._ROW_BYTES)
