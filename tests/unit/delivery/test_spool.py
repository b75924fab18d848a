"""The spool: durable, in order, right again after a kill at any moment."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.clock import SystemClock
from cloudslice.database import Database, DatabaseError, Operation
from cloudslice.delivery import consignors, slices
from cloudslice.delivery import spool as spool_module
from cloudslice.delivery import writer as writer_module
from cloudslice.delivery.model import Bucket, SliceKind, Vendor
from cloudslice.delivery.orders import Append, Begin, Draft, Finish
from cloudslice.delivery.schema import SCHEMA
from cloudslice.delivery.slice_files import SliceFiles
from cloudslice.delivery.slices import SliceRecord
from cloudslice.delivery.spool import Spool
from cloudslice.delivery.writer import Loss, Outcome, SliceWriter
from helpers.delivery import (
    AUDIO,
    BOX,
    PICTURE,
    REPAIRS,
    START_MS,
    TASK,
    repair_by_length,
)

BUCKET = Bucket(Vendor.COS, "r", "b", "AK", "SK")


class Bench:
    """A spool over a directory, and what it has told."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory = directory
        self.database = database
        self.waiting: list[SliceRecord] = []
        self.lost: list[Loss] = []
        self.repairs = dict(REPAIRS)

    def open(self) -> Spool:
        return Spool(
            self.directory,
            self.database,
            self.repairs,
            SystemClock().utc_ms,
            on_waiting=self.waiting.extend,
            on_lost=self.lost.append,
        )

    async def records(self) -> list[SliceRecord]:
        return await self.database.run(lambda c: list(slices.find_waiting(c)))

    async def prepare(self, *, duration_ms: int | None, waiting: bool, **files: bytes) -> int:
        """Put a slice on record and files beside it as a killed process may have left them."""

        def insert(connection: slices.sqlite3.Connection) -> int:
            slice_id = slices.register(connection, AUDIO, START_MS, 0)
            if duration_ms is not None:
                slices.describe(connection, slice_id, duration_ms, {"k": "v"})
            if waiting:
                slices.mark_waiting(connection, slice_id, 5, "hash")
            return slice_id

        slice_id = await self.database.run(insert)
        self.directory.mkdir(exist_ok=True)
        for extension, data in files.items():
            (self.directory / f"{slice_id}.{extension}").write_bytes(data)
        return slice_id

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Database(tmp_path / "test.db", [SCHEMA]) as database:
        await database.run(lambda c: consignors.insert(c, TASK, BUCKET, BOX))
        yield Bench(tmp_path / "spool", database)


async def test_a_picture_is_durable_after_a_flush(bench: Bench) -> None:
    """File, record and hash agree, and the uploader is told."""
    async with bench.open() as spool:
        spool.put(PICTURE, START_MS, b"picture", {"width": "640"})
        await spool.flush()
        (record,) = await bench.records()
        assert spool.path(record).read_bytes() == b"picture"
        assert spool.used_bytes == 7
    assert (record.size, record.duration_ms, record.details) == (7, 0, {"width": "640"})
    assert record.sha256 == hashlib.sha256(b"picture").hexdigest()
    assert bench.waiting == [record]


async def test_a_slice_is_told_before_it_can_be_found(bench: Bench) -> None:
    """Who asks the database and finds a slice there has been told of it: never the other way."""
    loop = asyncio.get_running_loop()
    told: list[SliceRecord] = []
    searches: list[Future[list[SliceRecord]]] = []

    def report(outcome: Outcome) -> None:
        told.extend(outcome.waiting)
        searches.append(asyncio.run_coroutine_threadsafe(bench.records(), loop))
        with pytest.raises(TimeoutError):
            searches[0].result(timeout=0.1)

    def write() -> None:
        with SliceFiles(bench.directory) as files:
            writer = SliceWriter(files, bench.database, report)
            draft = Draft(PICTURE, START_MS, 0)
            writer.carry_out([Begin(draft), Append(draft, b"x"), Finish(draft, 0, {}, b"")])

    bench.directory.mkdir()
    await asyncio.to_thread(write)
    assert await asyncio.wrap_future(searches[0]) == told
    assert [record.origin for record in told] == [PICTURE]


async def test_a_slice_grows_and_gets_its_head(bench: Bench) -> None:
    """Pieces are put together in order; the first bytes are replaced at the end."""
    async with bench.open() as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"head")
        await spool.flush()
        assert bench.files == ["1.part"]
        growing.append(b" and tail")
        growing.finish(15000, {}, head=b"HEAD")
        await spool.flush()
        (record,) = await bench.records()
        assert spool.path(record).read_bytes() == b"HEAD and tail"
        assert (record.duration_ms, record.size, spool.used_bytes) == (15000, 13, 13)
    assert bench.files == ["1.slice"]


