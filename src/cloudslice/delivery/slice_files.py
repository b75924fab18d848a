"""The files of the spool's slices: written, made durable, and named as whole.

Everything here blocks.
"""

import contextlib
import ctypes
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from cloudslice.delivery.orders import Draft

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
    with path.open("rb") as file:
        data = file.read()
        os.fsync(file.fileno())
    path.rename(slice_path(directory, slice_id))
    return _sealed(slice_id, data)


def sync_directory(directory: Path) -> None:
    """Make renames and removals in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SliceFiles:
    """A directory of slices, for the one thread that writes there; a context manager."""

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(directory, os.O_RDONLY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._descriptor)

    def append(self, draft: Draft) -> None:
        """Write what is new of a draft into its file.

        Raises:
            OSError
        """
        descriptor = self._open(draft)
        try:
            _write_rest(descriptor, draft)
        finally:
            os.close(descriptor)

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
        """Remove a slice's file of that name, if there is one. One that resists is a stray, which
        the next start tries to remove again."""
        name = f"{slice_id}{suffix}"
        try:
            os.unlink(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("file cannot be removed", name=name, why=str(error))

    def _open(self, draft: Draft) -> int:
        return os.open(f"{draft.id}{PART}", os.O_RDWR | os.O_CREAT, dir_fd=self._descriptor)

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
                    os.fsync(descriptors[draft])
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
    while rest:
        count = os.pwrite(descriptor, rest, draft.written)
        draft.written += count
        rest = rest[count:]


def _write_whole(descriptor: int, draft: Draft) -> Sealed:
    assert draft.id is not None  # noqa: S101 - only registered drafts get this far
    assert draft.finish is not None  # noqa: S101 - and only finished ones
    head = draft.finish.head
    whole = b"".join(draft.pieces) if not draft.written and not head else None
    _write_rest(descriptor, draft)
    if whole is None:
        os.pwrite(descriptor, head, 0)
        whole = os.pread(descriptor, draft.written, 0)
    return _sealed(draft.id, whole)


def _sealed(slice_id: int, data: bytes) -> Sealed:
    return Sealed(slice_id, len(data), hashlib.sha256(data).hexdigest())


def _begin_to_flush(descriptor: int) -> None:
    """Have the disk begin, without waiting for it. Only `fsync` counts, so errors do not."""
    _sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # it was flushed, or is lost already
        os.close(descriptor)
