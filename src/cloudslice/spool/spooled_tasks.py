"""The tasks in the spool, and what becomes of their whole slices."""

import os
from pathlib import Path

import structlog

from cloudslice.slices import DamagedSliceError, Slice
from cloudslice.spool.files import read_regular
from cloudslice.spool.quarantine import Quarantine
from cloudslice.spool.slice_files import whole_path
from cloudslice.spool.slice_format import WHOLE, read_slice
from cloudslice.spool.task_directory import OURS, TaskDirectory

_log = structlog.get_logger(__name__)


class SpooledTasks:
    """The directories of tasks; changed on the spool's thread only, which it blocks."""

    def __init__(self, quarantine: Quarantine) -> None:
        """Takes where files go that nobody understands."""
        self._quarantine = quarantine
        self._directories: dict[str, TaskDirectory] = {}
        self._freed = 0

    def find(self, task_id: str) -> TaskDirectory | None:
        """The directory of a task that is known; for any thread."""
        return self._directories.get(task_id)

    def add(self, directory: TaskDirectory) -> None:
        """A task of a former process is known."""
        self._directories[directory.task.task_id] = directory

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
        if (directory := self._directories.pop(task_id, None)) is None:
            return
        try:
            for path in list(directory.path.iterdir()):
                if path.name not in OURS:
                    self._take_aside(path, "its task has ended")
            directory.remove()
        except OSError as error:
            _log.warning("directory cannot be removed", task_id=task_id, why=error.strerror)

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
        if (directory := self.find(task_id)) is not None:
            self._freed += remove_file(whole_path(directory, name))

    def set_aside(self, task_id: str, name: str, reason: str) -> None:
        """A whole slice is not what was written: keep its file apart."""
        if (directory := self.find(task_id)) is not None:
            self._take_aside(whole_path(directory, name), reason)

    def take_freed(self) -> int:
        """Bytes of whole slices that the spool holds no more, since this was asked last."""
        freed, self._freed = self._freed, 0
        return freed

    def _take_aside(self, path: Path, reason: str) -> None:
        size = path.lstat().st_size if path.suffix == WHOLE and os.path.lexists(path) else 0
        if self._quarantine.take(path, reason):
            self._freed += size


def remove_file(path: Path) -> int:
    """Remove a file, if it is there; the bytes that are free now. One that resists stays for the
    next start."""
    try:
        size = path.lstat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        _log.warning("file cannot be removed", path=str(path), why=error.strerror)
        return 0
    return size