async def test_a_discarded_slice_leaves_nothing(bench: Bench) -> None:
    """Neither file nor record nor space."""
    async with bench.open() as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"x")
        await spool.flush()
        growing.discard()
        await spool.flush()
        assert (bench.files, await bench.records(), spool.used_bytes) == ([], [], 0)
    assert bench.lost == []


@pytest.mark.parametrize("call", ["append", "finish", "discard"])
async def test_a_finished_slice_cannot_be_written(bench: Bench, call: str) -> None:
    async with bench.open() as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"x")
        growing.finish(1, {})
        calls: dict[str, Callable[[], None]] = {
            "append": lambda: growing.append(b"y"),
            "finish": lambda: growing.finish(1, {}),
            "discard": growing.discard,
        }
        with pytest.raises(RuntimeError, match="finished or discarded"):
            calls[call]()


async def test_a_removed_slice_frees_its_space(bench: Bench) -> None:
    async with bench.open() as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        (record,) = await bench.records()
        spool.remove(record)
        await spool.flush()
        assert (bench.files, spool.used_bytes) == ([], 0)


async def test_many_slices_at_once(bench: Bench) -> None:
    """A thousand slices grow side by side and all arrive."""
    origins = [replace(AUDIO, user_id=f"anchor_{n}") for n in range(1000)]
    async with bench.open() as spool:
        growing = [spool.grow(origin, START_MS) for origin in origins]
        for piece in (b"one ", b"two"):
            for each in growing:
                each.append(piece)
        for each in growing:
            each.finish(2000, {})
        await spool.flush()
        records = await bench.records()
        assert sorted(record.origin.user_id for record in records) == sorted(
            origin.user_id for origin in origins
        )
        assert all(record.size == 7 for record in records)
        assert spool.used_bytes == 7000


async def test_a_slice_of_an_unknown_task_is_lost_alone(bench: Bench) -> None:
    """It is told, its space is free, and the others are not disturbed."""
    async with bench.open() as spool:
        spool.put(replace(PICTURE, task_id="other"), START_MS, b"lost", {})
        spool.put(PICTURE, START_MS, b"kept", {})
        await spool.flush()
        assert [record.origin for record in await bench.records()] == [PICTURE]
        assert spool.used_bytes == 4
    assert [loss.reason for loss in bench.lost] == ["no task other"]


async def test_a_failing_disk_loses_the_slice_not_the_service(bench: Bench) -> None:
    """What cannot be written is told as lost, once; when the disk is well again, all is well."""
    async with bench.open() as spool:
        growing = spool.grow(AUDIO, START_MS)
        await spool.flush()
        (bench.directory / "1.part").symlink_to("/dev/full")
        growing.append(b"x")
        growing.append(b"y")
        growing.finish(1000, {})
        await spool.flush()
        assert spool.used_bytes == 0
        spool.put(PICTURE, START_MS, b"kept", {})
        await spool.flush()
        assert [record.origin for record in await bench.records()] == [PICTURE]
    assert [loss.origin for loss in bench.lost] == [AUDIO]
    assert "No space left on device" in bench.lost[0].reason


@pytest.mark.parametrize(
    "refusals",
    [
        pytest.param(2, id="for a moment"),
        pytest.param(6, id="until the next batch"),
    ],
)
async def test_a_database_that_refuses_loses_no_whole_slice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    """The file is whole and stays; it is put on record as soon as that is possible."""
    monkeypatch.setattr(writer_module, "_COMMIT_PAUSES_S", (0, 0, 0, 0))
    async with bench.open() as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"audio")
        await spool.flush()
        perform, left = bench.database.perform, [refusals]

        def refuse(operation: Operation[object]) -> object:
            # The first of the batch's two transactions, which describes the slice, goes through.
            left[0] -= 1
            if left[0] < refusals - 1 and left[0] >= 0:
                raise DatabaseError("the disk is full")
            return perform(operation)

        monkeypatch.setattr(bench.database, "perform", refuse)
        growing.finish(15000, {})
        await spool.flush()
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        assert [record.size for record in await bench.records()] == [5, 7]
    assert bench.lost == []


