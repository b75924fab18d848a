"""The files of the spool's slices: written, made durable, and named as whole.

Everything here blocks.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from cloudslice.delivery.orders import Draft
from cloudslice.delivery.quarantine import Quarantine
from cloudslice.slices import Repair

PART, WHOLE = ".part", ".slice"
"""What the file's name ends with while it grows, and once it is whole and durable."""

_AT_ONCE = 64
"""Files that are open at a time."""
_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = ctypes.CDLL(None).sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A slice whose file is whole."""

    slice_id: int
    size: int
    sha256: str


class DamagedFileError(OSError):
    """A file does not hold what was written to it, or is no regular file."""


def part_path(directory: Path, slice_id: int) -> Path:
    """The file of a slice that grows."""
    return directory / f"{slice_id}{PART}"


def slice_path(directory: Path, slice_id: int) -> Path:
    """The file of a slice that is whole."""
    return directory / f"{slice_id}{WHOLE}"


def seal(directory: Path, slice_id: int) -> Sealed:
    """Flush a grown file and give it its final name; the directory is still to be flushed.

    Raises:
        OSError: it cannot be read or flushed.
    """
    path = part_path(directory, slice_id)
    with open_regular(path) as file:
        data = file.read()
        os.fsync(file.fileno())
    path.rename(slice_path(directory, slice_id))
    return _sealed(slice_id, data)


def has_content(path: Path, size: int, sha256: str) -> bool:
    """Whether a file is what was recorded of it.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size != size:
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except DamagedFileError:
        return False


def open_regular(path: Path) -> io.BufferedReader:
    """A slice's file, to be read. It takes no time, whatever has the name: opening a FIFO would
    wait for somebody to write to it.

    Raises:
        DamagedFileError: it is no regular file.
        OSError: it cannot be opened.
    """
    check_regular(path)
    return open(path, "rb", opener=_open_at_once)  # `Path.open` takes no opener


def check_regular(path: Path) -> None:
    """Make sure that a file can be read from its beginning to its end.

    Raises:
        DamagedFileError: it is no regular file.
        OSError: there is none, or it cannot be looked at.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise DamagedFileError(errno.EINVAL, "it is no regular file")


def sync_directory(directory: Path) -> None:
    """Make renames and removals in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes from using a directory in this way meanwhile.

    Besides the lock on the database: that file can be deleted while it is open, and a second
    process would make another one.

    Raises:
        BlockingIOError: another process uses it.
        OSError: it cannot be opened.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        _lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)


