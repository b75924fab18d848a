"""What the disk or the database refuses waits; as little as possible is lost, and all is told."""

import errno
import itertools
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.database import DatabaseError, Operation
from cloudslice.delivery import consignors, slices
from cloudslice.delivery.losses import Loss
from cloudslice.delivery.orders import Abandon, Append, Begin, Discard, Draft, Finish, Order
from cloudslice.delivery.quarantine import Quarantine
from cloudslice.delivery.slice_files import SliceFiles
from cloudslice.delivery.slice_recorder import Outcome, SliceRecorder
from cloudslice.delivery.slices import SliceRecord
from cloudslice.delivery.writer import RETRY_S, SliceWriter
from cloudslice.slices import SliceKind, SliceOrigin
from helpers.delivery import AUDIO, PICTURE, START_MS, TASK
from helpers.faulty_disk import FaultyDisk
from helpers.slice_store import ManualClock
from helpers.spool_bench import Bench, open_bench

FULL = "No space left on device"
BROKEN = "Input/output error"


class Stage:
    """A writer whose orders are carried out at once, on a disk that fails on command."""

    def __init__(self, bench: Bench, disk: FaultyDisk, files: SliceFiles) -> None:
        self.bench, self.disk = bench, disk
        self.clock = ManualClock()
        self.waiting: list[SliceRecord] = []
        self.gone: set[str] = set()
        self.lost: list[Loss] = []
        self.freed = 0
        recorder = SliceRecorder(bench.database, bench.record_loss, self._report)
        self.writer = SliceWriter(files, recorder, bench.repairs, self.clock.monotonic)

    def _report(self, outcome: Outcome) -> None:
        self.waiting += outcome.waiting
        self.gone |= outcome.gone
        self.lost += outcome.lost
        self.freed += outcome.freed

    def order(self, *orders: Order) -> None:
        self.writer.carry_out(orders)

    def retry(self, after_s: float = RETRY_S) -> None:
        """Time passes, and the writer is woken without anything new to do."""
        self.clock.now += after_s
        self.writer.carry_out(())

    def begin(self, *pieces: bytes, origin: SliceOrigin = AUDIO) -> Draft:
        draft = Draft(origin, START_MS, 0)
        self.order(Begin(draft), *(Append(draft, piece) for piece in pieces))
        return draft

    def contents(self) -> list[bytes]:
        """The files of the slices that wait for their upload."""
        return [
            (self.bench.directory / f"{record.id}.slice").read_bytes() for record in self.waiting
        ]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
def stage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    bench.directory.mkdir()
    with SliceFiles(bench.directory, Quarantine(bench.directory)) as files:
        yield Stage(bench, FaultyDisk(monkeypatch), files)


async def test_a_disk_that_is_full_for_a_while_costs_nothing(stage: Stage) -> None:
    """What is on the disk stays, what comes waits, and all is written when there is room."""
    draft = stage.begin(b"on the disk, ")
    stage.disk.room = 4
    stage.order(Append(draft, b"in part on it, "))
    assert (stage.bench.directory / "1.part").read_bytes() == b"on the disk, in p"
    stage.order(Append(draft, b"in memory, "))
    stage.order(Append(draft, b"last"), Finish(draft, START_MS, 60000, {"k": "v"}, b"ON"))
    assert stage.writer.is_behind
    assert stage.writer.backlog_bytes == len(b"art on it, in memory, last")
    stage.disk.room = 100
    stage.retry()
    assert not stage.writer.is_behind
    assert stage.contents() == [b"ON the disk, in part on it, in memory, last"]
    assert [(each.duration_ms, each.details) for each in stage.waiting] == [(60000, {"k": "v"})]
    assert (stage.lost, stage.freed, stage.writer.backlog_bytes) == ([], 0, 0)


async def test_a_picture_waits_for_a_full_disk(stage: Stage) -> None:
    stage.disk.room = 0
    draft = stage.begin(b"picture", origin=PICTURE)
    stage.order(Finish(draft, START_MS, 0, {}, b""))
    stage.disk.room = 100
    stage.retry()
    assert (stage.contents(), stage.lost) == ([b"picture"], [])


async def test_a_full_disk_is_tried_at_a_pace(stage: Stage) -> None:
    """Not with every piece that comes."""
    draft = stage.begin(b"x")
    stage.disk.room = 0
    stage.disk.calls.clear()
    for _ in range(10):
        stage.order(Append(draft, b"y"))
    assert stage.disk.calls.count(("pwrite", "1.part")) == 1
    stage.retry()
    assert stage.disk.calls.count(("pwrite", "1.part")) == 2


