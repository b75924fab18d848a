"""Looks at the spool of another node before it is adopted; changes nothing. Everything here blocks.

What is looked at: that nobody uses it, that it is a spool, that its storage keys can be decrypted.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudslice.secrets import SecretBox, SecretKeyError, load_key
from cloudslice.spool.directory_lock import locked
from cloudslice.spool.recovery import NO_TASKS
from cloudslice.spool.task_directory import DamagedTaskError, TaskDirectory

_SPOOL = "spool"
_NODE, _KEY = "node", "secret.key"
"""Beside the spool in a data directory: the node's name in a cluster, and its own key."""


class AdoptionError(Exception):
    """A spool cannot be adopted; the text says why, for who has asked for it."""


@dataclass(frozen=True, slots=True)
class ForeignSpool:
    """A spool that can be adopted."""

    path: Path
    node: str
    """The name of the node whose it was; empty: it is not known."""
    box: SecretBox
    """Decrypts its storage keys."""
    size: int
    """Bytes of the files of its tasks."""


def look_at(directory: Path, own: Path, box: SecretBox) -> ForeignSpool:
    """The spool in a directory, or in the data directory that this is.

    Args:
        directory: what somebody has named.
        own: the spool of this node.
        box: has this node's key.

    Raises:
        AdoptionError: it cannot be adopted, or not now.
        OSError: it cannot be read.
    """
    if not directory.is_dir():
        raise AdoptionError(f"{directory}: there is no such directory")
    is_data = (directory / _SPOOL).is_dir()
    path, around = (directory / _SPOOL, directory) if is_data else (directory, directory.parent)
    if path.samefile(own):
        raise AdoptionError(f"{path}: this is the node's own spool")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise AdoptionError(f"{path}: it must be readable and writable for the node")
    node = _read_name(around / _NODE)
    found = sorted(each for each in path.iterdir() if each.name not in NO_TASKS)
    try:
        with locked(path):
            tasks = [task for each in found if (task := _load(each, box)) is not None]
    except BlockingIOError as error:
        raise AdoptionError(f"{path}: another process uses it; is its node running?") from error
    if not tasks and (found or not node):
        raise AdoptionError(f"{path}: this is no spool: nothing in it says what task it is of")
    box = _find_box(path, tasks, (box, around / _KEY))
    return ForeignSpool(path, node, box, sum(map(_measure, tasks)))


def _read_name(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace").strip() if path.is_file() else ""


def _load(path: Path, box: SecretBox) -> TaskDirectory | None:
    try:
        return TaskDirectory.load(path, box)
    except DamagedTaskError:
        return None


def _find_box(
    path: Path, tasks: Sequence[TaskDirectory], keys: tuple[SecretBox, Path]
) -> SecretBox:
    """What decrypts the storage keys of all tasks: this node's key, or the one beside the spool."""
    box, key_path = keys
    boxes = [box]
    if key_path.is_file():
        try:
            boxes.append(SecretBox(load_key(key_path.parent)))
        except SecretKeyError as error:
            raise AdoptionError(str(error)) from error
    for each in boxes:
        if all(_can_open(task.path, each) for task in tasks):
            return each
    raise AdoptionError(
        f"{path}: its storage keys were encrypted with another key than this node's "
        "encryption_key: bring its secret.key along, or set the same encryption_key"
    )


def _can_open(path: Path, box: SecretBox) -> bool:
    task = _load(path, box)
    try:
        return task is not None and bool(task.load_bucket())
    except SecretKeyError:
        return False


def _measure(task: TaskDirectory) -> int:
    return sum(each.stat().st_size for each in task.path.iterdir() if each.is_file())
