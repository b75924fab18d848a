"""Databases of former versions are brought up to date."""

import sqlite3

from cloudslice.migrations import Schema, migrate
from cloudslice.webhooks import outbox
from cloudslice.webhooks.schema import SCHEMA

FIRST = Schema(SCHEMA.part, SCHEMA.migrations[:1])


def test_delivered_events_of_a_former_version_are_deleted() -> None:
    """Those that wait are kept as they are, and nothing else of the table."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, [FIRST])
    insert = (
        "INSERT INTO events (id, subject, sdk_app_id, event_type, body, created_ms, due_at,"
        " attempts, first_at, outcome) VALUES (?, 'task', 1400000000, 1004, ?, 5, 7.5, ?, ?, ?)"
    )
    connection.executemany(
        insert,
        [
            (1, b"delivered", 1, None, "delivered"),
            (2, b"new", 0, None, None),
            (3, b"given up", 9, 1.5, "given up"),
            (4, b"failed", 2, 2.5, None),
        ],
    )
    migrate(connection, [SCHEMA])
    (new,) = outbox.find_new(connection, 1400000000, 0, 10)
    assert (new.id, new.subject, new.body, new.due_at) == (2, "task", b"new", 7.5)
    (failed,) = outbox.find_retries(connection, 1400000000, 8.0, 10, ())
    assert (failed.id, failed.body, failed.attempts, failed.first_at) == (4, b"failed", 2, 2.5)
    assert outbox.count_unsent(connection) == 2