async def test_a_disk_may_be_full_for_long(stage: Stage) -> None:
    """Only the memory for what waits bounds it."""
    draft = stage.begin(b"audio")
    stage.disk.room = 0
    stage.order(Append(draft, b" and more"))
    for _ in range(100):
        stage.retry(after_s=60)
    stage.disk.room = 100
    stage.order(Finish(draft, START_MS, 1, {}, b""))
    stage.retry()
    assert (stage.contents(), stage.lost) == ([b"audio and more"], [])


async def test_what_passes_the_memory_cuts_the_slice(stage: Stage) -> None:
    """It ends with what came before, true in what it says of itself; the rest is told once."""
    draft = stage.begin(b"heard, ")
    stage.disk.room = 0
    stage.order(Append(draft, b"kept"))
    stage.order(Abandon(draft, "no memory"), Append(draft, b" lost"), Abandon(draft, "no memory"))
    stage.disk.room = 100
    stage.retry()
    stage.order(
        Append(draft, b" lost too"), Finish(draft, START_MS, 60000, {"samples": "all"}, b"HEAD")
    )
    assert stage.contents() == [b"heard, kept repaired"]
    (record,) = stage.waiting
    assert (record.duration_ms, record.details) == (11, {"repaired": "true"})
    assert stage.lost == [Loss(AUDIO, "no memory", is_partial=True)]
    assert stage.bench.recorded == {stage.lost[0]: 1}
    # What the repair has added is the spool's.
    assert stage.freed == len(b" lost") + len(b" lost too") - len(b" repaired")


@pytest.mark.parametrize(
    ("origin", "pieces"),
    [
        pytest.param(PICTURE, [b"half a picture"], id="a picture"),
        pytest.param(AUDIO, [], id="audio of which nothing came"),
    ],
)
async def test_what_cannot_be_cut_is_lost_whole(
    stage: Stage, origin: SliceOrigin, pieces: list[bytes]
) -> None:
    draft = stage.begin(*pieces, origin=origin)
    stage.order(Abandon(draft, "no memory"), Finish(draft, START_MS, 0, {}, b""))
    assert stage.lost == [Loss(origin, "no memory")]
    assert (stage.bench.files, await stage.bench.database.run(slices.find_unfinished)) == ([], [])


async def test_every_loss_is_told(stage: Stage) -> None:
    """A second one like the first, and a larger one, too."""
    for _ in range(2):
        stage.order(Abandon(stage.begin(b"x"), "no memory"))
    stage.order(*(Abandon(stage.begin(origin=PICTURE), "no memory") for _ in range(3)))
    assert stage.bench.recorded == {
        Loss(AUDIO, "no memory", is_partial=True): 2,
        Loss(PICTURE, "no memory"): 3,
    }


@pytest.mark.parametrize("call", [("fsync", "1.part"), ("rename", "1.part"), ("fsync", "spool")])
async def test_what_completes_a_slice_is_tried_again(stage: Stage, call: tuple[str, str]) -> None:
    """Whether its content, its name or the directory cannot be made durable."""
    draft = stage.begin(b"audio")
    stage.disk.errors[call] = errno.EIO
    stage.order(Finish(draft, START_MS, 1, {}, b""))
    assert (stage.waiting, stage.lost, stage.writer.is_behind) == ([], [], True)
    stage.disk.errors.clear()
    stage.retry()
    assert (stage.contents(), stage.lost, stage.writer.is_behind) == ([b"audio"], [], False)


async def test_what_a_failed_flush_may_have_dropped_is_written_anew(stage: Stage) -> None:
    """Linux takes pages for clean after an error: only pages written again are flushed again."""
    draft = stage.begin(b"audio")
    stage.disk.errors["fsync", "1.part"] = errno.EIO
    stage.order(Finish(draft, START_MS, 1, {}, b""))
    stage.disk.errors.clear()
    stage.disk.calls.clear()
    stage.retry()
    assert stage.disk.calls[:2] == [("pwrite", "1.part"), ("fsync", "1.part")]


async def test_a_file_that_stays_broken_is_cut_and_the_others_go_on(stage: Stage) -> None:
    """After a minute it ends with what is on the disk."""
    broken, well = stage.begin(b"heard"), stage.begin(b"other", origin=PICTURE)
    stage.disk.errors["pwrite", "1.part"] = errno.EIO
    stage.order(
        Append(broken, b" lost"),
        Finish(broken, START_MS, 60000, {}, b""),
        Finish(well, START_MS, 0, {}, b""),
    )
    assert stage.contents() == [b"other"]
    stage.retry(after_s=59)
    assert stage.lost == []
    stage.retry(after_s=1)
    stage.retry()
    assert stage.contents() == [b"other", b"heard repaired"]
    assert stage.lost == [Loss(AUDIO, BROKEN, is_partial=True)]


