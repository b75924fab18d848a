"""Rows are vetted by the types that their table declares."""

import sqlite3
from collections.abc import Iterator

import pytest

from cloudslice import vetting

GOOD = {"name": "a", "number": 1, "share": 0.5, "data": b"x", "note": None}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE things (name TEXT PRIMARY KEY, number INTEGER NOT NULL, share REAL NOT NULL,"
        " data BLOB NOT NULL, note TEXT)"
    )
    yield connection
    connection.close()


def insert(connection: sqlite3.Connection, **values: object) -> None:
    row = GOOD | values
    connection.execute("INSERT INTO things VALUES (?, ?, ?, ?, ?)", tuple(row.values()))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", None),
        ("name", b"b"),
        ("number", "x"),
        ("number", 1.5),
        ("number", b"1"),
        ("share", "x"),
        ("data", "x"),
        ("data", 1),
        ("note", b"x"),
    ],
)
def test_another_type_is_odd(connection: sqlite3.Connection, column: str, value: object) -> None:
    """Its row can be deleted by itself, and nothing else is."""
    insert(connection)
    insert(connection, **{"name": "b", column: value})
    (odd,) = vetting.find_odd(connection, "things")
    assert odd.fault == f"its {column} cannot be read"
    assert odd.row == GOOD | {"name": "b", column: value}
    vetting.forget_odd(connection, "things")
    assert connection.execute("SELECT name FROM things").fetchall() == [("a",)]


@pytest.mark.parametrize("column", ["name", "note"])
def test_a_text_that_is_no_utf8_is_odd(connection: sqlite3.Connection, column: str) -> None:
    """Fetched as it is, it would end the start."""
    insert(connection)
    insert(connection, name="b", note="\N{SNOWMAN}")
    insert(connection, name="c")
    connection.execute(f"UPDATE things SET {column} = CAST(x'c328' AS TEXT) WHERE name = 'c'")  # noqa: S608
    for judge in (None, lambda row: None):
        (odd,) = vetting.find_odd(connection, "things", judge)
        assert odd.fault == f"its {column} cannot be read"
        assert odd.row[column] == b"\xc3("
    vetting.forget_odd(connection, "things")
    assert connection.execute("SELECT name FROM things").fetchall() == [("a",), ("b",)]


def test_what_sqlite_converts_is_not_odd(connection: sqlite3.Connection) -> None:
    insert(connection, number="7", share=2, note=5)
    assert vetting.find_odd(connection, "things") == []


def test_the_judge_sees_rows_of_right_types_only(connection: sqlite3.Connection) -> None:
    """It need not look at types."""
    insert(connection)
    insert(connection, name="b", number=-1)
    insert(connection, name="c", number="x")

    def judge(row: vetting.Row) -> str | None:
        assert isinstance(row["number"], int)
        return "it is below zero" if row["number"] < 0 else None

    odd = vetting.find_odd(connection, "things", judge)
    assert [(each.key, each.fault) for each in odd] == [
        ({"name": "b"}, "it is below zero"),
        ({"name": "c"}, "its number cannot be read"),
    ]
