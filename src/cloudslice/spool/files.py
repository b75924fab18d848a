"""What the spool asks of the file system. Everything here blocks."""

import ctypes
import errno
import os
import stat
from pathlib import Path

_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_libc.syncfs.argtypes = (ctypes.c_int,)


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file. It takes no time, whatever has the name: opening a FIFO
    would wait for somebody at its other end.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")
    return descriptor


def read_regular(path: Path, *, first: int | None = None, last: int | None = None) -> bytes:
    """All of a regular file, or so many of its first or last bytes.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        start = 0 if last is None else max(size - last, 0)
        return os.pread(descriptor, size - start if first is None else first, start)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes, at: int) -> None:
    """Write all of `data` from byte `at` on.

    Raises:
        OSError: the disk did not take all of it.
    """
    rest = memoryview(data)
    while rest:
        count = os.pwrite(descriptor, rest, at)
        at += count
        rest = rest[count:]


def start_flush(descriptor: int) -> None:
    """Have the disk busy with a file that is flushed soon. Only that flush tells of errors."""
    _libc.sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


def sync_directory(directory: Path) -> None:
    """Make renames and removals in a directory durable.

    Raises:
        OSError: the disk refuses it.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(directory: Path) -> None:
    """Have on the device all that was written to the file system of a directory.

    Raises:
        OSError: some of it could not be written.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if _libc.syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(descriptor)