class SliceFiles:
    """A directory of slices, for the one thread that writes there; a context manager."""

    def __init__(self, directory: Path, quarantine: Quarantine) -> None:
        """Args:
        directory: the spool.
        quarantine: takes files of other slices that are in the way.
        """
        self._quarantine = quarantine
        self._directory = directory
        self._descriptor = os.open(directory, os.O_RDONLY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._descriptor)

    def append(self, draft: Draft) -> None:
        """Write what is new of a draft into its file.

        Raises:
            OSError: the draft keeps what the disk did not take.
        """
        descriptor = self._open(draft)
        try:
            _write_rest(descriptor, draft)
        finally:
            os.close(descriptor)

    def repair(self, draft: Draft, repair: Repair) -> int | None:
        """Make a valid file of what is written of a draft; what `repair` says of it.

        Raises:
            OSError
        """
        assert draft.id is not None  # noqa: S101 - only registered drafts get this far
        path = part_path(self._directory, draft.id)
        check_regular(path)
        duration_ms = repair(path)
        draft.written = path.stat().st_size
        return duration_ms

    def complete(self, drafts: Sequence[Draft]) -> dict[Draft, Sealed | OSError]:
        """Write the files of finished drafts, each durable before it has its final name, or say why
        it cannot be; the directory is still to be flushed.

        They are written together and only then flushed: the disk is busy with all of them, and the
        file system's journal is committed for some at a time.
        """
        results: dict[Draft, Sealed | OSError] = {}
        for start in range(0, len(drafts), _AT_ONCE):
            results |= self._complete(drafts[start : start + _AT_ONCE])
        return results

    def flush(self) -> None:
        """Make the files' names durable.

        Raises:
            OSError
        """
        os.fsync(self._descriptor)

    def remove(self, slice_id: int, suffix: str) -> None:
        """Remove a slice's file of that name, if there is one. One that resists stays for the next
        start."""
        name = f"{slice_id}{suffix}"
        try:
            os.unlink(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("file cannot be removed", name=name, why=str(error))

    def set_aside(self, slice_id: int, suffix: str, reason: str) -> None:
        """Keep a slice's file of that name apart, if there is one."""
        self._quarantine.take(f"{slice_id}{suffix}", reason)

    def _open(self, draft: Draft) -> int:
        name = f"{draft.id}{PART}"
        if draft.has_file:
            # Never made anew: what was written before would be missing in it.
            return os.open(name, os.O_RDWR, dir_fd=self._descriptor)
        assert draft.id is not None  # noqa: S101 - only registered drafts get this far
        for suffix in (PART, WHOLE):
            self.set_aside(draft.id, suffix, "a new slice has its name")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        descriptor = os.open(name, flags, dir_fd=self._descriptor)
        draft.has_file = True
        return descriptor

    def _complete(self, drafts: Sequence[Draft]) -> dict[Draft, Sealed | OSError]:
        results: dict[Draft, Sealed | OSError] = {}
        with contextlib.ExitStack() as opened:
            descriptors: dict[Draft, int] = {}
            for draft in drafts:
                try:
                    descriptor = descriptors[draft] = self._open(draft)
                    opened.callback(_close, descriptor)
                    results[draft] = _write_whole(descriptor, draft)
                    _begin_to_flush(descriptor)
                except OSError as error:
                    results[draft] = error
            for draft, result in results.items():
                if isinstance(result, OSError):
                    continue
                try:
                    _flush(descriptors[draft], draft)
                    self._name_as_whole(draft)
                except OSError as error:
                    results[draft] = error
        return results

    def _name_as_whole(self, draft: Draft) -> None:
        os.rename(
            f"{draft.id}{PART}",
            f"{draft.id}{WHOLE}",
            src_dir_fd=self._descriptor,
            dst_dir_fd=self._descriptor,
        )


def _write_rest(descriptor: int, draft: Draft) -> None:
    """Write a draft's pieces behind what its file holds."""
    rest = memoryview(b"".join(draft.pieces))
    draft.pieces.clear()
    try:
        while rest:
            count = os.pwrite(descriptor, rest, draft.written)
            draft.written += count
            rest = rest[count:]
    finally:
        if rest:
            draft.pieces.append(bytes(rest))


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        count = os.pwrite(descriptor, rest, at)
        at += count
        rest = rest[count:]


def _flush(descriptor: int, draft: Draft) -> None:
    """Have a draft's file on the disk; a failure is known to the draft."""
    try:
        os.fsync(descriptor)
    except OSError:
        draft.must_rewrite = True
        raise
    draft.must_rewrite = False


def _write_whole(descriptor: int, draft: Draft) -> Sealed:
    assert draft.id is not None  # noqa: S101 - only registered drafts get this far
    assert draft.finish is not None  # noqa: S101 - and only finished ones
    head = draft.finish.head
    whole = b"".join(draft.pieces) if not draft.written and not head else None
    _write_rest(descriptor, draft)
    if whole is None:
        _write_all(descriptor, head, 0)
        whole = os.pread(descriptor, draft.written, 0)
        if len(whole) != draft.written:
            raise DamagedFileError(errno.EIO, "the file is shorter than what was written")
    if draft.must_rewrite:
        _write_all(descriptor, whole, 0)
    return _sealed(draft.id, whole)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        text = "is in use by another process"
        raise BlockingIOError(error.errno, text, str(directory)) from error
    except OSError as error:  # not every file system has locks
        _log.warning("the spool cannot be locked", why=error.strerror)


def _open_at_once(path: str, flags: int) -> int:
    """Should the file have become another one since it was looked at."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def _sealed(slice_id: int, data: bytes) -> Sealed:
    return Sealed(slice_id, len(data), hashlib.sha256(data).hexdigest())


def _begin_to_flush(descriptor: int) -> None:
    """Have the disk begin, without waiting for it. Only `fsync` counts, so errors do not."""
    _sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # it was flushed, or is lost already
        os.close(descriptor)
