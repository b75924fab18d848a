"""How far the uploads of tasks have come, and what was told of it: operations on the database.

What is told is recorded in the same transaction, so that no event can be without its cause nor a
cause without its event. A task without a row has neither begun to upload nor lost anything.
"""

import sqlite3
from collections.abc import Iterable

from cloudslice.bus import Bus
from cloudslice.events import (
    SliceStored,
    UploadFailed,
    UploadsEnded,
    UploadsOutcome,
    UploadsStarted,
)
from cloudslice.migrations import Schema
from cloudslice.slices import TaskRef
from cloudslice.uploads.storage_errors import StorageError
from cloudslice.vetting import forget_odd

SCHEMA = Schema(
    "uploads",
    (
        """
CREATE TABLE uploads (
    task_id TEXT PRIMARY KEY,
    has_ended INTEGER NOT NULL DEFAULT 0,       -- no slice will be added
    is_started INTEGER NOT NULL DEFAULT 0,      -- 1003 is recorded
    is_incomplete INTEGER NOT NULL DEFAULT 0,   -- 1005 with Status 1 is recorded
    lost INTEGER NOT NULL DEFAULT 0             -- slices that never reached the bucket
) WITHOUT ROWID;
CREATE TABLE upload_failures (
    task_id TEXT NOT NULL,
    status INTEGER NOT NULL,
    code TEXT NOT NULL,
    PRIMARY KEY (task_id, status, code)
) WITHOUT ROWID;
CREATE TABLE stored_slices (
    name TEXT PRIMARY KEY                       -- 1004 is recorded; its file may still be there
) WITHOUT ROWID;
""",
        # Slices are being brought here from another spool: its end is not told before.
        "ALTER TABLE uploads ADD COLUMN is_filling INTEGER NOT NULL DEFAULT 0;",
    ),
)


