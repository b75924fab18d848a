"""A spool is right again after a kill at any moment, and deletes nothing that it does not know."""

import errno
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.events import SliceLost
from cloudslice.slices import Repaired, Slice, SliceKind
from cloudslice.spool.checked_lines import from_line, to_line
from cloudslice.spool.slice_format import Head, make_tail
from helpers.faulty_disk import FaultyDisk
from helpers.odd_files import ODD_FILES, make_odd_file
from helpers.spool_site import (
    AUDIO,
    BUCKET,
    KEY,
    PICTURE,
    START_MS,
    TASK,
    SpoolSite,
    read_contents,
    read_waiting,
    repair_by_length,
)

HEAD = Head(AUDIO, START_MS).to_bytes()
NAME = f"{5:013d}-{0:016x}"


SLICE = Slice(
    NAME, AUDIO, KEY.format(21), START_MS, 9, {"k": "v"}, 5, hashlib.sha256(b"whole").hexdigest()
)
WHOLE = HEAD + b"whole" + make_tail(SLICE)
"""The file of a slice that is whole."""


@pytest.fixture
async def site(tmp_path: Path) -> SpoolSite:
    """A spool with a task, not open."""
    site = SpoolSite(tmp_path / "spool")
    async with site.open(TASK):
        pass
    return site


def put(site: SpoolSite, name: str, data: bytes) -> Path:
    path = site.task_path() / name
    path.write_bytes(data)
    return path


async def test_a_growing_slice_is_repaired_at_the_next_start(site: SpoolSite) -> None:
    """What was written until the end of the process is delivered, and says that it was repaired."""
    async with site.open() as spool:
        spool.grow(AUDIO, START_MS).append(b"heard")
    async with site.open() as spool:
        ((whole, content),) = read_waiting(spool)
        assert content == b"heard repaired"
        assert (whole.duration_ms, whole.details) == (5, {"repaired": "true"})
        assert (whole.start_ms, whole.object_key) == (START_MS, KEY.format(21))
        assert spool.used_bytes == site.wholes[0].stat().st_size
    assert site.lost == []


CRASHES = [
    pytest.param({}, None, id="no file yet"),
    pytest.param({".part": b""}, None, id="nothing in it"),
    pytest.param({".part": bytes(4096)}, None, id="nothing but zeros in it"),
    pytest.param({".part": HEAD[:20]}, None, id="half a head"),
    pytest.param({".part": HEAD}, None, id="a head and nothing more"),
    pytest.param({".part": HEAD + b"heard"}, (b"heard repaired", 5), id="growing"),
    pytest.param(
        {".part": WHOLE[:-9]}, (WHOLE[len(HEAD) : -9] + b" repaired", 0), id="about to be finished",
    ),
    pytest.param({".part": WHOLE}, (b"whole", 9), id="whole, not named as such"),
    pytest.param({".slice": WHOLE}, (b"whole", 9), id="waiting"),
]  # fmt: skip


@pytest.mark.parametrize(("left", "expected"), CRASHES)
async def test_every_crash_point_is_put_right(
    site: SpoolSite, left: dict[str, bytes], expected: tuple[bytes, int] | None
) -> None:
    """Whatever step a kill came after: the slice is taken up whole, or was never there."""
    for suffix, data in left.items():
        put(site, NAME + suffix, data)
    async with site.open() as spool:
        found = [(content, whole.duration_ms) for whole, content in read_waiting(spool)]
    if expected is None:
        assert found == []
    else:
        assert [content for content, _ in found] == [expected[0]]
        assert expected[1] in (0, found[0][1])
    assert len(site.wholes) == len(found)
    assert (site.parts, site.lost, site.quarantined) == ([], [], {})


async def test_an_unfinished_picture_is_discarded(site: SpoolSite) -> None:
    """There is no repair for it."""
    async with site.open() as spool:
        spool.grow(PICTURE, START_MS).append(b"half a picture")
    async with site.open() as spool:
        assert (read_contents(spool), site.parts, site.quarantined) == ([], [], {})


async def test_a_repair_that_fails_spoils_only_its_slice(site: SpoolSite) -> None:
    """The others are taken up, and the loss is told."""

    def repair(data: bytes) -> Repaired | None:
        if data == b"bad":
            raise ValueError("cannot be parsed")
        return repair_by_length(data)

    site.repairs[SliceKind.AUDIO] = repair
    for n, data in enumerate((b"bad", b"good")):
        put(site, f"{n:013d}-{n:016x}.part", HEAD + data)
    async with site.open() as spool:
        assert read_contents(spool) == [b"good repaired"]
    assert site.lost == [SliceLost(AUDIO, "it cannot be repaired: cannot be parsed")]
    assert list(site.quarantined.values()) == [HEAD + b"bad"]


