"""Webhooks on record: what is in line, what is repeated, and what a former process has left."""

import sqlite3
from collections.abc import Iterator

import pytest

from cloudslice.events import RobotEntered
from cloudslice.webhooks import outbox
from cloudslice.webhooks.bodies import task_notice
from cloudslice.webhooks.outbox import Ending, State
from helpers.webhook_site import APP, TASK, open_memory

NOTICE = task_notice(RobotEntered(TASK, has_failed=False))


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = open_memory()
    yield connection
    connection.close()


def add(connection: sqlite3.Connection, count: int = 1) -> list[int]:
    """Put events on record; their ids."""
    return [
        outbox.insert(connection, NOTICE, b"body", created_ms=5, since_ms=1000 * n, now_at=7.5).id
        for n in range(count)
    ]


def in_line(connection: sqlite3.Connection) -> list[int]:
    return [event.id for event in outbox.find_in_line(connection, APP, 0, 10, 0.0)]


def test_events_are_in_line_in_their_order(connection: sqlite3.Connection) -> None:
    """Page by page, and only those of the app."""
    first, second, third = add(connection, 3)
    (found,) = outbox.find_in_line(connection, APP, first, 1, 9.0)
    assert (found.id, found.body, found.attempts, found.queued_at) == (second, b"body", 0, 9.0)
    assert (found.subject, found.event_type, found.since_ms) == (TASK.task_id, 1001, 1000)
    assert in_line(connection) == [first, second, third]
    assert outbox.find_in_line(connection, APP + 1, 0, 10, 9.0) == []


def test_a_new_event_is_as_it_is_read_later(connection: sqlite3.Connection) -> None:
    """Its type too: log lines show it."""
    new = outbox.insert(connection, NOTICE, b"body", created_ms=5, since_ms=0, now_at=7.5)
    (found,) = outbox.find_in_line(connection, APP, 0, 1, 7.5)
    assert repr(new) == repr(found)


def test_a_repeated_event_is_found_when_it_is_due(connection: sqlite3.Connection) -> None:
    first, second = add(connection, 2)
    outbox.repeat(connection, first, "HTTP status 500", first_at=8.0, due_at=18.0)
    outbox.repeat(connection, second, "HTTP status 500", first_at=9.0, due_at=12.0)
    assert in_line(connection) == []
    assert outbox.find_repeated(connection, APP, 11.9, 10, ()) == ([], 12.0)
    due, next_at = outbox.find_repeated(connection, APP, 18.0, 10, ())
    assert ([event.id for event in due], next_at) == ([second, first], None)
    due, next_at = outbox.find_repeated(connection, APP, 18.0, 1, ())
    assert ([event.id for event in due], next_at) == ([second], 18.0)
    (found,), next_at = outbox.find_repeated(connection, APP, 18.0, 1, (second,))
    assert (found.id, found.attempts, found.first_at, next_at) == (first, 1, 8.0, None)
    assert outbox.find_repeated(connection, APP, 13.0, 1, (second,)) == ([], 18.0)


def test_only_what_has_failed_since_then_lines_up(connection: sqlite3.Connection) -> None:
    """It keeps its place before what came after it."""
    first, second, third = add(connection, 3)
    outbox.repeat(connection, first, "e", first_at=3.0, due_at=30.0)
    outbox.repeat(connection, second, "e", first_at=8.0, due_at=18.0)
    outbox.line_up(connection, APP, failing_since=8.0)
    assert in_line(connection) == [second, third]
    (found,), _ = outbox.find_repeated(connection, APP, 30.0, 10, ())
    assert found.id == first


def test_an_event_can_be_put_back(connection: sqlite3.Connection) -> None:
    first, second = add(connection, 2)
    outbox.repeat(connection, first, "e", first_at=3.0, due_at=30.0)
    outbox.put_back(connection, first, "e")
    found = outbox.find_in_line(connection, APP, 0, 10, 0.0)
    assert [(each.id, each.attempts, each.first_at) for each in found] == [
        (first, 2, None),
        (second, 0, None),
    ]


def test_what_has_ended_waits_no_more(connection: sqlite3.Connection) -> None:
    first, second, third = add(connection, 3)
    assert outbox.count_waiting(connection) == 3
    outbox.repeat(connection, second, "e", first_at=3.0, due_at=30.0)
    states = {first: State.DELIVERED, second: State.GIVEN_UP}
    outbox.end(
        connection, [Ending(each, 4, state, 1, None, 50, 60) for each, state in states.items()]
    )
    assert in_line(connection) == [third]
    assert outbox.find_repeated(connection, APP, 99.0, 10, ()) == ([], None)
    assert outbox.count_waiting(connection) == 1


def test_what_a_former_process_has_left_is_in_line(connection: sqlite3.Connection) -> None:
    """Its monotonic times mean nothing any more."""
    first, second, third = add(connection, 3)
    outbox.repeat(connection, first, "e", first_at=3.0, due_at=30.0)
    outbox.end(connection, [Ending(third, 4, State.DELIVERED, 1, None, 50, 60)])
    assert outbox.take_up(connection) == [APP]
    assert in_line(connection) == [first, second]
    assert outbox.find_repeated(connection, APP, 99.0, 10, ()) == ([], None)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("attempts", "many"),
        ("attempts", 1.5),
        ("sdk_app_id", "x"),
        ("body", "text"),
        ("since_ms", "x"),
        ("subject", b"blob"),
    ],
)
@pytest.mark.parametrize("state", State)
def test_a_row_that_cannot_be_read_is_left_out(
    connection: sqlite3.Connection,
    capsys: pytest.CaptureFixture[str],
    column: str,
    value: object,
    state: State,
) -> None:
    """It is told; the others are taken up."""
    bad, good = add(connection, 2)
    connection.execute("UPDATE webhooks SET state = ? WHERE id = ?", (state, bad))
    connection.execute(f"UPDATE webhooks SET {column} = ? WHERE id = ?", (value, bad))  # noqa: S608
    assert outbox.take_up(connection) == [APP]
    assert connection.execute("SELECT id FROM webhooks").fetchall() == [(good,)]
    assert f"its {column} cannot be read" in capsys.readouterr().out
