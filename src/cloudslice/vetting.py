"""Rows that cannot be what we wrote: of a damaged database, or of somebody's hand.

SQLite keeps any value in any column. So rows are vetted once, at the start, by the types that their
table declares, and what is read later needs no checks. Not by STRICT tables: those refuse to read a
bad value, which ends the start instead of the row. A text that is no UTF-8 would do the same.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

import structlog

_TYPES = {
    "INTEGER": "'integer'",
    "REAL": "'real'",
    "TEXT": "'text'",
    "BLOB": "'blob'",
}
"""What `typeof` may say, by the declared type of a column."""

Row = dict[str, object]
Judge = Callable[[Row], str | None]
"""What is wrong with a row whose types are right, such as a text that is no JSON."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OddRow:
    """A row that cannot be used, and why."""

    key: Row
    """The columns of its primary key."""
    row: Row
    """A text that is no UTF-8 is bytes here, in `key`, too."""
    fault: str


def find_odd(
    connection: sqlite3.Connection, table: str, judge: Judge | None = None
) -> list[OddRow]:
    """The rows of a table that cannot be used, in the order of their primary key."""
    keys, faults = [], []
    info = connection.execute(f"PRAGMA table_info({table})").fetchall()
    if not info:
        raise sqlite3.OperationalError(f"no such table: {table}")
    for _, name, kind, must_be, _, key_position in info:
        types = _TYPES[kind] if must_be or key_position else f"{_TYPES[kind]}, 'null'"
        fault = f"typeof({name}) NOT IN ({types})"
        if kind == "TEXT":
            fault += f" OR NOT is_utf8(CAST({name} AS BLOB))"
        faults.append(f"WHEN {fault} THEN 'its {name} cannot be read'")
        if key_position:
            keys.append(name)
    fault = f"CASE {' '.join(faults)} END"
    condition = f"WHERE {fault} IS NOT NULL" if judge is None else ""
    connection.create_function("is_utf8", 1, _is_utf8, deterministic=True)
    text_factory, connection.text_factory = connection.text_factory, decode
    try:
        cursor = connection.execute(
            f"SELECT {fault}, * FROM {table} {condition} ORDER BY {', '.join(keys)}"  # noqa: S608
        )
        names = [column[0] for column in cursor.description[1:]]
        odd = []
        for fault_of_types, *values in cursor:
            row = dict(zip(names, values, strict=True))
            why = fault_of_types or (judge and judge(row))
            if why is not None:
                odd.append(OddRow({name: row[name] for name in keys}, row, why))
        return odd
    finally:
        connection.text_factory = text_factory


def forget_odd(connection: sqlite3.Connection, table: str, judge: Judge | None = None) -> None:
    """Delete the rows of a table that cannot be used, and log each."""
    for each in find_odd(connection, table, judge):
        forget(connection, table, each)


def forget(connection: sqlite3.Connection, table: str, odd: OddRow) -> None:
    """Delete a row, and log it."""
    delete(connection, table, odd)
    _log.error("row deleted that cannot be read", table=table, **odd.key, why=odd.fault)


def delete(connection: sqlite3.Connection, table: str, odd: OddRow) -> None:
    """Delete a row."""
    condition = " AND ".join(
        f"({name} IS :{name} OR typeof({name}) = 'text' AND CAST({name} AS BLOB) IS :{name})"
        for name in odd.key
    )
    connection.execute(f"DELETE FROM {table} WHERE {condition}", odd.key)  # noqa: S608


def decode(text: bytes) -> str | bytes:
    """A text; one that is no UTF-8 as it is."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def _is_utf8(text: bytes | None) -> bool:
    return text is None or isinstance(decode(text), str)
