"""The keys of the registry, both ways.

    node.<node>                 a node's lease, with what it can take; goes when it is not refreshed
    clock.<node>                the last second that the node's slices may be named by
    room.<app>.<room>           who owns a room
    sender.<app>                who sends an app's webhooks
    task.<app>.<room>.<task>    an unfinished task
    status.<task>               what its owner says of it
    ended.<task>                who tells of the end of a task, and what that waits for
    request.<digest>            which task a CreateCloudSliceTask has made; goes after a while
    removal.<app>.<room>.<id>   whom to put out of a builtin room; goes after a while
    secret-check                tells whether a node has the others' encryption key

A room is ``n150`` or, where its id is a text, ``s`` and that in Base64 (RFC 4648, 5). A task is its
TaskId with other characters for those that a key cannot have.
"""

import base64
import binascii
import re

from cloudslice.ids import RoomIdType, RoomKey, read_room_key

NODE = "node."
CLOCK = "clock."
ROOM = "room."
SENDER = "sender."
TASK = "task."
STATUS = "status."
ENDED = "ended."
REQUEST = "request."
REMOVAL = "removal."
SECRET_CHECK = "secret-check"  # noqa: S105 - a key's name

_TASK_ID = re.compile(r"[A-Za-z0-9+.-]{1,200}", re.ASCII)
_TO_TOKEN = str.maketrans("+.", "_=")
_FROM_TOKEN = str.maketrans("_=", "+.")


def room_part(room: RoomKey) -> str:
    """``<app>.<room>``."""
    if room.room_id_type is RoomIdType.NUMBER:
        return f"{room.sdk_app_id}.n{room.room_id}"
    encoded = base64.urlsafe_b64encode(room.room_id.encode()).decode().rstrip("=")
    return f"{room.sdk_app_id}.s{encoded}"


def read_room_part(text: str) -> RoomKey:
    """The room that `room_part` has written; raises ValueError if it has not."""
    app, _, name = text.partition(".")
    kind, name = name[:1], name[1:]
    room = None
    try:
        if kind == "n":
            room = read_room_key(int(app), name, RoomIdType.NUMBER)
        elif kind == "s":
            decoded = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
            room = read_room_key(int(app), decoded, RoomIdType.STRING)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"not a room: {text!r}") from error
    if room is None:
        raise ValueError(f"not a room: {text!r}")
    return room


def is_task_id(text: str) -> bool:
    """Whether it can be a TaskId."""
    return _TASK_ID.fullmatch(text) is not None


def task_key(room: RoomKey, task_id: str) -> str:
    """Of a task."""
    return f"{TASK}{room_part(room)}.{task_id.translate(_TO_TOKEN)}"


def task_pattern(task_id: str) -> str:
    """Of a task whose room is not known."""
    return f"{TASK}*.*.{task_id.translate(_TO_TOKEN)}"


def read_task_key(key: str) -> tuple[RoomKey, str]:
    """The room and the TaskId; raises ValueError if it is no task's."""
    room, _, token = key.removeprefix(TASK).rpartition(".")
    return read_room_part(room), token.translate(_FROM_TOKEN)


def status_key(task_id: str) -> str:
    """Of what a task's owner says of it."""
    return STATUS + task_id.translate(_TO_TOKEN)


def read_status_key(key: str) -> str:
    """The TaskId."""
    return key.removeprefix(STATUS).translate(_FROM_TOKEN)


def ended_key(task_id: str) -> str:
    """Of a task that has ended and is not settled."""
    return ENDED + task_id.translate(_TO_TOKEN)


def read_ended_key(key: str) -> str:
    """The TaskId."""
    return key.removeprefix(ENDED).translate(_FROM_TOKEN)


def removal_key(room: RoomKey, name: str) -> str:
    """Of what is wanted of a room's owner once; `name` is of letters and digits."""
    return f"{REMOVAL}{room_part(room)}.{name}"


def read_removal_key(key: str) -> RoomKey:
    """The room; raises ValueError if there is none."""
    return read_room_part(key.removeprefix(REMOVAL).rpartition(".")[0])