async def test_a_damaged_head_is_told_and_set_aside(site: SpoolSite) -> None:
    """Nobody is given what another one has said."""
    data = HEAD.replace(b"anchor_1", b"anchor_2") + b"heard"
    put(site, f"{NAME}.part", data)
    async with site.open() as spool:
        assert read_contents(spool) == []
    assert site.quarantined == {f"{NAME}.part": data}
    assert [(loss.origin.task_id, loss.is_partial) for loss in site.lost] == [(TASK.task_id, False)]


async def test_what_is_no_slice_is_set_aside(
    site: SpoolSite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever its name and place; each is told with its size, and counted."""
    put(site, f"{NAME}.slice", WHOLE)
    strays = {"77.slice": b"finished", "x.part": b"heard", f"{NAME}": b"1", "-1.slice": b"-1"}
    for name, data in strays.items():
        put(site, name, data)
    (site.directory / "0.slice").write_bytes(b"of the first version")
    other = replace(AUDIO, task_id="other")
    foreign = f"{6:013d}-{0:016x}.part"
    put(site, foreign, Head(other, 0).to_bytes() + b"x")
    async with site.open() as spool:
        assert read_contents(spool) == [b"whole"]
        assert spool.files_set_aside == 6
    strays["0.slice"] = b"of the first version"
    strays[foreign] = Head(other, 0).to_bytes() + b"x"
    assert site.quarantined == strays
    told = capsys.readouterr().out
    assert "77.slice" in told
    assert "size=8" in told
    assert site.lost == []


async def test_a_copy_that_was_cut_off_is_removed(site: SpoolSite) -> None:
    """The slice that it is a copy of is in another spool."""
    copy = put(site, f"{NAME}.copy", WHOLE[:-9])
    async with site.open() as spool:
        assert read_contents(spool) == []
    assert not copy.exists()
    assert site.quarantined == {}


async def test_what_was_set_aside_is_never_replaced(site: SpoolSite) -> None:
    """Another file of the same name is kept beside it."""
    for data in (b"first", b"second", b"third"):
        put(site, "1.slice", data)
        async with site.open():
            pass
    assert site.quarantined == {
        "1.slice": b"first",
        "1.2.slice": b"second",
        "1.3.slice": b"third",
    }


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("suffix", [".slice", ".part"])
async def test_what_is_no_regular_file_is_set_aside(
    site: SpoolSite, kind: str, suffix: str
) -> None:
    """Nobody reads it, which would take for ever with a FIFO; the others are taken up."""
    make_odd_file(site.task_path() / f"{NAME}{suffix}", kind)
    put(site, f"{6:013d}-{0:016x}.slice", WHOLE)
    async with site.open() as spool:
        assert read_contents(spool) == [b"whole"]
        assert spool.files_set_aside == 1
    assert (site.directory / "quarantine" / f"{NAME}{suffix}").lstat()


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("name", ["names", "task.new"])
async def test_odd_files_under_our_names(site: SpoolSite, kind: str, name: str) -> None:
    """They are set aside, and made anew."""
    (site.task_path() / name).unlink(missing_ok=True)
    make_odd_file(site.task_path() / name, kind)
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        assert (len(site.ready), spool.files_set_aside) == (1, 1)


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "another bucket": lambda path: path.write_bytes(
        path.read_bytes().replace(b"demo-125", b"demo-126")
    ),
    "another task's": lambda path: shutil.copy(path.parent.parent / "other" / "task", path),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_task_that_cannot_be_told(
    site: SpoolSite, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it is set aside together, and other tasks are taken up."""
    other = replace(TASK, task_id="other")
    async with site.open(other) as spool:
        spool.put(replace(PICTURE, task_id="other"), START_MS, b"picture", {})
        spool.put(PICTURE, START_MS, b"of whom?", {})
    DAMAGES[damage](site.task_path() / "task")
    files = {
        f"{TASK.task_id}/{path.name}": path.read_bytes()
        for path in site.task_path().iterdir()
        if path.is_file()
    }
    async with site.open() as spool:
        assert read_contents(spool) == [b"picture"]
        assert spool.files_set_aside == 1
    assert site.quarantined == files
    assert "size=" not in capsys.readouterr().out
    # It may be that it is wanted.
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, b"new", {})
    async with site.open() as spool:
        assert read_contents(spool) == [b"new", b"picture"]


@pytest.mark.parametrize("left", [[], ["task.new"]])
async def test_a_task_whose_beginning_was_cut_off_was_never_there(
    site: SpoolSite, left: list[str]
) -> None:
    (site.directory / "other").mkdir()
    for name in left:
        (site.directory / "other" / name).write_bytes(b"{")
    async with site.open() as spool:
        assert list(spool.take_waiting()) == [TASK]
    assert not (site.directory / "other").exists()
    assert site.quarantined == {}


async def test_a_file_system_of_its_own(site: SpoolSite) -> None:
    """It has a directory that belongs to nobody."""
    (site.directory / "lost+found").mkdir()
    async with site.open() as spool:
        assert spool.files_set_aside == 0
    assert (site.directory / "lost+found").is_dir()


