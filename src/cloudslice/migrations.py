"""The tables in the database's file: each part of the service has a version of its own."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

_FORMAT = 1
"""`user_version` of the file: the layout of the table of versions itself."""
_FIRST_VERSION = ("removals", "slices", "names", "name_lanes", "failures", "consignors", "events")
"""Tables of the first version, which kept its slices on record."""


class MigrationError(Exception):
    """The tables cannot be brought up to date."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one part of the service.

    Attributes:
        part: the part's name, under which its version is kept in the file.
        migrations: SQL scripts; the nth brings the part's tables from version n-1 to n. Once
            released, a script is never changed, only followed by another.
    """

    part: str
    migrations: tuple[str, ...]


def migrate(connection: sqlite3.Connection, schemas: Sequence[Schema]) -> None:
    """Bring the tables of all parts up to date, within the transaction that is under way.

    Raises:
        MigrationError: the file was written by a newer version, or the first one, which has to
            finish what it has begun; or a script is incomplete.
    """
    (file_format,) = connection.execute("PRAGMA user_version").fetchone()
    if file_format > _FORMAT:
        raise MigrationError("was written by a newer version of cloudslice")
    connection.execute(f"PRAGMA user_version = {_FORMAT}")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_versions (part TEXT PRIMARY KEY, version INTEGER)"
    )
    _leave_first_version(connection)
    for schema in schemas:
        row = connection.execute(
            "SELECT version FROM schema_versions WHERE part = ?", (schema.part,)
        ).fetchone()
        version = 0 if row is None else row[0]
        if version > len(schema.migrations):
            raise MigrationError(f"was written by a newer version of cloudslice ({schema.part})")
        for script in schema.migrations[version:]:
            _execute_script(connection, script)
        connection.execute(
            "INSERT OR REPLACE INTO schema_versions VALUES (?, ?)",
            (schema.part, len(schema.migrations)),
        )


def _leave_first_version(connection: sqlite3.Connection) -> None:
    """Drop the first version's tables, unless something in them waits."""
    if not connection.execute("PRAGMA table_info(consignors)").fetchall():
        return
    (waits,) = connection.execute(
        "SELECT EXISTS (SELECT * FROM consignors)"
        " OR EXISTS (SELECT * FROM events WHERE outcome IS NULL)"
    ).fetchone()
    if waits:
        raise MigrationError(
            "holds tasks or webhooks of the first version of cloudslice, which has to end and"
            " deliver them before (docs/operations.md#upgrades-and-restarts)"
        )
    for table in _FIRST_VERSION:
        connection.execute(f"DROP TABLE IF EXISTS {table}")


def _execute_script(connection: sqlite3.Connection, script: str) -> None:
    """As `executescript`, which would commit the transaction that the migration is to be in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    if statement.strip():
        raise MigrationError(f"migration ends in an incomplete statement: {statement.strip()!r}")
