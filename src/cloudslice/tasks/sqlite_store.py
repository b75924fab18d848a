"""The tasks of one node in its SQLite file."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from cloudslice import vetting
from cloudslice.database import Database
from cloudslice.events import Bus, RobotEntered, RobotLeft
from cloudslice.ids import RoomIdType, RoomKey, read_room_key
from cloudslice.migrations import Schema
from cloudslice.rooms.base import LeaveCode
from cloudslice.secrets import SecretBox, SecretKeyError
from cloudslice.slices import Bucket, TaskRef, Vendor
from cloudslice.slicing.params import ImageFormat, SliceParams, SubscriptionLists
from cloudslice.sqlite_file import DatabaseError
from cloudslice.tasks.store import BrokenTask, StoredTask, StoreError

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
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, SecretKeyError)
"""What comes of reading a row whose types are right and whose contents are not."""


class SqliteTaskStore:
    """A `TaskStore`.

    Args:
        database: open, with the SCHEMA of this module.
        box: encrypts what must not lie readable on the disk.
        bus: has the events recorded.
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
            row = _to_row(task, self._box)
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
                (lists and _lists_text(lists), slicing and _slicing_text(slicing), task_id),
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
                tasks.append(_to_task(row, self._box))
            except _UNREADABLE as error:
                return f"it cannot be read: {error!r}"
            return None

        broken = []
        for odd in vetting.find_odd(connection, "tasks", read):
            if isinstance(odd.row["task_id"], str):
                broken.append(BrokenTask(_guess_ref(odd.row), odd.fault))
            else:
                vetting.forget(connection, "tasks", odd)
        return sorted(tasks, key=lambda task: task.created_ms), broken


def _to_row(task: StoredTask, box: SecretBox) -> vetting.Row:
    key, bucket = task.private_map_key, task.bucket
    return {
        "task_id": task.task_id,
        "sdk_app_id": task.room.sdk_app_id,
        "room_id": task.room.room_id,
        "room_id_type": int(task.room.room_id_type),
        "robot_user_id": task.robot_user_id,
        "user_sig": box.seal(task.user_sig, f"user_sig {task.task_id}"),
        "private_map_key": None
        if key is None
        else box.seal(key, f"private_map_key {task.task_id}"),
        "slicing": _slicing_text(task.slicing),
        "lists": _lists_text(task.lists),
        "bucket": bucket and box.seal(json.dumps(asdict(bucket)), f"bucket {task.task_id}"),
        "request": task.request,
        "created_ms": task.created_ms,
        "callable_until_utc_ms": task.callable_until_ms,
        "has_entered": task.has_entered,
        "leave_code": task.leave_code,
    }


def _to_task(row: vetting.Row, box: SecretBox) -> StoredTask:
    values: dict[str, Any] = row  # whose types `find_odd` has looked at
    task_id, key = values["task_id"], values["private_map_key"]
    return StoredTask(
        task_id=task_id,
        room=_read_room(values),
        robot_user_id=values["robot_user_id"],
        user_sig=box.open(values["user_sig"], f"user_sig {task_id}"),
        private_map_key=None if key is None else box.open(key, f"private_map_key {task_id}"),
        slicing=_read_slicing(values["slicing"]),
        lists=_read_lists(values["lists"]),
        bucket=None if values["bucket"] is None else _open_bucket(values["bucket"], task_id, box),
        request=values["request"],
        created_ms=values["created_ms"],
        callable_until_ms=values["callable_until_utc_ms"],
        has_entered=bool(values["has_entered"]),
        leave_code=None if values["leave_code"] is None else LeaveCode(values["leave_code"]),
    )


def _open_bucket(sealed: bytes, task_id: str, box: SecretBox) -> Bucket:
    values = json.loads(box.open(sealed, f"bucket {task_id}"))
    fixed = {"vendor": Vendor(values["vendor"]), "prefix": tuple(values["prefix"])}
    return Bucket(**values | fixed)


def _read_room(values: dict[str, Any]) -> RoomKey:
    room_id_type = RoomIdType(values["room_id_type"])
    room = read_room_key(values["sdk_app_id"], values["room_id"], room_id_type)
    if room is None:
        raise ValueError(f"not a room: {values['room_id']}")
    return room


def _read_slicing(text: str) -> SliceParams:
    values = json.loads(text)
    for name, known in json.loads(_slicing_text(SliceParams(audio=True, video=True))).items():
        if type(values[name]) is not type(known):
            raise ValueError(f"{name} cannot be {values[name]!r}")
    return SliceParams(**values | {"image_format": ImageFormat(values["image_format"])})


def _read_lists(text: str) -> SubscriptionLists:
    lists = json.loads(text)
    for name, entries in lists.items():
        if not isinstance(entries, list) or not all(isinstance(each, str) for each in entries):
            raise ValueError(f"{name} cannot be {entries!r}")
    return SubscriptionLists(**{name: tuple(entries) for name, entries in lists.items()})


def _slicing_text(slicing: SliceParams) -> str:
    return json.dumps(asdict(slicing) | {"image_format": slicing.image_format.value})


def _lists_text(lists: SubscriptionLists) -> str:
    return json.dumps(asdict(lists))


def _guess_ref(row: vetting.Row) -> TaskRef:
    """Whose task it may be, of a row that cannot be read: somebody may be told of its end."""
    app, room = row["sdk_app_id"], str(row["room_id"])
    is_number = row["room_id_type"] == RoomIdType.NUMBER and room.isdecimal()
    return TaskRef(
        str(row["task_id"]),
        app if isinstance(app, int) else 0,
        int(room) if is_number else room,
        str(row["robot_user_id"]),
    )
