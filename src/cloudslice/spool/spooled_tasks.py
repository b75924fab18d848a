"""The tasks in the spool, and what becomes of their whole slices."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from cloudslice.ids import ObjectName
from cloudslice.slices import Bucket, DamagedSliceError, Slice, WaitingSlice
from cloudslice.spool.files import read_regular
from cloudslice.spool.moving import Moving
from cloudslice.spool.quarantine import Quarantine
from cloudslice.spool.slice_files import whole_path
from cloudslice.spool.slice_format import TAIL_BYTES, WHOLE, read_key, read_slice
from cloudslice.spool.task_directory import OURS, TaskDirectory

_log = structlog.get_logger(__name__)


class SpooledTasks:
    """The directories of tasks; changed on the spool's thread only, which it blocks.

    Attributes:
        closing: tasks that are about to be closed: who opens one again does so after that.
    """

    def __init__(self, quarantine: Quarantine) -> None:
        """Takes where files go that nobody understands."""
        self.closing: set[str] = set()
        self._quarantine = quarantine
        self._directories: dict[str, TaskDirectory] = {}
        self._sizes: dict[str, int] = {}
        """Bytes of the files of whole slices, by name: somebody may take a file away."""
        self._odd: set[str] = set()
        """Slices that were to be set aside, and could not be."""
        self._freed = 0

    def find(self, task_id: str) -> TaskDirectory | None:
        """The directory of a task that is known; for any thread."""
        return self._directories.get(task_id)

    def is_open(self, task_id: str, bucket: Bucket, names_after_s: int) -> bool:
        """Whether a task is known with that bucket, and names no slice by a second up to that."""
        known = self.find(task_id)
        return (
            known is not None
            and known.names_after_s >= names_after_s
            and known.goes_to(bucket)
            and task_id not in self.closing
        )

    def add(self, directory: TaskDirectory) -> None:
        """A task of a former process is known."""
        self._directories[directory.task.task_id] = directory

    def note_whole(self, name: str, size: int) -> None:
        """A slice is whole, and its file takes so many bytes."""
        self._sizes[name] = size

    def open(self, directory: TaskDirectory) -> None:
        """Make a task known to this and later processes.

        Raises:
            OSError: the disk refuses it.
        """
        if (former := self.find(directory.task.task_id)) is not None:
            directory.go_on_from(former)
        directory.write()
        self.add(directory)

    def close(self, task_id: str) -> None:
        """A task has no slices any more: leave nothing of it but what somebody else put there."""
        self.closing.discard(task_id)
        if (directory := self._directories.pop(task_id, None)) is None:
            return
        try:
            for path in list(directory.path.iterdir()):
                if path.name not in OURS:
                    self._take_aside(path, "its task has ended")
            directory.remove()
        except OSError as error:
            _log.warning("directory cannot be removed", task_id=task_id, why=error.strerror)

    def take_in(
        self, task_id: str, coming: Mapping[WaitingSlice, Path], moved: list[WaitingSlice]
    ) -> None:
        """Move files of whole slices here, whatever is in them.

        Args:
            task_id: whose they are; it is known.
            coming: the slices with their files.
            moved: those that are here are added to it, also if an error ends this.

        Raises:
            OSError: those that are not in `moved` are where they were.
        """
        if (directory := self.find(task_id)) is None:
            raise FileNotFoundError(f"no task {task_id}")
        for each, path in coming.items():
            with suppress(DamagedSliceError, ValueError):  # who uploads it finds out
                key = read_key(read_regular(path, last=TAIL_BYTES))
                directory.names.note(ObjectName.from_key(key), each.name)
        directory.names.write()
        with Moving() as moving:
            for each, path in coming.items():
                moving.move(path, whole_path(directory, each.name))
                self.note_whole(each.name, each.size)
                moved.append(each)

    def read(self, task_id: str, name: str) -> tuple[Slice, bytes]:
        """A whole slice and its content; for any thread.

        Raises:
            DamagedSliceError: it is not what was written.
            OSError: it cannot be read.
        """
        if (directory := self.find(task_id)) is None:
            raise FileNotFoundError(f"no task {task_id}")
        found, content = read_slice(name, read_regular(whole_path(directory, name)))
        if found.origin.task_id != task_id:
            raise DamagedSliceError("it is another task's")
        return found, content

    def is_there(self, task_id: str, name: str) -> bool:
        """Whether the file of a whole slice is still there; for any thread."""
        directory = self.find(task_id)
        return directory is not None and os.path.lexists(whole_path(directory, name))

    def remove(self, task_id: str, name: str) -> None:
        """A whole slice is done with."""
        directory = self.find(task_id)
        if directory is None or name in self._odd:
            return
        if remove_file(whole_path(directory, name)):
            self._freed += self._sizes.pop(name, 0)

    def set_aside(self, task_id: str, name: str, reason: str) -> None:
        """A whole slice is not what was written: keep its file apart."""
        if (directory := self.find(task_id)) is not None:
            path = whole_path(directory, name)
            if not self._take_aside(path, reason) and os.path.lexists(path):
                self._odd.add(name)

    def take_freed(self) -> int:
        """Bytes of whole slices that the spool holds no more, since this was asked last."""
        freed, self._freed = self._freed, 0
        return freed

    def _take_aside(self, path: Path, reason: str) -> bool:
        is_aside = self._quarantine.take(path, reason)
        if is_aside and path.suffix == WHOLE:
            self._freed += self._sizes.pop(path.stem, 0)
        return is_aside


def remove_file(path: Path) -> bool:
    """Remove a file, if it is there; whether it is gone. One that resists stays for the next
    start."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("file cannot be removed", path=str(path), why=error.strerror)
        return False
    return True
