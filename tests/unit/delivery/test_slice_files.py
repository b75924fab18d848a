"""Files of slices are durable before they have their final names, each on its own."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudslice.delivery.orders import Draft, Finish
from cloudslice.delivery.quarantine import Quarantine
from cloudslice.delivery.slice_files import PART, WHOLE, Sealed, SliceFiles, has_content
from helpers.delivery import PICTURE, START_MS
from helpers.faulty_disk import FaultyDisk
from helpers.odd_files import ODD_FILES, make_odd_file


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SliceFiles]:
    with SliceFiles(tmp_path, Quarantine(tmp_path)) as opened:
        yield opened


def make_draft(slice_id: int, *pieces: bytes, head: bytes = b"") -> Draft:
    """A finished one."""
    draft = Draft(PICTURE, START_MS, 0, id=slice_id, pieces=list(pieces))
    draft.finish = Finish(draft, START_MS, 0, {}, head)
    return draft


def sealed(slice_id: int, data: bytes) -> Sealed:
    return Sealed(slice_id, len(data), hashlib.sha256(data).hexdigest())


def names(directory: Path) -> set[str]:
    return {each.name for each in directory.iterdir()}


@pytest.mark.parametrize("count", [0, 1, 200])
def test_many_are_completed_together(files: SliceFiles, tmp_path: Path, count: int) -> None:
    """More than are open at a time, too; none of them stays open."""
    before = os.listdir("/proc/self/fd")
    drafts = [make_draft(number, b"%d" % number, b"x") for number in range(count)]
    assert files.complete(drafts) == {
        each: sealed(each.id or 0, b"%dx" % each.id) for each in drafts
    }
    assert names(tmp_path) == {f"{number}{WHOLE}" for number in range(count)}
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_what_has_grown_is_completed(files: SliceFiles, tmp_path: Path) -> None:
    """What was written before is part of it, and its head is set at last."""
    draft = Draft(PICTURE, START_MS, 0, id=1, pieces=[b"....", b"a"])
    files.append(draft)
    assert (tmp_path / f"1{PART}").read_bytes() == b"....a"
    draft.pieces.append(b"b")
    draft.finish = Finish(draft, START_MS, 0, {}, b"head")
    assert files.complete([draft]) == {draft: sealed(1, b"headab")}
    assert (tmp_path / f"1{WHOLE}").read_bytes() == b"headab"


def test_what_fails_fails_alone(
    files: SliceFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its file cannot be opened, written, flushed or renamed."""
    disk = FaultyDisk(monkeypatch)
    drafts = [make_draft(number, b"x") for number in range(6)]
    drafts[1].has_file = True
    disk.errors["pwrite", f"2{PART}"] = errno.ENOSPC
    disk.errors["fsync", f"3{PART}"] = errno.EIO
    disk.errors["rename", f"4{PART}"] = errno.EROFS
    results = files.complete(drafts)
    assert [each.errno for each in results.values() if isinstance(each, OSError)] == [
        errno.ENOENT,
        errno.ENOSPC,
        errno.EIO,
        errno.EROFS,
    ]
    assert [each for each in results.values() if isinstance(each, Sealed)] == [
        sealed(0, b"x"),
        sealed(5, b"x"),
    ]
    assert names(tmp_path) == {f"0{WHOLE}", f"5{WHOLE}"} | {f"{n}{PART}" for n in (2, 3, 4)}


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"audio", True), (b"audi0", False), (b"audio and more", False), (b"", False)],
)
def test_content_is_compared(tmp_path: Path, data: bytes, expected: bool) -> None:
    """Size and hash."""
    (tmp_path / "file").write_bytes(data)
    whole = sealed(1, b"audio")
    assert has_content(tmp_path / "file", whole.size, whole.sha256) is expected


@pytest.mark.parametrize("kind", ODD_FILES)
def test_what_is_no_regular_file_has_not_the_content(tmp_path: Path, kind: str) -> None:
    """And is not waited for, as a FIFO would be."""
    whole = sealed(1, b"audio")
    make_odd_file(tmp_path / "file", kind)
    assert not has_content(tmp_path / "file", whole.size, whole.sha256)


def test_nothing_has_its_final_name_before_it_is_flushed(
    files: SliceFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are completed together."""
    flushed: set[str] = set()
    flush, rename = os.fsync, os.rename

    def note_flush(descriptor: int) -> None:
        flush(descriptor)
        flushed.add(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    def check_rename(name: str, to: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        assert name in flushed
        rename(name, to, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(os, "rename", check_rename)
    files.complete([make_draft(number, b"x") for number in range(5)])
    assert names(tmp_path) == {f"{number}{WHOLE}" for number in range(5)}
    files.flush()
    assert tmp_path.name in flushed
