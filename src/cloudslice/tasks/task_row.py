"""A task as a row of the table of tasks, both ways. Secrets are encrypted in it."""

from typing import Any

from pydantic import TypeAdapter

from cloudslice.ids import RoomIdType, RoomKey, read_room_key
from cloudslice.rooms.base import LeaveCode
from cloudslice.secrets import SecretBox, SecretKeyError
from cloudslice.slices import Bucket, TaskRef
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.tasks.store import StoredTask
from cloudslice.vetting import Row

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, SecretKeyError)
"""What comes of reading a row whose types are right and whose contents are not."""

_BUCKET = TypeAdapter(Bucket)
_SLICING = TypeAdapter(SliceParams)
_LISTS = TypeAdapter(SubscriptionLists)


def to_row(task: StoredTask, box: SecretBox) -> Row:
    """The row of a task."""
    key = task.private_map_key
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
        "slicing": slicing_text(task.slicing),
        "lists": lists_text(task.lists),
        "bucket": box.seal(_BUCKET.dump_json(task.bucket).decode(), f"bucket {task.task_id}"),
        "request": task.request,
        "created_ms": task.created_ms,
        "callable_until_utc_ms": task.callable_until_ms,
        "has_entered": task.has_entered,
        "leave_code": task.leave_code,
    }


def to_task(row: Row, box: SecretBox) -> StoredTask:
    """The task of a row whose types are right; raises one of `UNREADABLE`."""
    values: dict[str, Any] = row  # which the caller has looked at
    task_id, key = values["task_id"], values["private_map_key"]
    return StoredTask(
        task_id=task_id,
        room=_read_room(values),
        robot_user_id=values["robot_user_id"],
        user_sig=box.open(values["user_sig"], f"user_sig {task_id}"),
        private_map_key=None if key is None else box.open(key, f"private_map_key {task_id}"),
        slicing=_SLICING.validate_json(values["slicing"], strict=True),
        lists=_LISTS.validate_json(values["lists"], strict=True),
        bucket=_BUCKET.validate_json(box.open(values["bucket"], f"bucket {task_id}"), strict=True),
        request=values["request"],
        created_ms=values["created_ms"],
        callable_until_ms=values["callable_until_utc_ms"],
        has_entered=bool(values["has_entered"]),
        leave_code=None if values["leave_code"] is None else LeaveCode(values["leave_code"]),
    )


def _read_room(values: dict[str, Any]) -> RoomKey:
    room_id_type = RoomIdType(values["room_id_type"])
    room = read_room_key(values["sdk_app_id"], values["room_id"], room_id_type)
    if room is None:
        raise ValueError(f"not a room: {values['room_id']}")
    return room


def slicing_text(slicing: SliceParams) -> str:
    """As a row has it."""
    return _SLICING.dump_json(slicing).decode()


def lists_text(lists: SubscriptionLists) -> str:
    """As a row has them."""
    return _LISTS.dump_json(lists).decode()


def guess_ref(row: Row) -> TaskRef:
    """Whose task it may be, of a row that cannot be read: somebody may be told of its end."""
    app, room = row["sdk_app_id"], str(row["room_id"])
    is_number = row["room_id_type"] == RoomIdType.NUMBER and room.isdecimal()
    return TaskRef(
        str(row["task_id"]),
        app if isinstance(app, int) else 0,
        int(room) if is_number else room,
        str(row["robot_user_id"]),
    )
