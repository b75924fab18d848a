"""Rows that cannot be what we wrote: of a damaged database, or of somebody's hand.

SQLite keeps any value in any column. So rows are vetted once, at the start, by the types that their
table declares, and what is read later needs no checks. Not by STRICT tables: those refuse to read a
bad value, which ends the start instead of the row.
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
    fault: str


def find_odd(
    connection: sqlite3.Connection, table: str, judge: Judge | None = None
) -> list[OddRow]:
    """The rows of a table that cannot be used, in the order of their primary key."""
    keys, faults = [], []
    info = connection.execute(f"PRAGMA table_info({table})").fetchall()
    for _, name, kind, must_be, _, key_position in info:
        types = _TYPES[kind] if must_be or key_position else f"{_TYPES[kind]}, 'null'"
        faults.append(f"WHEN typeof({name}) NOT IN ({types}) THEN 'its {name} cannot be read'")
        if key_position:
            keys.append(name)
    fault = f"CASE {' '.join(faults)} END"
    condition = f"WHERE {fault} IS NOT NULL" if judge is None else ""
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


def forget_odd(connection: sqlite3.Connection, table: str, judge: Judge | None = None) -> None:
    """Delete the rows of a table that cannot be used, and log each."""
    for each in find_odd(connection, table, judge):
        delete(connection, table, each)
        _log.error("row deleted that cannot be read", table=table, **each.key, why=each.fault)


def delete(connection: sqlite3.Connection, table: str, odd: OddRow) -> None:
    """Delete a row."""
    condition = " AND ".join(f"{name} IS ?" for name in odd.key)
    connection.execute(f"DELETE FROM {table} WHERE {condition}", tuple(odd.key.values()))  # noqa: S608
