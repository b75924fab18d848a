"""A task as a value in the registry, both ways. Secrets are encrypted in it."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cloudslice.ids import RoomKey
from cloudslice.secrets import SecretBox
from cloudslice.slices import TaskRef
from cloudslice.tasks.store import StoredTask
from cloudslice.tasks.task_row import UNREADABLE, to_row, to_task

_BYTES = frozenset({"user_sig", "private_map_key", "bucket", "request"})

Values = dict[str, Any]
"""What a record has, by names: those of `task_row`, in which bytes are Base64, `Owner`'s, and the
holders: nodes that have, or may have, slices of the task that are not stored."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who runs a task: a room's owner has written it into the records of the room's tasks."""

    node: str = ""
    token: int = 0
    """The revision at which it has become the room's owner: a later owner has a greater one."""
    names_after_s: int = 0
    """Nodes that had the task before may have used names of seconds up to this one."""


def new_record(task: StoredTask, box: SecretBox) -> Values:
    """Of a task that nobody runs yet."""
    row = to_row(task, box)
    encoded = {name: _encode(value) for name, value in row.items()}
    return encoded | _owner_values(Owner()) | {"holders": [], "has_lost": False}


def write_record(values: Values) -> bytes:
    """As the registry has it."""
    return json.dumps(values, separators=(",", ":")).encode()


def read_record(data: bytes) -> Values:
    """What a record has; nothing, if it is none."""
    try:
        values = json.loads(data)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def read_task(values: Values, box: SecretBox) -> StoredTask:
    """The task; raises ValueError if it cannot be read."""
    try:
        row = {
            name: b64decode(value) if name in _BYTES and value is not None else value
            for name, value in values.items()
        }
        return to_task(row, box)
    except UNREADABLE as error:
        raise ValueError(f"it cannot be read: {error!r}") from error


def read_owner(values: Mapping[str, Any]) -> Owner:
    """Who runs the task; nobody, if it cannot be read."""
    try:
        return Owner(str(values["node"]), int(values["token"]), int(values["names_after_s"]))
    except (KeyError, TypeError, ValueError):
        return Owner()


def with_owner(values: Values, owner: Owner) -> Values:
    """The record with another owner, which will have slices."""
    holders = sorted({*read_holders(values), owner.node})
    return values | _owner_values(owner) | {"holders": holders}


def without_owner(values: Values, names_after_s: int) -> Values:
    """The record of a task that its owner runs no more, having named slices by seconds up to
    `names_after_s`."""
    former = read_owner(values)
    last_s = max(former.names_after_s, names_after_s)
    return values | _owner_values(Owner("", former.token, last_s))


def read_holders(values: Mapping[str, Any]) -> frozenset[str]:
    """The holders; none, if they cannot be read."""
    holders = values.get("holders")
    return frozenset(map(str, holders)) if isinstance(holders, list) else frozenset()


def has_lost(values: Mapping[str, Any]) -> bool:
    """Whether nodes that were holders have lost slices of the task."""
    return bool(values.get("has_lost"))


def with_holders(values: Values, holders: Iterable[str], *, lost: bool) -> Values:
    """The record with other holders; `lost`: those that are none any more have lost slices."""
    return values | {"holders": sorted(holders), "has_lost": has_lost(values) or lost}


def guess_task(room: RoomKey, task_id: str, values: Mapping[str, Any]) -> TaskRef:
    """Whose a record may be that cannot be read, besides what its key says."""
    return TaskRef(task_id, room.sdk_app_id, room.wire_id, str(values.get("robot_user_id", "")))


def _owner_values(owner: Owner) -> Values:
    return {"node": owner.node, "token": owner.token, "names_after_s": owner.names_after_s}


def _encode(value: object) -> object:
    return b64encode(value).decode() if isinstance(value, bytes) else value
