"""The directory of a task in the spool: what is delivered for it, and where that goes.

    spool/<TaskId>/task           a line: the task and its bucket, the storage keys encrypted
    spool/<TaskId>/names          the object names that it has used
    spool/<TaskId>/<name>.part    slices that grow
    spool/<TaskId>/<name>.slice   slices that wait for their upload

Everything here blocks.
"""

import json
import os
from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloudslice.ids import ObjectName
from cloudslice.secrets import SecretBox, SecretKeyError
from cloudslice.slices import Bucket, SliceOrigin, TaskRef, Vendor
from cloudslice.spool import used_names
from cloudslice.spool.checked_lines import from_line, to_line
from cloudslice.spool.files import open_regular, read_regular, sync_directory, write_all
from cloudslice.spool.used_names import UsedNames

FILE = "task"
DRAFT = "task.new"
OURS = frozenset({FILE, DRAFT, used_names.FILE})
"""The files that are no slices."""


class DamagedTaskError(Exception):
    """What the spool holds of a task cannot be read; the text says why."""


class TaskDirectory:
    """A task in the spool.

    Attributes:
        task: the task, as its events name it.
        path: the directory.
        names_after_s: no slice is named by a second up to this one: another node may have done so.
    """

    def __init__(
        self, path: Path, task: TaskRef, bucket: Bucket, sealed: bytes, box: SecretBox
    ) -> None:
        """
        Args:
            path: the directory, which need not be there yet.
            bucket: where its slices go; its keys are left out.
            sealed: its keys.
            box: decrypts them.
        """
        self.task = task
        self.path = path
        self.names_after_s = 0
        self._bucket = replace(bucket, access_key="", secret_key="")
        self._sealed = sealed
        self._box = box
        self._names: UsedNames | None = None

    @classmethod
    def make(cls, path: Path, task: TaskRef, bucket: Bucket, box: SecretBox) -> "TaskDirectory":
        """That of a new task; nothing is written yet."""
        keys = json.dumps([bucket.access_key, bucket.secret_key])
        return cls(path, task, bucket, box.seal(keys, _context(task.task_id)), box)

    @classmethod
    def load(cls, path: Path, box: SecretBox) -> "TaskDirectory":
        """That of a task of a former process.

        Raises:
            DamagedTaskError: it is not what was written.
        """
        try:
            found = cls._from_values(path, from_line(read_regular(path / FILE)), box)
        except FileNotFoundError as error:
            raise DamagedTaskError(f"there is no file {FILE!r}") from error
        except (OSError, ValueError) as error:
            raise DamagedTaskError(f"the file {FILE!r} cannot be read: {error}") from error
        except (KeyError, TypeError) as error:  # of another version
            raise DamagedTaskError(f"the file {FILE!r} says other things: {error!r}") from error
        if found.task.task_id != path.name:
            raise DamagedTaskError("it is another task's")
        return found

    @classmethod
    def _from_values(cls, path: Path, values: Any, box: SecretBox) -> "TaskDirectory":
        found = cls(
            path,
            TaskRef(values["task"], values["app"], values["room"], values["robot"]),
            Bucket(
                Vendor(values["vendor"]),
                values["region"],
                values["bucket"],
                "",
                "",
                prefix=tuple(values["prefix"]),
            ),
            b64decode(values["keys"]),
            box,
        )
        found.names_after_s = int(values.get("names_after", 0))
        return found

    def write(self) -> None:
        """Make the directory, or write anew what it says of the task; durably.

        Raises:
            OSError: the disk refuses it.
        """
        task, bucket = self.task, self._bucket
        line = to_line(
            {
                "task": task.task_id,
                "app": task.sdk_app_id,
                "room": task.room_id,
                "robot": task.robot_user_id,
                "vendor": int(bucket.vendor),
                "region": bucket.region,
                "bucket": bucket.name,
                "prefix": bucket.prefix,
                "keys": b64encode(self._sealed).decode(),
                "names_after": self.names_after_s,
            }
        )
        self.path.mkdir(parents=True, exist_ok=True)
        draft = self.path / DRAFT
        descriptor = open_regular(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(descriptor, line, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(draft, self.path / FILE)
        sync_directory(self.path)
        sync_directory(self.path.parent)

    def load_bucket(self) -> Bucket:
        """Where the task's slices go, with the storage keys.

        Raises:
            SecretKeyError: they were encrypted with another key than ours.
        """
        access_key, secret_key = json.loads(
            self._box.open(self._sealed, _context(self.task.task_id))
        )
        return replace(self._bucket, access_key=access_key, secret_key=secret_key)

    def goes_to(self, bucket: Bucket) -> bool:
        """Whether it is known that the task's slices go to `bucket`."""
        try:
            return self.load_bucket() == bucket
        except SecretKeyError:
            return False

    @property
    def names(self) -> UsedNames:
        """The object names that the task has used; raises OSError if they cannot be read."""
        if self._names is None:
            self._names = UsedNames(self.path)
        return self._names

    def go_on_from(self, former: "TaskDirectory") -> None:
        """Be in place of another one of the same task."""
        self._names = former._names
        self.names_after_s = max(self.names_after_s, former.names_after_s)

    def take_key(self, origin: SliceOrigin, start_ms: int, slice_name: str) -> str:
        """An object key for a slice that starts then, which no other slice of the task has.

        Raises:
            OSError: it cannot be told which are used.
        """
        second = max(start_ms // 1000, self.names_after_s + 1)
        return ObjectName(
            prefix=self._bucket.prefix,
            task_id=self.task.task_id,
            user_id=origin.user_id,
            kind=origin.kind,
            sdk_app_id=self.task.sdk_app_id,
            room_id=str(self.task.room_id),
            utc_second=self.names.take(origin, second, slice_name),
            extension=origin.extension,
        ).to_key()

    def remove(self) -> None:
        """Leave nothing of a task that has no slices any more. A kill in between leaves a
        directory of it, or an empty one.

        Raises:
            OSError: the disk refuses it, or something else is in the directory.
        """
        for name in (used_names.FILE, DRAFT, FILE):
            (self.path / name).unlink(missing_ok=True)
        self.path.rmdir()


def _context(task_id: str) -> str:
    return f"bucket of {task_id}"