async def test_what_cannot_be_set_aside_stays(site: SpoolSite) -> None:
    """The start goes on."""
    stray = put(site, "7.slice", b"stray")
    (site.directory / "quarantine").write_bytes(b"no directory")
    async with site.open() as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        assert len(site.ready) == 1
    assert stray.read_bytes() == b"stray"


async def test_another_clock(site: SpoolSite) -> None:
    """If the clock was lost by which ages are told, they count from now."""
    site.now_ms = 10**14
    async with site.open() as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        spool.grow(AUDIO, START_MS).append(b"heard")
    site.now_ms, site.is_new_clock = 77, True
    async with site.open() as spool:
        (waiting,) = spool.take_waiting().values()
        assert len(waiting) == 2
        assert all(each.name.startswith("0000000000077-") for each in waiting)
        assert len([spool.read(TASK.task_id, each.name) for each in waiting]) == 2


async def test_a_disk_that_is_full_at_the_start(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be completed waits, and the next start takes it up again."""
    put(site, f"{NAME}.part", HEAD + b"heard")
    with monkeypatch.context() as patch:
        FaultyDisk(patch).room = 0
        async with site.open() as spool:
            assert read_contents(spool) == []
            assert spool.count_open(TASK.task_id) == 1
    async with site.open() as spool:
        assert read_contents(spool) == [b"heard repaired"]
    assert site.lost == []


async def test_a_file_that_cannot_be_completed_at_the_start(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are taken up; its content is on the disk for the next start."""
    for n in (1, 2):
        put(site, f"{n:013d}-{n:016x}.part", HEAD + b"heard %d" % n)
    with monkeypatch.context() as patch:
        FaultyDisk(patch).errors["fsync", f"{1:013d}-{1:016x}.part"] = errno.EIO
        async with site.open() as spool:
            assert read_contents(spool) == [b"heard 2 repaired"]
    async with site.open() as spool:
        assert [len(content) > 7 for content in read_contents(spool)] == [True, True]


async def test_a_spool_that_cannot_be_read(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clear error."""

    def refuse(path: object) -> object:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        async with site.open():
            pass


async def test_a_task_comes_back_with_another_bucket(site: SpoolSite) -> None:
    """What waits goes there, too; no name of it is used again."""
    async with site.open() as spool:
        spool.put(AUDIO, START_MS, b"first", {})
        await spool.flush()
        await spool.open(TASK, replace(BUCKET, name="other-125"))
        assert spool.load_bucket(TASK.task_id).name == "other-125"
        spool.put(AUDIO, START_MS, b"second", {})
        await spool.flush()
    assert [each.object_key for each in site.ready] == [KEY.format(21), KEY.format(22)]


async def test_a_task_of_a_newer_version(site: SpoolSite) -> None:
    """Its words are whole, but not ours: it is set aside like any other that cannot be told."""
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
    file = site.task_path() / "task"
    values = from_line(file.read_bytes())
    for changed in (values | {"vendor": 99}, {"task": TASK.task_id}, [TASK.task_id], "task"):
        file.write_bytes(to_line(changed))
        copy = site.copy(site.directory.parent / f"copy{len(str(changed))}")
        async with copy.open() as spool:
            assert spool.take_waiting() == {}
        assert sum(name.endswith(".slice") for name in copy.quarantined) == 1


@pytest.mark.parametrize("call", ["fsync", "rename"])
async def test_a_slice_that_is_whole_but_for_its_name_waits_for_the_disk(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A disk that is full at the start is no reason to tell of a loss."""
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {"k": "v"})
        await spool.flush()
    (whole,) = site.wholes
    data = whole.read_bytes()
    part = whole.rename(whole.with_suffix(".part"))
    with monkeypatch.context() as patch:
        disk = FaultyDisk(patch)
        disk.errors[call, part.name] = errno.ENOSPC
        async with site.open() as spool:
            assert spool.count_open(TASK.task_id) == 1
            assert (site.lost, site.quarantined) == ([], {})
    async with site.open() as spool:
        assert read_contents(spool) == [b"picture"]
    assert (site.lost, site.wholes[0].read_bytes()) == ([], data)


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_task_whose_file_is_damaged(site: SpoolSite, is_known: bool) -> None:
    """Who knows the task has its slices delivered; else all of it is set aside."""
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
    (site.task_path() / "task").write_bytes(b"no line of ours")
    if is_known:
        site.known = {TASK.task_id: (TASK, BUCKET)}
    async with site.open() as spool:
        assert read_contents(spool) == ([b"picture"] if is_known else [])
        assert spool.files_set_aside == 1
        if is_known:
            assert spool.load_bucket(TASK.task_id) == BUCKET
            assert site.quarantined == {"task": b"no line of ours"}
