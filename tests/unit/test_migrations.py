"""A file of the first version is used once nothing in it waits, and is left alone until then."""

import sqlite3

import pytest

from cloudslice.migrations import MigrationError, Schema, migrate

FIRST = """
CREATE TABLE consignors (task_id TEXT PRIMARY KEY);
CREATE TABLE slices (id INTEGER PRIMARY KEY, task_id TEXT NOT NULL REFERENCES consignors);
CREATE TABLE events (id INTEGER PRIMARY KEY, outcome TEXT);
"""
SCHEMA = Schema("part", ("CREATE TABLE events (id INTEGER PRIMARY KEY);",))


@pytest.fixture
def connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.executescript(FIRST)
    return connection


@pytest.mark.parametrize(
    "waits", ["INSERT INTO consignors VALUES ('task')", "INSERT INTO events VALUES (1, NULL)"]
)
def test_what_waits_keeps_the_file_as_it_is(connection: sqlite3.Connection, waits: str) -> None:
    """The sentence says what to do; the first version can go on with the file."""
    connection.execute(waits)
    connection.execute("BEGIN")
    with pytest.raises(MigrationError, match="first version of cloudslice, which has to end"):
        migrate(connection, [SCHEMA])
    connection.execute("ROLLBACK")
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM slices").fetchone() == (0,)


def test_a_file_in_which_nothing_waits(connection: sqlite3.Connection) -> None:
    """Its tables go, and ours may have their names."""
    connection.execute("INSERT INTO events VALUES (1, 'delivered')")
    migrate(connection, [SCHEMA])
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert tables >= {"events", "schema_versions"}
    assert tables.isdisjoint({"consignors", "slices"})
    assert connection.execute("SELECT * FROM events").fetchall() == []