class Progress:
    """Records the steps of uploads, with their events."""

    def __init__(self, bus: Bus) -> None:
        """Takes what records the events."""
        self._bus = bus

    def load_ended(self, connection: sqlite3.Connection) -> set[str]:
        """The tasks that have ended and are not settled. Rows that cannot be read are deleted."""
        forget_odd(connection, "uploads")
        forget_odd(connection, "upload_failures")
        return {
            task_id
            for (task_id,) in connection.execute("SELECT task_id FROM uploads WHERE has_ended")
        }

    def load_begun(self, connection: sqlite3.Connection) -> set[str]:
        """The tasks that have begun to upload or lost something, and are not settled."""
        return {task_id for (task_id,) in connection.execute("SELECT task_id FROM uploads")}

    def end(
        self, connection: sqlite3.Connection, task_ids: Iterable[str], *, is_told: bool = False
    ) -> None:
        """No slice will be added to any of these.

        Args:
            is_told: another node has told already that their uploads are incomplete.
        """
        for task_id in task_ids:
            self._begin(connection, task_id)
            connection.execute(
                "UPDATE uploads SET has_ended = 1, is_incomplete = is_incomplete OR ?"
                " WHERE task_id = ?",
                (is_told, task_id),
            )

    def fill(self, connection: sqlite3.Connection, task_id: str, *, is_filling: bool) -> None:
        """Slices of a task are brought here from another spool, or all of them are here."""
        self._begin(connection, task_id)
        connection.execute(
            "UPDATE uploads SET is_filling = ? WHERE task_id = ?", (is_filling, task_id)
        )

    def load_filling(self, connection: sqlite3.Connection) -> set[str]:
        """The tasks of which slices were being brought here when a former process ended."""
        return {
            task_id
            for (task_id,) in connection.execute("SELECT task_id FROM uploads WHERE is_filling")
        }

    def has_lost(self, connection: sqlite3.Connection, task_id: str) -> bool:
        """Whether slices of a task never reached the bucket."""
        row = connection.execute(
            "SELECT lost > 0 FROM uploads WHERE task_id = ?", (task_id,)
        ).fetchone()
        return row is not None and bool(row[0])

    def forget(self, connection: sqlite3.Connection, task_ids: Iterable[str]) -> None:
        """Nothing is left to be told of any of these."""
        for task_id in task_ids:
            connection.execute("DELETE FROM uploads WHERE task_id = ?", (task_id,))
            connection.execute("DELETE FROM upload_failures WHERE task_id = ?", (task_id,))

    def start(self, connection: sqlite3.Connection, task: TaskRef, *, has_failed: bool) -> None:
        """The first upload is about to be tried, or cannot be: event 1003, once."""
        self._begin(connection, task.task_id)
        cursor = connection.execute(
            "UPDATE uploads SET is_started = 1 WHERE task_id = ? AND NOT is_started",
            (task.task_id,),
        )
        if cursor.rowcount:
            self._bus.record(connection, UploadsStarted(task, has_failed))

    def fail(self, connection: sqlite3.Connection, task: TaskRef, error: StorageError) -> bool:
        """An upload failed: event 1006, once for each reason; whether it was the first time."""
        cursor = connection.execute(
            "INSERT OR IGNORE INTO upload_failures VALUES (?, ?, ?)",
            (task.task_id, error.status, error.code),
        )
        if cursor.rowcount:
            self._bus.record(connection, UploadFailed(task, error.status, str(error)))
        return cursor.rowcount > 0

    def lose(
        self, connection: sqlite3.Connection, task: TaskRef, error: StorageError, count: int
    ) -> None:
        """So many slices, or ends of slices, will never be in the bucket: event 1006, each time."""
        self._begin(connection, task.task_id)
        connection.execute(
            "UPDATE uploads SET lost = lost + ? WHERE task_id = ?", (count, task.task_id)
        )
        self._bus.record(connection, UploadFailed(task, error.status, str(error)))

    def store(self, connection: sqlite3.Connection, stored: SliceStored) -> None:
        """A slice is in its bucket: event 1004, once, also if its file outlives the process."""
        cursor = connection.execute(
            "INSERT OR IGNORE INTO stored_slices VALUES (?)", (stored.slice.name,)
        )
        if cursor.rowcount:
            self._bus.record(connection, stored)

    def load_stored(self, connection: sqlite3.Connection) -> set[str]:
        """The slices that are stored and whose files may still be there, by their names."""
        forget_odd(connection, "stored_slices")
        return {name for (name,) in connection.execute("SELECT name FROM stored_slices")}

    def forget_stored(self, connection: sqlite3.Connection, names: Iterable[str]) -> None:
        """The files of stored slices are gone."""
        connection.executemany(
            "DELETE FROM stored_slices WHERE name = ?", [(name,) for name in names]
        )

    def settle(
        self,
        connection: sqlite3.Connection,
        task: TaskRef,
        *,
        has_slices: bool,
        is_over: bool,
        has_lost: bool = False,
    ) -> bool:
        """A task has ended: event 1005 if it is due; whether nothing is left to do for it.

        Args:
            has_slices: whether slices of it grow or wait, here or at other nodes.
            is_over: whether to say that uploads are incomplete, if they are.
            has_lost: whether other nodes have lost slices of it.
        """
        row = connection.execute(
            "SELECT is_incomplete, lost FROM uploads WHERE task_id = ?", (task.task_id,)
        ).fetchone()
        is_incomplete, lost = row or (False, 0)
        lost = lost or has_lost
        if not has_slices:
            if not is_incomplete:
                outcome = UploadsOutcome.INCOMPLETE if lost else UploadsOutcome.ALL_STORED
                self._bus.record(connection, UploadsEnded(task, outcome))
            elif not lost:
                self._bus.record(connection, UploadsEnded(task, UploadsOutcome.LEFTOVERS_STORED))
            self.forget(connection, [task.task_id])
            return True
        if is_over and not is_incomplete:
            self._begin(connection, task.task_id)
            connection.execute(
                "UPDATE uploads SET is_incomplete = 1 WHERE task_id = ?", (task.task_id,)
            )
            self._bus.record(connection, UploadsEnded(task, UploadsOutcome.INCOMPLETE))
        return False

    def _begin(self, connection: sqlite3.Connection, task_id: str) -> None:
        connection.execute("INSERT OR IGNORE INTO uploads (task_id) VALUES (?)", (task_id,))
