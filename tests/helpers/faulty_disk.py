"""A disk that fails on command, beneath the calls of `os` that the spool makes."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest


class FaultyDisk:
    """Refuses what it is told to refuse, by file names; everything else goes to the real disk.

    Attributes:
        room: bytes by which files may still grow; a write past it is short, then refused.
        errors: for a call (``open``, ``pwrite``, ``fsync``, ``rename``) and a file's name the
            errno with which it fails.
        calls: how often each call was made for each file.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.room = 1 << 40
        self.errors: dict[tuple[str, str], int] = {}
        self.calls: list[tuple[str, str]] = []
        self._pwrite = os.pwrite
        patch.setattr(os, "pwrite", self._write)
        patch.setattr(os, "fsync", self._wrap("fsync", os.fsync))
        patch.setattr(os, "rename", self._wrap("rename", os.rename))

    def _wrap(self, call: str, real: Callable[..., object]) -> Callable[..., object]:
        def checked(file: int | str, *args: object, **options: object) -> object:
            self._check(call, file)
            return real(file, *args, **options)

        return checked

    def _check(self, call: str, file: int | str) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else file).name
        self.calls.append((call, name))
        if (code := self.errors.get((call, name))) is not None:
            raise OSError(code, os.strerror(code))

    def _write(self, descriptor: int, data: bytes, at: int) -> int:
        self._check("pwrite", descriptor)
        size = os.fstat(descriptor).st_size
        growth = at + len(data) - size
        if growth > self.room:
            data = data[: max(size + self.room - at, 0)]
            if not data:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= max(at + len(data) - size, 0)
        return self._pwrite(descriptor, data, at)
