"""The files of slices: written, made durable, and named as whole.

Everything here blocks.
"""

import contextlib
import ctypes
import errno
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from cloudslice.slices import Slice
from cloudslice.spool.drafts import Draft, Finish
from cloudslice.spool.slice_format import PART, WHOLE, make_tail
from cloudslice.spool.task_directory import TaskDirectory, read_regular

_AT_ONCE = 64
"""Files that are open at a time."""
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_libc.syncfs.argtypes = (ctypes.c_int,)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Completed:
    """A slice whose file is whole."""

    slice: Slice
    file_size: int
    """Bytes; more than those of the content."""


def part_path(directory: TaskDirectory, name: str) -> Path:
    """The file of a slice that grows."""
    return directory.path / f"{name}{PART}"


def whole_path(directory: TaskDirectory, name: str) -> Path:
    """The file of a slice that is whole."""
    return directory.path / f"{name}{WHOLE}"


def flush_file_system(directory: Path) -> None:
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


def append(directory: TaskDirectory, draft: Draft) -> None:
    """Write what is new of a draft into its file.

    Raises:
        OSError: the draft keeps what the disk did not take.
    """
    descriptor = _open(directory, draft)
    try:
        _write_rest(descriptor, draft)
    finally:
        os.close(descriptor)


def read_content(directory: TaskDirectory, draft: Draft) -> bytes:
    """What is written of a draft's content.

    Raises:
        OSError: it cannot be read.
    """
    data = read_regular(part_path(directory, draft.name))
    return data[len(draft.head) : len(draft.head) + draft.written]


def discard(directory: TaskDirectory, draft: Draft) -> None:
    """Remove a draft's file. One that resists stays for the next start."""
    path = part_path(directory, draft.name)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("file cannot be removed", path=str(path), why=error.strerror)


def complete(drafts: Mapping[Draft, TaskDirectory]) -> dict[Draft, Completed | OSError]:
    """Write the files of finished drafts, each durable before it has its final name, or say why
    it cannot be; their directories are still to be flushed.

    They are written together and only then flushed: the disk is busy with all of them, and the
    file system's journal is committed for some at a time.
    """
    results: dict[Draft, Completed | OSError] = {}
    waiting = list(drafts.items())
    for start in range(0, len(waiting), _AT_ONCE):
        results |= _complete(waiting[start : start + _AT_ONCE])
    return results


def _complete(drafts: list[tuple[Draft, TaskDirectory]]) -> dict[Draft, Completed | OSError]:
    results: dict[Draft, Completed | OSError] = {}
    with contextlib.ExitStack() as opened:
        descriptors: dict[Draft, int] = {}
        for draft, directory in drafts:
            try:
                descriptor = descriptors[draft] = _open(directory, draft)
                opened.callback(_close, descriptor)
                results[draft] = _write_whole(descriptor, draft, directory)
                # Only `fsync` counts, so errors do not.
                _libc.sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)
            except OSError as error:
                results[draft] = error
        for draft, directory in drafts:
            if isinstance(results[draft], OSError):
                continue
            try:
                _flush(descriptors[draft], draft)
                os.rename(part_path(directory, draft.name), whole_path(directory, draft.name))
            except OSError as error:
                results[draft] = error
    return results


def _open(directory: TaskDirectory, draft: Draft) -> int:
    path = part_path(directory, draft.name)
    if draft.has_file:
        # Never made anew: what was written before would be missing in it.
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileNotFoundError:
        directory.write()  # somebody has taken the directory away
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _write_all(descriptor, draft.head, 0)
    except OSError:
        os.close(descriptor)
        path.unlink()
        raise
    draft.has_file = True
    return descriptor


def _write_rest(descriptor: int, draft: Draft) -> None:
    """Write a draft's pieces behind what its file holds."""
    rest = memoryview(b"".join(draft.pieces))
    draft.pieces.clear()
    content_at = len(draft.head)
    try:
        while rest:
            count = os.pwrite(descriptor, rest, content_at + draft.written)
            draft.written += count
            rest = rest[count:]
    finally:
        if rest:
            draft.pieces.append(bytes(rest))


def _write_whole(descriptor: int, draft: Draft, directory: TaskDirectory) -> Completed:
    """Write all that is missing in the file of a slice that ends."""
    finish, head = draft.finish, draft.head
    assert finish is not None  # noqa: S101 - only finished drafts come here
    content = _write_content(descriptor, draft, finish, len(head))
    sha256 = hashlib.sha256(content).hexdigest()
    if draft.object_key is None:
        draft.object_key = directory.take_key(draft.origin, finish.start_ms)
    directory.names.write()
    tail = make_tail(
        head,
        sha256,
        len(content),
        object_key=draft.object_key,
        start_ms=finish.start_ms,
        duration_ms=finish.duration_ms,
        details=finish.details,
    )
    if draft.must_rewrite:
        _write_all(descriptor, head + content, 0)
    size = len(head) + len(content) + len(tail)
    _write_all(descriptor, tail, size - len(tail))
    os.ftruncate(descriptor, size)
    whole = Slice(
        draft.name,
        draft.origin,
        draft.object_key,
        finish.start_ms,
        finish.duration_ms,
        finish.details,
        len(content),
        sha256,
    )
    return Completed(whole, size)


def _write_content(descriptor: int, draft: Draft, finish: Finish, at: int) -> bytes:
    """Have the content in the file, from byte `at` on; all of it."""
    if finish.content is not None:
        _write_all(descriptor, finish.content, at)
        draft.pieces.clear()
        draft.written = len(finish.content)
        return finish.content
    whole = b"".join(draft.pieces) if not draft.written and not finish.head else None
    _write_rest(descriptor, draft)
    if whole is None:
        _write_all(descriptor, finish.head, at)
        whole = os.pread(descriptor, draft.written, at)
        if len(whole) != draft.written:
            raise OSError(errno.EIO, "the file is shorter than what was written")
    return whole


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


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # it was flushed, or is lost already
        os.close(descriptor)
