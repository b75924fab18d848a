"""The tasks of one node in its SQLite file: what must survive a restart.

Functions of a connection, so that the caller can put a task's row and what belongs to it (its
delivery, an event) into one transaction.
"""

import json
import sqlite3
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.migrations import Schema
from cloudslice.rooms.base import LeaveCode
from cloudslice.secrets import SecretBox, SecretKeyError
from cloudslice.slicing.params import ImageFormat, SliceParams, SubscriptionLists
from cloudslice.tasks.model import TaskSpec

_log = structlog.get_logger(__name__)

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
    ),
)


@dataclass(slots=True)
class StoredTask:
    """An unfinished task as it is on disk; its bucket is with delivery."""

    task_id: str
    room: RoomKey
    robot_user_id: str
    user_sig: str
    private_map_key: str | None
    slicing: SliceParams
    lists: SubscriptionLists
    callable_until_ms: int
    """When ResourceExpiredHour has elapsed, by the clock that is steady over restarts."""
    has_entered: bool = False
    """Whether event 1001 is recorded."""
    leave_code: LeaveCode | None = None
    """Set once the task has begun to stop."""


def stored_task(spec: TaskSpec, task_id: str, now_ms: int) -> StoredTask:
    """The task that `spec` asks for, created at `now_ms` of the steady clock."""
    return StoredTask(
        task_id=task_id,
        room=spec.room,
        robot_user_id=spec.robot_user_id,
        user_sig=spec.user_sig,
        private_map_key=spec.private_map_key,
        slicing=spec.slicing,
        lists=spec.lists,
        callable_until_ms=now_ms + spec.resource_expired_hours * 3_600_000,
    )


def insert_task(connection: sqlite3.Connection, task: StoredTask, box: SecretBox) -> None:
    """Store a new task, its signatures encrypted."""
    key = task.private_map_key
    connection.execute(
        "INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            task.task_id,
            task.room.sdk_app_id,
            task.room.room_id,
            int(task.room.room_id_type),
            task.robot_user_id,
            box.seal(task.user_sig, f"user_sig {task.task_id}"),
            None if key is None else box.seal(key, f"private_map_key {task.task_id}"),
            json.dumps(asdict(task.slicing) | {"image_format": task.slicing.image_format.value}),
            json.dumps(asdict(task.lists)),
            task.callable_until_ms,
            task.has_entered,
            task.leave_code,
        ),
    )


def set_lists(connection: sqlite3.Connection, task_id: str, lists: SubscriptionLists) -> None:
    """Replace a task's lists."""
    connection.execute(
        "UPDATE tasks SET lists = ? WHERE task_id = ?", (json.dumps(asdict(lists)), task_id)
    )


def set_entered(connection: sqlite3.Connection, task_id: str) -> None:
    """The task's robot has entered, and event 1001 is recorded."""
    connection.execute("UPDATE tasks SET has_entered = 1 WHERE task_id = ?", (task_id,))


def set_stopping(connection: sqlite3.Connection, task_id: str, code: LeaveCode) -> None:
    """The task has begun to stop, and must not go on after a restart."""
    connection.execute("UPDATE tasks SET leave_code = ? WHERE task_id = ?", (int(code), task_id))


def delete_task(connection: sqlite3.Connection, task_id: str) -> None:
    """The task is finished."""
    connection.execute("DELETE FROM tasks WHERE task_id = ?", (task_id,))


def load_tasks(connection: sqlite3.Connection, box: SecretBox) -> list[StoredTask]:
    """All unfinished tasks, in the order of their creation. A row that cannot be understood, or
    whose signatures cannot be decrypted, is left out and logged."""
    cursor = connection.execute("SELECT * FROM tasks ORDER BY rowid")
    columns = [column[0] for column in cursor.description]
    tasks = []
    for values in cursor:
        row = dict(zip(columns, values, strict=True))
        try:
            tasks.append(_to_task(row, box))
        except (ValueError, TypeError, KeyError, AttributeError, SecretKeyError) as error:
            _log.error("task on record cannot be read", task_id=row["task_id"], error=repr(error))
    return tasks


def _to_task(row: dict[str, Any], box: SecretBox) -> StoredTask:
    task_id, key = row["task_id"], row["private_map_key"]
    slicing = json.loads(row["slicing"])
    lists = json.loads(row["lists"])
    return StoredTask(
        task_id=task_id,
        room=RoomKey(row["sdk_app_id"], row["room_id"], RoomIdType(row["room_id_type"])),
        robot_user_id=row["robot_user_id"],
        user_sig=box.open(row["user_sig"], f"user_sig {task_id}"),
        private_map_key=None if key is None else box.open(key, f"private_map_key {task_id}"),
        slicing=SliceParams(**slicing | {"image_format": ImageFormat(slicing["image_format"])}),
        lists=SubscriptionLists(**{name: tuple(entries) for name, entries in lists.items()}),
        callable_until_ms=row["callable_until_utc_ms"],
        has_entered=bool(row["has_entered"]),
        leave_code=None if row["leave_code"] is None else LeaveCode(row["leave_code"]),
    )
