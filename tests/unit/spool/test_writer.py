"""What the disk refuses waits; as little as possible is lost, and all is told."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.events import SliceLost
from cloudslice.slices import Repaired, SliceKind, SliceOrigin
from cloudslice.spool.drafts import Draft, Finish
from cloudslice.spool.task_directory import TaskDirectory
from helpers.faulty_disk import FaultyDisk
from helpers.spool_site import (
    AUDIO,
    BOX,
    BUCKET,
    PICTURE,
    START_MS,
    TASK,
    SpoolSite,
    read_contents,
)
from helpers.writer_stage import WriterStage

BROKEN = "Input/output error"
AMPLE = 10_000
"""Room for what tests write, in bytes."""


class Stage(WriterStage):
    """On a disk that fails on command."""

    def __init__(self, directory: Path, disk: FaultyDisk) -> None:
        super().__init__(directory)
        self.disk = disk


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path / "spool", FaultyDisk(monkeypatch))


def test_a_slice_is_ready_when_its_name_is_durable(stage: Stage) -> None:
    """Its content is flushed before it has its name, and that before it is told."""
    draft = stage.begin(b"audio")
    stage.disk.calls.clear()
    stage.finish(draft, duration_ms=60000)
    made_durable = [(call, name) for call, name in stage.disk.calls if call in ("fsync", "rename")]
    part = f"{draft.name}.part"
    assert made_durable == [("fsync", part), ("rename", part), ("fsync", TASK.task_id)]
    assert [(each.duration_ms, each.origin, each.size) for each in stage.ready] == [
        (60000, AUDIO, 5)
    ]
    assert stage.contents() == [b"audio"]


def test_a_disk_that_is_full_for_a_while_costs_nothing(stage: Stage) -> None:
    """What is on the disk stays, what comes waits, and all is written when there is room."""
    draft = stage.begin(b"on the disk, ")
    stage.disk.room = 4
    stage.append(draft, b"in part on it, ")
    assert stage.part(draft).read_bytes().endswith(b"on the disk, in p")
    stage.append(draft, b"in memory, ")
    stage.writer.append(draft, b"last")
    stage.writer.finish(draft, Finish(START_MS, 60000, {"k": "v"}, b"ON"))
    stage.work()
    assert stage.writer.is_behind
    assert stage.backlog() == len(b"art on it, in memory, last")
    stage.disk.room = AMPLE
    stage.retry()
    assert not stage.writer.is_behind
    assert stage.contents() == [b"ON the disk, in part on it, in memory, last"]
    assert [(each.duration_ms, each.details) for each in stage.ready] == [(60000, {"k": "v"})]
    assert (stage.lost, stage.backlog()) == ([], 0)


@pytest.mark.parametrize("room", range(0, 700, 20))
def test_wherever_the_disk_becomes_full(stage: Stage, room: int) -> None:
    """In the head, the content, the names or the tail of a slice: it is whole in the end."""
    stage.disk.room = room
    draft = stage.begin(b"heard " * 20)
    stage.append(draft, b"and more")
    stage.finish(draft)
    for _ in range(3):
        stage.retry()
        stage.disk.room += AMPLE
    assert stage.contents() == [b"heard " * 20 + b"and more"]
    assert (stage.lost, stage.writer.is_behind) == ([], False)


def test_a_picture_waits_for_a_full_disk(stage: Stage) -> None:
    stage.disk.room = 0
    stage.finish(stage.begin(b"picture", origin=PICTURE))
    stage.disk.room = AMPLE
    stage.retry()
    assert (stage.contents(), stage.lost) == ([b"picture"], [])


def test_a_full_disk_is_tried_at_a_pace(stage: Stage) -> None:
    """Not with every piece that comes."""
    draft = stage.begin(b"x")
    stage.disk.room = 0
    stage.disk.calls.clear()
    for _ in range(10):
        stage.append(draft, b"y")
    call = ("pwrite", f"{draft.name}.part")
    assert stage.disk.calls.count(call) == 1
    stage.retry()
    assert stage.disk.calls.count(call) == 2


def test_a_disk_may_be_full_for_long(stage: Stage) -> None:
    """Only the memory for what waits bounds it."""
    draft = stage.begin(b"audio")
    stage.disk.room = 0
    stage.append(draft, b" and more")
    for _ in range(100):
        stage.retry(after_s=60)
    stage.disk.room = AMPLE
    stage.finish(draft)
    stage.retry()
    assert (stage.contents(), stage.lost) == ([b"audio and more"], [])


def test_what_passes_the_memory_cuts_the_slice(stage: Stage) -> None:
    """It ends with what came before, true in what it says of itself; the rest is told once."""
    draft = stage.begin(b"heard, ")
    stage.disk.room = 0
    stage.append(draft, b"kept")
    stage.abandon(draft)
    stage.append(draft, b" lost")
    stage.abandon(draft)
    stage.disk.room = AMPLE
    stage.retry()
    stage.writer.append(draft, b" lost too")
    stage.writer.finish(draft, Finish(START_MS, 60000, {"samples": "all"}, b"HEAD"))
    stage.work()
    assert stage.contents() == [b"heard, kept repaired"]
    (whole,) = stage.ready
    assert (whole.duration_ms, whole.details) == (11, {"repaired": "true"})
    assert stage.lost == [SliceLost(AUDIO, "no memory", is_partial=True)]


def test_what_is_free_is_told(stage: Stage) -> None:
    """All that was handed in, less what the files take that are left."""
    cut, well = stage.begin(b"heard"), stage.begin(b"whole")
    stage.abandon(cut, stage.begin(b"nothing", origin=PICTURE))
    stage.append(cut, b" lost")
    stage.finish(well)
    handed_in = len(b"heard lostwholenothing")
    sizes = [stage.whole(each.name).stat().st_size for each in stage.ready]
    assert (len(sizes), handed_in - stage.freed) == (2, sum(sizes))
    for each in stage.ready:
        stage.tasks.remove(TASK.task_id, each.name)
    stage.work()
    assert (handed_in - stage.freed, stage.slice_files()) == (0, [])


@pytest.mark.parametrize(
    ("origin", "pieces"),
    [
        pytest.param(PICTURE, [b"half a picture"], id="a picture"),
        pytest.param(AUDIO, [], id="audio of which nothing came"),
    ],
)
def test_what_cannot_be_cut_is_lost_whole(
    stage: Stage, origin: SliceOrigin, pieces: list[bytes]
) -> None:
    draft = stage.begin(*pieces, origin=origin)
    stage.abandon(draft)
    stage.finish(draft)
    assert stage.lost == [SliceLost(origin, "no memory")]
    assert (stage.slice_files(), stage.gone) == ([], [TASK.task_id])


def test_every_loss_is_told(stage: Stage) -> None:
    """A second one like the first, too."""
    for _ in range(2):
        stage.abandon(stage.begin(b"x"))
    stage.abandon(*(stage.begin(origin=PICTURE) for _ in range(3)))
    assert (
        stage.lost
        == [SliceLost(AUDIO, "no memory", is_partial=True)] * 2
        + [SliceLost(PICTURE, "no memory")] * 3
    )


@pytest.mark.parametrize("call", ["fsync", "rename", "fsync of the directory"])
def test_what_completes_a_slice_is_tried_again(stage: Stage, call: str) -> None:
    """Whether its content, its name or the directory cannot be made durable."""
    draft = stage.begin(b"audio")
    call, _, of_directory = call.partition(" ")
    name = TASK.task_id if of_directory else f"{draft.name}.part"
    stage.disk.errors[call, name] = errno.EIO
    stage.finish(draft)
    assert (stage.ready, stage.lost, stage.writer.is_behind) == ([], [], True)
    stage.disk.errors.clear()
    stage.retry()
    assert (stage.contents(), stage.lost, stage.writer.is_behind) == ([b"audio"], [], False)


def test_what_a_failed_flush_may_have_dropped_is_written_anew(stage: Stage) -> None:
    """Linux takes pages for clean after an error: only pages written again are flushed again."""
    draft = stage.begin(b"audio")
    part = f"{draft.name}.part"
    stage.disk.errors["fsync", part] = errno.EIO
    stage.finish(draft)
    stage.disk.errors.clear()
    stage.disk.calls.clear()
    written: list[tuple[int, bytes]] = []
    pwrite = os.pwrite

    def note(descriptor: int, data: bytes, at: int) -> int:
        written.append((at, bytes(data)))
        return pwrite(descriptor, data, at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", note)
        stage.retry()
    assert written[0] == (0, draft.head + b"audio")
    assert [each for each in stage.disk.calls if each == ("fsync", part)] == [("fsync", part)]


def test_what_a_failed_flush_has_dropped_is_not_delivered(stage: Stage) -> None:
    """The kernel may forget pages that it could not write: then the file holds something else."""
    draft = stage.begin(b"heard and said")
    stage.disk.errors["fsync", f"{draft.name}.part"] = errno.EIO
    stage.finish(draft)
    stage.disk.errors.clear()
    data = stage.part(draft).read_bytes()
    stage.part(draft).write_bytes(data.replace(b" and ", b"\0" * 5))
    stage.retry()
    assert (stage.ready, stage.writer.is_behind) == ([], True)
    for _ in range(2):
        stage.retry(after_s=60)
    assert stage.contents() == [b"heard\0\0\0\0\0said repaired"]
    assert stage.lost == [SliceLost(AUDIO, "the file is not what was written", is_partial=True)]


def test_a_file_that_stays_broken_is_cut_and_the_others_go_on(stage: Stage) -> None:
    """After a minute it ends with what is on the disk."""
    broken, well = stage.begin(b"heard"), stage.begin(b"other", origin=PICTURE)
    stage.disk.errors["pwrite", f"{broken.name}.part"] = errno.EIO
    stage.writer.append(broken, b" lost")
    stage.finish(broken, well)
    assert stage.contents() == [b"other"]
    stage.retry(after_s=59)
    assert stage.lost == []
    stage.retry(after_s=1)
    stage.disk.errors.clear()
    stage.retry()
    assert stage.contents() == [b"other", b"heard repaired"]
    assert stage.lost == [SliceLost(AUDIO, BROKEN, is_partial=True)]


def test_a_file_that_can_never_be_completed_is_set_aside(stage: Stage) -> None:
    """Nothing that is on the disk is deleted."""
    draft = stage.begin(b"heard")
    part = f"{draft.name}.part"
    stage.disk.errors["fsync", part] = errno.EIO
    stage.finish(draft)
    for _ in range(4):
        stage.retry(after_s=60)
    (aside,) = (stage.directory / "quarantine").iterdir()
    assert aside.name == part
    assert aside.read_bytes().startswith(draft.head + b"heard")
    assert stage.lost == [
        SliceLost(AUDIO, BROKEN, is_partial=True),
        SliceLost(AUDIO, BROKEN),
    ]
    assert (stage.writer.is_behind, stage.slice_files()) == (False, [])


def test_a_file_that_can_be_neither_completed_nor_set_aside_stays(stage: Stage) -> None:
    """It may be all that is left of what somebody said: the next start looks at it again."""
    draft = stage.begin(b"heard")
    part = f"{draft.name}.part"
    (stage.directory / "quarantine").write_bytes(b"in the way")
    stage.disk.errors["fsync", part] = errno.EIO
    stage.finish(draft)
    for _ in range(4):
        stage.retry(after_s=60)
    assert [loss.is_partial for loss in stage.lost] == [True, False]
    assert (stage.writer.is_behind, stage.slice_files()) == (False, [part])


def test_a_file_that_is_taken_away_does_not_come_back_with_a_hole(stage: Stage) -> None:
    draft = stage.begin(b"heard")
    stage.part(draft).unlink()
    stage.append(draft, b" more")
    stage.finish(draft)
    assert stage.lost == [SliceLost(AUDIO, "its file is gone from the spool")]
    assert (stage.slice_files(), stage.ready, stage.freed) == ([], [], 10)


def test_a_file_that_got_shorter_is_not_delivered_as_whole(stage: Stage) -> None:
    draft = stage.begin(b"heard and said")
    os.truncate(stage.part(draft), len(draft.head) + 5)
    stage.finish(draft)
    for _ in range(2):
        stage.retry(after_s=60)
    assert stage.contents() == [b"heard repaired"]
    assert [loss.is_partial for loss in stage.lost] == [True]


def test_a_directory_that_is_taken_away_is_made_anew(stage: Stage, tmp_path: Path) -> None:
    """What grew in it is lost and told; what begins later is kept, and its bucket is known."""
    draft = stage.begin(b"heard")
    (stage.directory / TASK.task_id).rename(tmp_path / "away")
    stage.append(draft, b" more")
    later = stage.begin(b"later")
    stage.finish(later)
    assert stage.contents() == [b"later"]
    assert [loss.reason for loss in stage.lost] == ["its file is gone from the spool"]
    loaded = TaskDirectory.load(stage.directory / TASK.task_id, BOX)
    assert (loaded.task, loaded.load_bucket()) == (TASK, BUCKET)


async def test_at_the_end_what_is_on_the_disk_stays(stage: Stage) -> None:
    """For the next start to repair; what is not on it is told as lost."""
    growing = stage.begin(b"grows")
    stage.disk.room = 0
    finished = stage.begin(origin=replace(AUDIO, user_id="anchor_2"))
    stage.append(growing, b" lost")
    stage.append(finished, b"nothing of it is on the disk")
    stage.finish(finished)
    stage.close()
    assert stage.part(growing).read_bytes().endswith(b"grows")
    reason = "the process ended before the disk took it"
    assert stage.lost == [
        SliceLost(AUDIO, reason, is_partial=True),
        SliceLost(finished.origin, reason),
    ]
    stage.disk.room = AMPLE
    async with SpoolSite(stage.directory).open() as spool:
        assert read_contents(spool) == [b"grows repaired"]


def test_at_the_end_all_is_tried_once_more(stage: Stage) -> None:
    draft = stage.begin(b"audio")
    stage.disk.room = 0
    stage.append(draft, b" and more")
    stage.finish(draft)
    stage.disk.room = AMPLE
    stage.close()
    assert (stage.contents(), stage.lost) == ([b"audio and more"], [])


ODD: list[tuple[str, Callable[[Stage, Draft], None]]] = [
    ("details", lambda s, d: s.writer.finish(d, Finish(START_MS, 1, {"k": object()}))),  # type: ignore[dict-item]
    ("time", lambda s, d: s.writer.finish(d, Finish(10**18, 1, {}))),
    ("piece", lambda s, d: s.writer.append(d, "text")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("odd", [each for _, each in ODD], ids=[name for name, _ in ODD])
def test_an_odd_slice_is_lost_alone(stage: Stage, odd: Callable[[Stage, Draft], None]) -> None:
    """An error that nobody foresaw costs one slice, whose file is set aside; it is told."""
    draft, well = stage.begin(b"odd"), stage.begin(b"well")
    odd(stage, draft)
    stage.finish(well)
    assert stage.contents() == [b"well"]
    assert [loss.origin for loss in stage.lost] == [AUDIO]
    assert (stage.writer.is_behind, stage.writer.faults.errors) == (False, 1)
    assert stage.quarantine.count == 1
    stage.finish(stage.begin(b"next"))
    assert stage.contents() == [b"well", b"next"]


def test_a_repair_that_fails_costs_its_slice_alone(stage: Stage) -> None:
    def fail(_data: bytes) -> Repaired | None:
        raise ZeroDivisionError("a bug")

    stage.repairs[SliceKind.AUDIO] = fail
    stage.abandon(stage.begin(b"odd"))
    stage.finish(stage.begin(b"well"))
    assert stage.contents() == [b"well"]
    assert [loss.is_partial for loss in stage.lost] == [True, False]
    assert stage.quarantine.count == 1


def test_a_slice_of_an_unknown_task_is_lost_alone(stage: Stage) -> None:
    other = replace(PICTURE, task_id="other")
    stage.finish(stage.begin(b"lost", origin=other), stage.begin(b"kept"))
    assert stage.contents() == [b"kept"]
    assert stage.lost == [SliceLost(other, "its task is not known")]
    assert stage.gone == ["other"]


def test_who_waits_for_a_slice_hears_that_it_came_to_nothing(stage: Stage) -> None:
    """However it did."""
    picture, cut = stage.begin(b"x", origin=PICTURE), stage.begin(b"x")
    stage.repairs[SliceKind.AUDIO] = lambda _data: None
    stage.abandon(picture)
    assert stage.gone == [TASK.task_id]
    stage.abandon(cut)
    assert stage.gone == [TASK.task_id] * 2
    assert stage.slice_files() == []


def test_many_are_completed_together(stage: Stage) -> None:
    """More than are open at a time; none stays open, and one flush of the directory is enough."""
    before = len(os.listdir("/proc/self/fd"))
    drafts = [stage.begin(b"%d" % number) for number in range(200)]
    stage.disk.calls.clear()
    stage.finish(*drafts)
    assert sorted(stage.contents()) == sorted(b"%d" % number for number in range(200))
    assert stage.disk.calls.count(("fsync", TASK.task_id)) == 1
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_fails_fails_alone(stage: Stage) -> None:
    """Whether its file cannot be written, flushed or renamed."""
    drafts = [stage.begin(b"%d" % number) for number in range(5)]
    for number, call in ((1, "pwrite"), (2, "fsync"), (3, "rename")):
        stage.disk.errors[call, f"{drafts[number].name}.part"] = errno.EIO
    stage.finish(*drafts)
    assert stage.contents() == [b"0", b"4"]
    stage.disk.errors.clear()
    stage.retry()
    assert stage.contents() == [b"0", b"4", b"1", b"2", b"3"]
    assert len({each.object_key for each in stage.ready}) == 5