async def test_a_file_that_can_never_be_completed_is_set_aside(stage: Stage) -> None:
    """Nothing that is on the disk is deleted."""
    draft = stage.begin(b"heard")
    stage.disk.errors["fsync", "1.part"] = errno.EIO
    stage.order(Finish(draft, START_MS, 60000, {}, b""))
    for _ in range(4):
        stage.retry(after_s=60)
    assert stage.bench.quarantined == {"1.part": b"heard repaired"}
    assert stage.lost == [Loss(AUDIO, BROKEN, is_partial=True), Loss(AUDIO, BROKEN)]
    assert (stage.writer.is_behind, stage.bench.files) == (False, [])


async def test_a_file_that_is_taken_away_does_not_come_back_with_a_hole(stage: Stage) -> None:
    draft = stage.begin(b"heard")
    (stage.bench.directory / "1.part").unlink()
    stage.order(Append(draft, b" more"), Finish(draft, START_MS, 1, {}, b""))
    assert stage.lost == [Loss(AUDIO, "its file is gone from the spool")]
    assert (stage.bench.files, stage.waiting, stage.freed) == ([], [], 10)


async def test_a_file_that_got_shorter_is_not_delivered_as_whole(stage: Stage) -> None:
    draft = stage.begin(b"heard and said")
    os.truncate(stage.bench.directory / "1.part", 5)
    stage.order(Finish(draft, START_MS, 60000, {}, b""))
    for _ in range(2):
        stage.retry(after_s=60)
    assert stage.contents() == [b"heard repaired"]
    assert [loss.is_partial for loss in stage.lost] == [True]


@pytest.mark.parametrize("name", ["1.part", "1.slice"])
async def test_a_foreign_file_of_the_same_name_is_set_aside(stage: Stage, name: str) -> None:
    """It is neither written to nor replaced."""
    (stage.bench.directory / name).write_bytes(b"of an earlier life, and longer")
    draft = stage.begin(b"audio")
    stage.order(Finish(draft, START_MS, 1, {}, b""))
    assert stage.contents() == [b"audio"]
    assert stage.bench.quarantined == {name: b"of an earlier life, and longer"}


async def test_at_the_end_what_is_on_the_disk_stays(stage: Stage) -> None:
    """For the next start to repair; what is not on it is told as lost."""
    growing = stage.begin(b"grows")
    stage.disk.room = 0
    finished = stage.begin(origin=replace(AUDIO, user_id="anchor_2"))
    stage.order(Append(growing, b" lost"))
    stage.order(
        Append(finished, b"nothing of it is on the disk"), Finish(finished, START_MS, 1, {}, b"")
    )
    stage.writer.close(lambda: None)
    assert (stage.bench.directory / "1.part").read_bytes() == b"grows"
    reason = "the process ended before the disk took it"
    assert stage.lost == [Loss(AUDIO, reason, is_partial=True), Loss(finished.origin, reason)]
    assert sum(stage.bench.recorded.values()) == 2
    async with stage.bench.open() as spool:
        (record,) = await stage.bench.records()
        assert spool.path(record).read_bytes() == b"grows repaired"


async def test_at_the_end_all_is_tried_once_more(stage: Stage) -> None:
    draft = stage.begin(b"audio")
    stage.disk.room = 0
    stage.order(Append(draft, b" and more"), Finish(draft, START_MS, 1, {}, b""))
    stage.disk.room = 100
    stage.writer.close(lambda: None)
    assert (stage.contents(), stage.lost) == ([b"audio and more"], [])


@pytest.mark.parametrize(
    "refused", ["its beginning", "its end", "that it is whole", "that it is lost"]
)
async def test_a_database_that_refuses_is_tried_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """Nothing is lost by it, nothing is on record before its file may be touched."""
    database, perform, left = stage.bench.database, stage.bench.database.perform, [0]

    def refuse(operation: Operation[object]) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise DatabaseError("the disk is full")
        return perform(operation)

    monkeypatch.setattr(database, "perform", refuse)
    draft = Draft(AUDIO, START_MS, 0)
    if refused == "its beginning":
        left[0] = 1
    stage.order(Begin(draft), Append(draft, b"audio"))
    assert stage.writer.is_on_record == (refused != "its beginning")
    left[0] = {"its end": 1, "that it is whole": 2, "that it is lost": 1}.get(refused, 0)
    if refused == "that it is lost":
        stage.order(Discard(draft))
        draft = stage.begin(b"audio")
        left[0] = 2
    stage.order(Finish(draft, START_MS, 15000, {}, b""))
    stage.retry()
    assert (stage.contents(), stage.lost, stage.writer.is_behind) == ([b"audio"], [], False)
    assert await database.run(slices.find_unfinished) == []


