"""The directory of a task in the spool: what is delivered for it, and where that goes.

    spool/<TaskId>/task.json      the task and its bucket, the storage keys encrypted
    spool/<TaskId>/names          the object names that it has used
    spool/<TaskId>/<name>.part    slices that grow
    spool/<TaskId>/<name>.slice   slices that wait for their upload

Everything here blocks.
"""

import contextlib
import errno
import json
import os
import shutil
import stat
from base64 import b64decode, b64encode
from pathlib import Path

from cloudslice.ids import ObjectName
from cloudslice.secrets import SecretBox, SecretKeyError
from cloudslice.slices import Bucket, DamagedTaskError, SliceOrigin, TaskRef, Vendor
from cloudslice.spool.used_names import UsedNames

FILE = "task.json"


def sync_directory(directory: Path) -> None:
    """Make renames and removals in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_regular(path: Path) -> bytes:
    """All of a file. It takes no time, whatever has the name: opening a FIFO would wait for
    somebody to write to it.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return file.read()


class TaskDirectory:
    """A task in the spool.

    Attributes:
        task: the task, as its events name it.
        path: the directory.
    """

    def __init__(self, path: Path, task: TaskRef, bucket: Bucket, box: SecretBox) -> None:
        """
        Args:
            path: the directory, which need not be there yet.
            task: the task.
            bucket: where its slices go; without keys if it comes from the disk.
            box: decrypts the keys.
        """
        self.task = task
        self.path = path
        self._bucket = bucket
        self._box = box
        self._names: UsedNames | None = None

    @classmethod
    def load(cls, path: Path, box: SecretBox) -> "TaskDirectory":
        """The task of a directory that is there.

        Raises:
            DamagedTaskError: it cannot be told.
        """
        try:
            values = json.loads(read_regular(path / FILE))
            task = TaskRef(path.name, values["app"], values["room"], values["robot"])
            _check(task)
            place = values["bucket"]
            bucket = Bucket(
                Vendor(place["vendor"]), place["region"], place["name"], "", "",
                prefix=tuple(place["prefix"]),
            )  # fmt: skip
        except FileNotFoundError as error:
            raise DamagedTaskError(f"there is no {FILE}") from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedTaskError(f"{FILE} cannot be read: {error!r}") from error
        return cls(path, task, bucket, box)

    def write(self) -> None:
        """Make the directory, or write anew what it says of the task; durably.

        Raises:
            OSError: the disk refuses it.
        """
        bucket = self._bucket
        keys = json.dumps([bucket.access_key, bucket.secret_key])
        values = {
            "app": self.task.sdk_app_id,
            "room": self.task.room_id,
            "robot": self.task.robot_user_id,
            "bucket": {
                "vendor": int(bucket.vendor),
                "region": bucket.region,
                "name": bucket.name,
                "prefix": bucket.prefix,
            },
            "keys": b64encode(self._box.seal(keys, self._context)).decode(),
        }
        self.path.mkdir(exist_ok=True)
        draft = self.path / f"{FILE}.new"
        with draft.open("w") as file:
            json.dump(values, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path / FILE)
        sync_directory(self.path)
        sync_directory(self.path.parent)

    def load_bucket(self) -> Bucket:
        """Where the task's slices go, with the storage keys.

        Raises:
            DamagedTaskError: the keys cannot be read.
            SecretKeyError: they were encrypted with another key than ours.
        """
        if self._bucket.secret_key:
            return self._bucket
        try:
            sealed = b64decode(json.loads(read_regular(self.path / FILE))["keys"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedTaskError(f"the storage keys cannot be read: {error!r}") from error
        access_key, secret_key = json.loads(self._box.open(sealed, self._context))
        place = self._bucket
        self._bucket = Bucket(
            place.vendor, place.region, place.name, access_key, secret_key, prefix=place.prefix
        )
        return self._bucket

    def goes_to(self, bucket: Bucket) -> bool:
        """Whether it is known that the task's slices go to `bucket`."""
        try:
            return self.load_bucket() == bucket
        except (DamagedTaskError, SecretKeyError):
            return False

    @property
    def names(self) -> UsedNames:
        """The object names that the task has used; raises OSError if they cannot be read."""
        if self._names is None:
            self._names = UsedNames(self.path)
        return self._names

    def take_key(self, origin: SliceOrigin, start_ms: int) -> str:
        """An object key for a slice that starts then, which no other slice of the task has.

        Raises:
            OSError: it cannot be told which are used.
        """
        return ObjectName(
            prefix=self._bucket.prefix,
            task_id=self.task.task_id,
            user_id=origin.user_id,
            kind=origin.kind,
            sdk_app_id=self.task.sdk_app_id,
            room_id=str(self.task.room_id),
            utc_second=self.names.take(origin, start_ms // 1000),
            extension=origin.extension,
        ).to_key()

    def remove(self) -> None:
        """Leave nothing of the task; it has no slices any more.

        Raises:
            OSError: the disk refuses it.
        """
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path)

    @property
    def _context(self) -> str:
        return f"bucket of {self.task.task_id}"


def _check(task: TaskRef) -> None:
    """Raises ValueError if a task cannot be what we wrote."""
    is_room = type(task.room_id) in (int, str)
    if type(task.sdk_app_id) is not int or not is_room or not isinstance(task.robot_user_id, str):
        raise ValueError(f"not a task: {task}")
