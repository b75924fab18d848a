"""The files of slices: written, made durable, and named as whole. Everything here blocks."""

import contextlib
import errno
import hashlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cloudslice.events import SliceReady
from cloudslice.slices import DamagedSliceError, Repair, Slice
from cloudslice.spool.drafts import Draft, Finish
from cloudslice.spool.files import read_regular, start_flush, write_all
from cloudslice.spool.slice_format import PART, WHOLE, make_tail, read_slice
from cloudslice.spool.task_directory import TaskDirectory


def part_path(directory: TaskDirectory, name: str) -> Path:
    """The file of a slice that grows."""
    return directory.path / f"{name}{PART}"


def whole_path(directory: TaskDirectory, name: str) -> Path:
    """The file of a slice that is whole."""
    return directory.path / f"{name}{WHOLE}"


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


def is_complete(directory: TaskDirectory, draft: Draft) -> bool:
    """Whether the file of a draft holds all of the slice, and lacks its final name alone."""
    try:
        read_slice(draft.name, read_regular(part_path(directory, draft.name)))
    except (OSError, DamagedSliceError):
        return False
    return True


def end_cut(directory: TaskDirectory, draft: Draft, repair: Repair | None) -> bool:
    """Finish a draft with what its file holds; False if that is worth nothing.

    Raises:
        OSError: it cannot be read.
        Exception: whatever the repair of a damaged file may raise.
    """
    data = read_regular(part_path(directory, draft.name))
    with contextlib.suppress(DamagedSliceError):
        whole, content = read_slice(draft.name, data)
        draft.finish = Finish(whole.start_ms, whole.duration_ms, whole.details, content=content)
        draft.object_key = whole.object_key
        return True
    repaired = repair(data[len(draft.head) : draft.written]) if repair else None
    if repaired is None:
        return False
    draft.finish = Finish.of_repaired(draft.start_ms, repaired)
    return True


def complete(drafts: Mapping[Draft, TaskDirectory]) -> dict[Draft, SliceReady | Exception]:
    """Write the files of finished drafts, each durable before it has its final name, or say why
    it cannot be; their directories are still to be flushed.

    They are written together and only then flushed: the disk is busy with all of them, and the
    file system's journal is committed for some at a time.
    """
    results: dict[Draft, SliceReady | Exception] = {}
    with contextlib.ExitStack() as opened:
        descriptors: dict[Draft, int] = {}
        for draft, directory in drafts.items():
            try:
                descriptor = descriptors[draft] = _open(directory, draft)
                opened.callback(_close, descriptor)
                results[draft] = _write_whole(descriptor, draft, directory)
                start_flush(descriptor)
            except (
                Exception
            ) as error:  # one that nobody foresaw is its slice's alone, here and below
                results[draft] = error
        for draft, directory in drafts.items():
            if isinstance(results[draft], Exception):
                continue
            try:
                _flush(descriptors[draft], draft)
                os.rename(part_path(directory, draft.name), whole_path(directory, draft.name))
            except Exception as error:
                results[draft] = error
    return results


def _open(directory: TaskDirectory, draft: Draft) -> int:
    path = part_path(directory, draft.name)
    if draft.has_file:
        # Never made anew: what was written before would be missing in it.
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:
        directory.write()  # somebody has taken the directory away
        descriptor = os.open(path, flags, 0o600)
    draft.has_file = True
    return descriptor


def _write_rest(descriptor: int, draft: Draft) -> None:
    """Write a draft's pieces behind what its file holds."""
    rest = memoryview(b"".join(draft.pieces))
    draft.pieces.clear()
    try:
        while rest:
            count = os.pwrite(descriptor, rest, draft.written)
            draft.written += count
            draft.crc = zlib.crc32(rest[:count], draft.crc)
            rest = rest[count:]
    finally:
        if rest:
            draft.pieces.append(bytes(rest))


def _write_whole(descriptor: int, draft: Draft, directory: TaskDirectory) -> SliceReady:
    """Write all that is missing in the file of a slice that ends."""
    finish = draft.finish
    assert finish is not None  # noqa: S101 - only finished drafts come here
    content = _write_content(descriptor, draft, finish)
    if draft.object_key is None:
        draft.object_key = directory.take_key(draft.origin, finish.start_ms, draft.name)
    directory.names.write()
    whole = Slice(
        draft.name,
        draft.origin,
        draft.object_key,
        finish.start_ms,
        finish.duration_ms,
        finish.details,
        len(content),
        hashlib.sha256(content).hexdigest(),
    )
    tail = make_tail(whole)
    write_all(descriptor, tail, draft.written)
    size = draft.written + len(tail)
    os.ftruncate(descriptor, size)
    return SliceReady(whole, size)


def _write_content(descriptor: int, draft: Draft, finish: Finish) -> bytes:
    """Have head and content of a slice that ends in its file; returns the content."""
    if finish.content is not None:
        data = draft.head + finish.content
        write_all(descriptor, data, 0)
        draft.pieces.clear()
        draft.written = len(data)
        return finish.content
    data = b"" if draft.written else b"".join(draft.pieces)
    _write_rest(descriptor, draft)
    if not data:
        data = os.pread(descriptor, draft.written, 0)
        if zlib.crc32(data) != draft.crc or len(data) != draft.written:
            raise OSError(errno.EIO, "the file is not what was written")
    if finish.head:
        head = draft.head + finish.head
        write_all(descriptor, finish.head, len(draft.head))
        data = head + data[len(head) :]
        draft.crc = zlib.crc32(data)
        draft.finish = replace(finish, head=b"")
    if draft.must_rewrite:
        write_all(descriptor, data, 0)
    return data[len(draft.head) :]


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