async def test_an_odd_slice_is_lost_alone(stage: Stage) -> None:
    """One that the database cannot take for a reason of its own."""
    odd, well = Draft(replace(AUDIO, user_id="\ud800"), START_MS, 0), Draft(AUDIO, START_MS, 0)
    stage.order(Begin(odd), Append(odd, b"odd"), Begin(well), Append(well, b"well"))
    stage.order(Finish(odd, START_MS, 1, {}, b""), Finish(well, START_MS, 1, {}, b""))
    assert stage.contents() == [b"well"]
    assert [loss.origin for loss in stage.lost] == [odd.origin]


async def test_a_loss_that_cannot_be_recorded_holds_up_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends alone, and the spool tells of it all the same; the rest of its batch goes on."""
    add_lost = consignors.add_lost

    def fail_for_one(connection: sqlite3.Connection, task_id: str, count: int) -> None:
        add_lost(connection, task_id, count)
        if count == 1:
            raise ValueError("a bug")

    monkeypatch.setattr(consignors, "add_lost", fail_for_one)
    odd, well = stage.begin(b"audio"), stage.begin(b"picture", origin=PICTURE)
    lost = [stage.begin(origin=PICTURE) for _ in range(2)]
    stage.order(
        Abandon(odd, "no memory"),
        *(Abandon(each, "no memory") for each in lost),
        Finish(well, START_MS, 0, {}, b""),
    )
    assert stage.contents() == [b"picture", b"audio repaired"]
    assert [loss.origin for loss in stage.lost] == [AUDIO, PICTURE, PICTURE]
    assert (stage.writer.is_behind, stage.writer.is_on_record) == (False, True)
    query = "SELECT lost FROM consignors"
    assert await stage.bench.database.run(lambda c: c.execute(query).fetchone()) == (2,)


async def test_a_whole_slice_that_cannot_be_recorded_holds_up_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file stays, and the next start takes it up."""
    mark_waiting = slices.mark_waiting

    def fail_for_first(
        connection: sqlite3.Connection, slice_id: int, size: int, sha256: str
    ) -> SliceRecord | None:
        found = mark_waiting(connection, slice_id, size, sha256)
        if slice_id == 1:
            raise ValueError("a bug")
        return found

    drafts = [stage.begin(b"audio %d" % n) for n in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(slices, "mark_waiting", fail_for_first)
        stage.order(*(Finish(each, START_MS, 1, {}, b"") for each in drafts))
    assert stage.contents() == [b"audio 1", b"audio 2"]
    assert not stage.writer.is_behind
    async with stage.bench.open():
        assert [record.id for record in await stage.bench.records()] == [1, 2, 3]


async def test_a_refusal_among_records_made_one_by_one_repeats_none(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each slice is handed over once, though the database refuses in the middle."""
    perform, calls = stage.bench.database.perform, itertools.count(1)
    errors = {2: ValueError("a bug"), 4: DatabaseError("the disk is full")}

    def fail(operation: Operation[object]) -> object:
        if (error := errors.get(next(calls))) is not None:
            raise error
        return perform(operation)

    drafts = [stage.begin(b"audio %d" % n) for n in range(3)]
    monkeypatch.setattr(stage.bench.database, "perform", fail)
    stage.order(*(Finish(each, START_MS, 1, {}, b"") for each in drafts))
    assert (stage.contents(), stage.writer.is_behind) == ([b"audio 0"], True)
    stage.retry()
    assert stage.contents() == [b"audio 0", b"audio 1", b"audio 2"]
    assert not stage.writer.is_behind


async def test_who_waits_for_a_slice_hears_that_it_came_to_nothing(stage: Stage) -> None:
    """However it did; its row is off the record by then."""
    discarded, cut = stage.begin(b"x"), stage.begin(b"x")
    stage.bench.repairs[SliceKind.AUDIO] = lambda _path: None
    for order in (Discard(discarded), Abandon(cut, "no memory")):
        stage.gone.clear()
        stage.order(order)
        assert stage.gone == {TASK.task_id}
    assert await stage.bench.database.run(slices.find_unfinished) == []


async def test_at_the_end_room_is_made_to_record_what_is_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, and only if the database has none."""
    perform, made = stage.bench.database.perform, []

    def refuse(operation: Operation[object]) -> object:
        if not made:
            raise DatabaseError("the disk is full")
        return perform(operation)

    draft = stage.begin(b"heard")
    stage.disk.room = 0
    stage.order(Append(draft, b" lost"))
    monkeypatch.setattr(stage.bench.database, "perform", refuse)
    stage.writer.close(lambda: made.append("room"))
    assert made == ["room"]
    assert [loss.is_partial for loss in stage.bench.recorded.elements()] == [True]
