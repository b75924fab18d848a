"""The spool: durable, in order, and never silent."""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.clock import SystemClock
from cloudslice.delivery import spool as spool_module
from cloudslice.delivery.orders import Append, Begin, Draft, Finish
from cloudslice.delivery.quarantine import Quarantine
from cloudslice.delivery.slice_files import SliceFiles
from cloudslice.delivery.slice_recorder import Outcome, SliceRecorder
from cloudslice.delivery.slices import SliceRecord
from cloudslice.delivery.writer import SliceWriter
from helpers.delivery import AUDIO, PICTURE, START_MS
from helpers.spool_bench import Bench, open_bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as bench:
        yield bench


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
        with SliceFiles(bench.directory, Quarantine(bench.directory)) as files:
            recorder = SliceRecorder(bench.database, bench.record_loss, report)
            writer = SliceWriter(files, recorder, {}, SystemClock().monotonic)
            draft = Draft(PICTURE, START_MS, 0)
            writer.carry_out(
                [Begin(draft), Append(draft, b"x"), Finish(draft, START_MS, 0, {}, b"")]
            )

    bench.directory.mkdir()
    await asyncio.to_thread(write)
    assert await asyncio.wrap_future(searches[0]) == told
    assert [record.origin for record in told] == [PICTURE]


@pytest.mark.usefixtures("ids_from_one")
async def test_a_slice_grows_and_gets_its_head(bench: Bench) -> None:
    """Pieces are put together in order; the first bytes are replaced at the end."""
    async with bench.open() as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"head")
        await spool.flush()
        assert bench.files == ["1.part"]
        growing.append(b" and tail")
        growing.finish(START_MS, 15000, {}, head=b"HEAD")
        await spool.flush()
        (record,) = await bench.records()
        assert spool.path(record).read_bytes() == b"HEAD and tail"
        assert (record.duration_ms, record.size, spool.used_bytes) == (15000, 13, 13)
    assert bench.files == ["1.slice"]


async def test_a_spool_in_use_is_refused(bench: Bench, tmp_path: Path) -> None:
    """Also to a process with another database, as when the first one's file was deleted. What
    grows there goes on."""
    (tmp_path / "other").mkdir()
    async with bench.open() as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"one ")
        await spool.flush()
        async with open_bench(tmp_path / "other", bench.directory) as other:
            with pytest.raises(OSError, match="is in use by another process"):
                async with other.open():
                    pass
        growing.append(b"two")
        growing.finish(START_MS, 7, {})
        await spool.flush()
        (record,) = await bench.records()
        assert spool.path(record).read_bytes() == b"one two"
    async with bench.open():
        assert len(await bench.records()) == 1


async def test_a_spool_that_could_not_be_opened_is_not_in_use(bench: Bench) -> None:
    """Its lock went with the attempt."""
    await bench.database.run(lambda c: c.execute("ALTER TABLE removals RENAME TO away"))
    with pytest.raises(sqlite3.OperationalError):
        async with bench.open():
            pass
    await bench.database.run(lambda c: c.execute("ALTER TABLE away RENAME TO removals"))
    async with bench.open() as spool:
        assert spool.used_bytes == 0


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
        growing.finish(START_MS, 1, {})
        calls: dict[str, Callable[[], None]] = {
            "append": lambda: growing.append(b"y"),
            "finish": lambda: growing.finish(START_MS, 1, {}),
            "discard": growing.discard,
        }
        with pytest.raises(RuntimeError, match="finished, discarded or abandoned"):
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
            each.finish(START_MS, 2000, {})
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


async def test_an_abandoned_slice_is_kept_as_far_as_it_goes(bench: Bench) -> None:
    """Its loss is told: it is to end for a task to end."""
    async with bench.open() as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"some ")
        await spool.flush()
        growing.append(b"audio")
        growing.abandon("a bug")
        await spool.flush()
        (record,) = await bench.records()
        assert spool.path(record).read_bytes() == b"some audio repaired"
        assert (record.duration_ms, record.details) == (10, {"repaired": "true"})
        with pytest.raises(RuntimeError):
            growing.append(b"more")
    assert [(loss.reason, loss.is_partial) for loss in bench.lost] == [("a bug", True)]


async def test_a_finished_slice_cannot_be_abandoned_any_more(bench: Bench) -> None:
    async with bench.open() as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"audio")
        growing.finish(START_MS, 5, {"k": "v"})
        growing.abandon("a bug")
        await spool.flush()
        (record,) = await bench.records()
        assert spool.path(record).read_bytes() == b"audio"
    assert bench.lost == []


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


async def test_times_and_name_are_those_that_the_end_gives(bench: Bench) -> None:
    """The start that was given at the beginning holds only for a slice that never ends."""
    async with bench.open() as spool:
        growing = spool.grow(AUDIO, START_MS + 5000)
        growing.append(b"heard")
        await spool.flush()
        growing.finish(START_MS, 15020, {})
        await spool.flush()
        (record,) = await bench.records()
    assert (record.start_ms, record.duration_ms) == (START_MS, 15020)
    assert record.object_key.endswith("_20231114221321.ogg")