async def test_a_disk_that_is_too_slow_bounds_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the backlog a slice is lost rather than held in memory."""
    monkeypatch.setattr(spool_module, "_BACKLOG_BYTES", 100)
    async with bench.open() as spool:
        spool.put(PICTURE, START_MS, bytes(101), {})
        await spool.flush()
        spool.put(PICTURE, START_MS, bytes(100), {})
        await spool.flush()
        assert [record.size for record in await bench.records()] == [100]
        assert spool.used_bytes == 100
    assert [loss.reason for loss in bench.lost] == ["the disk is too slow"]


async def test_a_growing_slice_is_repaired_at_the_next_start(bench: Bench) -> None:
    """What was written until the end of the process is delivered, and says that it was repaired."""
    async with bench.open() as spool:
        spool.grow(AUDIO, START_MS).append(b"heard")
    async with bench.open() as spool:
        (record,) = await bench.records()
        assert spool.path(record).read_bytes() == b"heard repaired"
        assert (record.duration_ms, record.details) == (5, {"repaired": "true"})
        assert record.sha256 == hashlib.sha256(b"heard repaired").hexdigest()
        assert spool.used_bytes == record.size == 14


CRASHES = [
    pytest.param({"duration_ms": None, "waiting": False}, None, id="on record, no file yet"),
    pytest.param(
        {"duration_ms": None, "waiting": False, "part": b"heard"}, (b"heard repaired", 5),
        id="growing",
    ),
    pytest.param({"duration_ms": None, "waiting": False, "part": b""}, None, id="nothing in it"),
    pytest.param(
        {"duration_ms": 9, "waiting": False, "part": b"heard"}, (b"heard repaired", 5),
        id="about to be finished",
    ),
    pytest.param(
        {"duration_ms": 9, "waiting": False, "slice": b"whole"}, (b"whole", 9),
        id="whole, not on record as such",
    ),
    pytest.param(
        {"duration_ms": 9, "waiting": True, "slice": b"whole"}, (b"whole", 9),
        id="waiting",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("left", "expected"), CRASHES)
async def test_every_crash_point_is_put_right(
    bench: Bench, left: dict[str, object], expected: tuple[bytes, int] | None
) -> None:
    """Whatever step a kill came after: the slice is taken up whole, or was never there."""
    await bench.prepare(**left)
    async with bench.open() as spool:
        records = await bench.records()
        found = [(spool.path(record).read_bytes(), record.duration_ms) for record in records]
        assert found == ([] if expected is None else [expected])
        assert len(bench.files) == len(records)
    assert bench.lost == []
    assert await bench.database.run(slices.find_unfinished) == []


async def test_stray_files_are_removed(bench: Bench) -> None:
    """A file off the record is one whose upload was recorded just before the end."""
    await bench.prepare(duration_ms=9, waiting=True, slice=b"whole")
    (bench.directory / "77.slice").write_bytes(b"delivered")
    (bench.directory / "78.part").write_bytes(b"forgotten")
    async with bench.open():
        assert bench.files == ["1.slice"]


async def test_a_file_that_somebody_took_away_is_told(bench: Bench) -> None:
    await bench.prepare(duration_ms=9, waiting=True)
    async with bench.open():
        assert await bench.records() == []
    assert [loss.reason for loss in bench.lost] == ["its file is gone from the spool"]


async def test_an_unfinished_picture_is_discarded(bench: Bench) -> None:
    """There is no repair for it."""
    async with bench.open() as spool:
        spool.grow(PICTURE, START_MS).append(b"half a picture")
    async with bench.open():
        assert (bench.files, await bench.records()) == ([], [])


async def test_a_repair_that_fails_spoils_only_its_slice(bench: Bench) -> None:
    """The others are taken up, and the loss is told."""

    def repair(path: Path) -> int | None:
        if path.read_bytes() == b"bad":
            raise ValueError("cannot be parsed")
        return repair_by_length(path)

    bench.repairs[SliceKind.AUDIO] = repair
    for data in (b"bad", b"good"):
        await bench.prepare(duration_ms=None, waiting=False, part=data)
    async with bench.open():
        assert [record.duration_ms for record in await bench.records()] == [4]
    assert [loss.reason for loss in bench.lost] == ["its file cannot be repaired: cannot be parsed"]


async def test_a_crash_of_the_thread_is_not_silent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches the spool gets the error."""

    def crash(*_args: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("cloudslice.delivery.writer.SliceWriter.carry_out", crash)
    async with bench.open() as spool:
        watching = asyncio.create_task(spool.watch())
        spool.put(PICTURE, START_MS, b"x", {})
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await watching
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await spool.flush()
