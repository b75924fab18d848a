"""Webhooks of former versions are taken over."""

import sqlite3

import pytest

from cloudslice.migrations import Schema, migrate
from cloudslice.webhooks import outbox
from cloudslice.webhooks.sql_schema import SCHEMA
from helpers.former_schema import SCHEMA as FORMER

APP = 1400000000
FIRST = Schema(FORMER.part, FORMER.migrations[:1])


@pytest.mark.parametrize("has_former", [True, False], ids=["a former version", "a new file"])
def test_what_waits_is_taken_over(has_former: bool) -> None:
    """What had ended is not; nothing is needed of the former table's part."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    if has_former:
        migrate(connection, [FIRST])
        connection.executemany(
            "INSERT INTO events (id, subject, sdk_app_id, event_type, body, created_ms, due_at,"
            " attempts, first_at, outcome) VALUES (?, 'task', ?, 1004, ?, 5, 7.5, ?, ?, ?)",
            [
                (1, APP, b"delivered", 1, None, "delivered"),
                (2, APP, b"new", 0, None, None),
                (3, APP, b"given up", 9, 1.5, "given up"),
                (4, APP, b"failed", 2, 2.5, None),
            ],
        )
        migrate(connection, [FORMER, SCHEMA])
    migrate(connection, [SCHEMA])
    found = outbox.find_in_line(connection, APP, 0, 10, 0.0)
    expected = [(2, b"new", 0), (4, b"failed", 2)] if has_former else []
    assert [(each.id, each.body, each.attempts) for each in found] == expected
    tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'events'").fetchall()
    assert tables == []
