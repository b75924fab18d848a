"""The tasks of one node in its SQLite file."""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from cloudslice import vetting
from cloudslice.bus import Bus
from cloudslice.database import Database
from cloudslice.events import RobotEntered, RobotLeft
from cloudslice.migrations import Schema
from cloudslice.rooms.base import LeaveCode
from cloudslice.secrets import SecretBox
from cloudslice.slices import TaskRef
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.sqlite_file import DatabaseError
from cloudslice.tasks.store import BrokenTask, StoredTask, StoreError
from cloudslice.tasks.task_row import (
    UNREADABLE,
    guess_ref,
    lists_text,
    slicing_text,
    to_row,
    to_task,
)

T = TypeVar("T")

SCHEMA = Schema(
    "tasks",
    (
        """
        CREATE TABLE tasks (
            task_id TEXT PRIMARY KEY,
            sdk_app_id INTEGER NOT NULL,
            room_id TEXT NOT NULL,
            room_id_type INTEGER NOT NULL,
            robot_user_id TEXT NOT NULL,
            user_sig BLOB NOT NULL,
            private_map_key BLOB,
            slicing TEXT NOT NULL,
            lists TEXT NOT NULL,
            callable_until_utc_ms INTEGER NOT NULL, -- by the steady clock, which only begins as UTC
            has_entered INTEGER NOT NULL DEFAULT 0,
            leave_code INTEGER
        );
        """,
        """
        ALTER TABLE tasks ADD COLUMN bucket BLOB;
        ALTER TABLE tasks ADD COLUMN request BLOB NOT NULL DEFAULT x'';
        ALTER TABLE tasks ADD COLUMN created_ms INTEGER NOT NULL DEFAULT 0;
        """,
    ),
)


class SqliteTaskStore:
    """A `TaskStore`.

    Args:
        database: open, with the SCHEMA of this module.
        box: encrypts what must not lie readable on the disk.
    """

    def __init__(self, database: Database, box: SecretBox, bus: Bus) -> None:
        self._database = database
        self._box = box
        self._bus = bus

    async def load(self) -> tuple[list[StoredTask], list[BrokenTask]]:
        """See `TaskStore`."""
        return await self._run(self._load)

    async def create(self, task: StoredTask, *, since_ms: int) -> str:
        """See `TaskStore`."""

        def insert(connection: sqlite3.Connection) -> str:
            repeated: tuple[str] | None = connection.execute(
                "SELECT task_id FROM tasks"
                " WHERE request = ? AND created_ms > ? AND leave_code IS NULL",
                (task.request, since_ms),
            ).fetchone()
            if repeated is not None:
                return repeated[0]
            row = to_row(task, self._box)
            connection.execute(
                f"INSERT INTO tasks ({', '.join(row)}) VALUES (:{', :'.join(row)})",  # noqa: S608
                row,
            )
            return task.task_id

        return await self._run(insert)

    async def modify(
        self,
        task_id: str,
        *,
        lists: SubscriptionLists | None = None,
        slicing: SliceParams | None = None,
    ) -> None:
        """See `TaskStore`."""
        await self._run(
            lambda connection: connection.execute(
                "UPDATE tasks SET lists = coalesce(?, lists), slicing = coalesce(?, slicing)"
                " WHERE task_id = ?",
                (lists and lists_text(lists), slicing and slicing_text(slicing), task_id),
            )
        )

    async def note_entered(self, task: TaskRef, *, has_failed: bool) -> None:
        """See `TaskStore`."""

        def note(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE tasks SET has_entered = 1 WHERE task_id = ?", (task.task_id,)
            )
            self._bus.record(connection, RobotEntered(task, has_failed))

        await self._run(note)

    async def set_stopping(self, task_id: str, code: LeaveCode) -> None:
        """See `TaskStore`."""
        await self._run(
            lambda connection: connection.execute(
                "UPDATE tasks SET leave_code = ? WHERE task_id = ? AND leave_code IS NULL",
                (int(code), task_id),
            )
        )

    async def finish(self, task: TaskRef, code: LeaveCode) -> None:
        """See `TaskStore`."""

        def finish(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM tasks WHERE task_id = ?", (task.task_id,))
            self._bus.record(connection, RobotLeft(task, int(code)))

        await self._run(finish)

    async def _run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._database.run(operation)
        except DatabaseError as error:
            raise StoreError(str(error)) from error

    def _load(self, connection: sqlite3.Connection) -> tuple[list[StoredTask], list[BrokenTask]]:
        tasks: list[StoredTask] = []

        def read(row: vetting.Row) -> str | None:
            try:
                tasks.append(to_task(row, self._box))
            except UNREADABLE as error:
                return f"it cannot be read: {error!r}"
            return None

        broken = []
        for odd in vetting.find_odd(connection, "tasks", read):
            if isinstance(odd.row["task_id"], str):
                broken.append(BrokenTask(guess_ref(odd.row), odd.fault))
            else:
                vetting.forget(connection, "tasks", odd)
        return sorted(tasks, key=lambda task: task.created_ms), broken
