"""A disk that knows what a power cut would leave of a directory, and a process that dies on it."""

import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

STEPS = ("mkdir", "open", "pwrite", "ftruncate", "fsync", "rename", "unlink", "rmdir")
"""The calls of `os` after which something else is on the disk, or reaches the device."""


class Killed(BaseException):
    """The process has ended: nothing more is done."""


class MortalDisk:
    """Notes what reaches the device; the strictest one, which keeps nothing that was not flushed:
    contents by `fsync` of their file, names by `fsync` of their directory, all by `syncfs`.

    Attributes:
        steps: how many calls have changed something or were flushes.
        die_at: the number of the step before which the process is killed.
    """

    def __init__(self, root: Path) -> None:
        """Takes the directory of which copies are made; what is there is on the device."""
        self.steps = 0
        self.die_at: int | None = None
        self._root = root
        self._contents: dict[int, bytes] = {}
        self._entries: dict[int, dict[str, int]] = {}
        self._kinds: dict[int, bool] = {}  # whether it is a directory
        self._held = ExitStack()  # of all inodes seen, so that none is given to another file
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Self:
        self.sync()
        for name in STEPS:
            self._patch.setattr(os, name, self._wrap(name, getattr(os, name)))
        self._patch.setattr(
            "cloudslice.spool.spool_thread.sync_file_system", lambda _directory: self.sync()
        )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._patch.undo()
        self._held.close()

    def sync(self) -> None:
        """All is on the device."""
        for directory, _, files in os.walk(self._root):
            for path in (Path(directory), *(Path(directory, name) for name in files)):
                self._note(path)

    def copy_durable(self, target: Path) -> None:
        """What a power cut now would leave, as another directory."""
        self._copy(self._root.stat().st_ino, target)

    def _copy(self, inode: int, target: Path) -> None:
        if not self._kinds.get(inode):
            target.write_bytes(self._contents.get(inode, b""))
            return
        target.mkdir()
        for name, each in self._entries[inode].items():
            self._copy(each, target / name)

    def _wrap(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **options: object) -> object:
            if name == "open" and not (len(args) > 1 and int(str(args[1])) & os.O_CREAT):
                return real(*args, **options)
            if self.steps == self.die_at:
                if name == "pwrite":
                    descriptor, data, at = args
                    half = bytes(data)[: len(bytes(data)) // 2]  # type: ignore[call-overload]
                    real(descriptor, half, at)
                raise Killed
            self.steps += 1
            if name == "fsync":
                self._note(Path(os.readlink(f"/proc/self/fd/{args[0]}")))
                return None
            return real(*args, **options)

        return step

    def _note(self, path: Path) -> None:
        """A file or directory is on the device as it is now."""
        inode = self._hold(path)
        if not self._kinds[inode]:
            self._contents[inode] = path.read_bytes()
            return
        children = list(path.iterdir())
        self._entries[inode] = {each.name: self._hold(each) for each in children}

    def _hold(self, path: Path) -> int:
        found = path.stat()
        if found.st_ino not in self._kinds:
            self._kinds[found.st_ino] = stat.S_ISDIR(found.st_mode)
            self._entries.setdefault(found.st_ino, {})
            descriptor = os.open(path, os.O_RDONLY)
            self._held.callback(os.close, descriptor)
        return found.st_ino
