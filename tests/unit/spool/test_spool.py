"""The spool: durable, in order, and never silent."""

import asyncio
import hashlib
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudslice.events import SliceLost
from cloudslice.secrets import SecretBox, SecretKeyError
from cloudslice.slices import DamagedSliceError, Vendor
from cloudslice.spool import slice_files
from cloudslice.spool import writer as writer_module
from cloudslice.spool.recovery import Recovery, TakenUp
from cloudslice.spool.task_directory import TaskDirectory
from cloudslice.spool.used_names import UsedNames
from cloudslice.spool.writer import SliceWriter
from helpers.failing import Failing
from helpers.faulty_disk import FaultyDisk
from helpers.odd_files import ODD_FILES, make_odd_file
from helpers.spool_site import (
    AUDIO,
    BOX,
    BUCKET,
    KEY,
    PICTURE,
    START_MS,
    TASK,
    SpoolSite,
    read_contents,
    read_waiting,
)
from helpers.waiting import eventually

OTHER_TASK = replace(TASK, task_id="other", room_id="room")


@pytest.fixture
async def site(tmp_path: Path) -> SpoolSite:
    return SpoolSite(tmp_path / "spool")


async def test_a_picture_is_durable_after_a_flush(site: SpoolSite) -> None:
    """File, event and hash agree."""
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {"width": "640"})
        await spool.flush()
        (told,) = site.ready
        assert spool.read(TASK.task_id, told.name) == (told, b"picture")
        assert [spool.used_bytes] == site.sizes == [site.wholes[0].stat().st_size]
    assert (told.size, told.duration_ms, told.details) == (7, 0, {"width": "640"})
    assert told.sha256 == hashlib.sha256(b"picture").hexdigest()
    assert told.object_key == KEY.format(21).replace("audios", "images").replace("ogg", "png")


async def test_a_slice_grows_and_gets_its_head(site: SpoolSite) -> None:
    """Pieces are put together in order; the first bytes are replaced at the end."""
    async with site.open(TASK) as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"head")
        await spool.flush()
        assert (len(site.parts), site.wholes, spool.count_open(TASK.task_id)) == (1, [], 1)
        growing.append(b" and tail")
        growing.finish(START_MS, 15000, {}, head=b"HEAD")
        await spool.flush()
        (told,) = site.ready
        assert spool.read(TASK.task_id, told.name)[1] == b"HEAD and tail"
        assert (told.duration_ms, told.size) == (15000, 13)
        assert (len(site.parts), len(site.wholes), spool.count_open(TASK.task_id)) == (0, 1, 0)


async def test_times_and_name_are_those_that_the_end_gives(site: SpoolSite) -> None:
    """The start that was given at the beginning holds only for a slice that never ends."""
    async with site.open(TASK) as spool:
        growing = spool.grow(AUDIO, START_MS + 5000)
        growing.append(b"heard")
        growing.finish(START_MS, 15020, {})
        await spool.flush()
    (told,) = site.ready
    assert (told.start_ms, told.duration_ms) == (START_MS, 15020)
    assert told.object_key == KEY.format(21)


async def test_names_sort_by_age(site: SpoolSite) -> None:
    """Of the clock that never steps, whatever slices say of their start."""
    site.now_ms = 5
    async with site.open(TASK) as spool:
        for n in range(3):
            spool.put(PICTURE, START_MS - n * 10_000, b"%d" % n, {})
            site.now_ms += 1000
    async with site.open() as spool:
        assert read_contents(spool) == [b"0", b"1", b"2"]


async def test_a_spool_in_use_is_refused(site: SpoolSite) -> None:
    """What grows there goes on."""
    async with site.open(TASK) as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"one ")
        await spool.flush()
        with pytest.raises(OSError, match="is in use by another process"):
            async with SpoolSite(site.directory).open():
                pass
        growing.append(b"two")
        growing.finish(START_MS, 7, {})
        await spool.flush()
        assert spool.read(TASK.task_id, site.ready[0].name)[1] == b"one two"


async def test_a_spool_that_could_not_be_opened_is_not_in_use(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock went with the attempt."""

    def fail(_self: object) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("cloudslice.spool.recovery.Recovery.run", fail)
        with pytest.raises(ZeroDivisionError):
            await site.make_spool().__aenter__()
    async with site.open() as spool:
        assert spool.used_bytes == 0


@pytest.mark.parametrize("call", ["append", "finish"])
async def test_a_finished_slice_cannot_be_written(site: SpoolSite, call: str) -> None:
    async with site.open(TASK) as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"x")
        growing.finish(START_MS, 1, {})
        calls: dict[str, Callable[[], None]] = {
            "append": lambda: growing.append(b"y"),
            "finish": lambda: growing.finish(START_MS, 1, {}),
        }
        with pytest.raises(RuntimeError, match="finished or abandoned"):
            calls[call]()


async def test_a_removed_slice_frees_its_space(site: SpoolSite) -> None:
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        for _ in range(2):
            spool.remove(TASK.task_id, site.ready[0].name)
            await spool.flush()
            assert (site.wholes, spool.used_bytes) == ([], 0)
        with pytest.raises(FileNotFoundError):
            spool.read(TASK.task_id, site.ready[0].name)


async def test_many_slices_at_once(site: SpoolSite) -> None:
    """A thousand slices grow side by side and all arrive."""
    origins = [replace(AUDIO, user_id=f"anchor_{n}") for n in range(1000)]
    async with site.open(TASK) as spool:
        growing = [spool.grow(origin, START_MS) for origin in origins]
        for piece in (b"one ", b"two"):
            for each in growing:
                each.append(piece)
        for each in growing:
            each.finish(START_MS, 2000, {})
        await spool.flush()
        assert {told.origin for told in site.ready} == set(origins)
        assert all(told.size == 7 for told in site.ready)
        assert len({told.object_key for told in site.ready}) == 1000
        assert spool.used_bytes == sum(path.stat().st_size for path in site.wholes)


async def test_a_slice_of_an_unknown_task_is_lost_alone(site: SpoolSite) -> None:
    """It is told, its space is free, and the others are not disturbed."""
    async with site.open(TASK) as spool:
        spool.put(replace(PICTURE, task_id="nobody"), START_MS, b"lost", {})
        spool.put(PICTURE, START_MS, b"kept", {})
        await spool.flush()
        assert [told.origin for told in site.ready] == [PICTURE]
        assert spool.used_bytes == site.wholes[0].stat().st_size
        with pytest.raises(KeyError):
            spool.load_bucket("nobody")
        assert spool.find_task("nobody") is None
    assert [loss.reason for loss in site.lost] == ["its task is not known"]


async def test_a_disk_that_is_too_slow_bounds_memory(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the backlog a slice is lost rather than held in memory."""
    monkeypatch.setattr("cloudslice.spool.intake._BACKLOG_BYTES", 100)
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, bytes(101), {})
        await spool.flush()
        assert spool.used_bytes == 0
        for _ in range(3):
            spool.put(PICTURE, START_MS, bytes(100), {})
            await spool.flush()
    assert [told.size for told in site.ready] == [100] * 3
    assert site.lost == [SliceLost(PICTURE, "the disk is too slow")]


async def test_an_abandoned_slice_is_kept_as_far_as_it_goes(site: SpoolSite) -> None:
    """Its loss is told."""
    async with site.open(TASK) as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"some ")
        await spool.flush()
        growing.append(b"audio")
        growing.abandon("a bug")
        await spool.flush()
        (told,) = site.ready
        assert spool.read(TASK.task_id, told.name)[1] == b"some audio repaired"
        assert (told.duration_ms, told.details) == (10, {"repaired": "true"})
        with pytest.raises(RuntimeError):
            growing.append(b"more")
    assert site.lost == [SliceLost(AUDIO, "a bug", is_partial=True)]


async def test_a_finished_slice_cannot_be_abandoned_any_more(site: SpoolSite) -> None:
    async with site.open(TASK) as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"audio")
        growing.finish(START_MS, 5, {"k": "v"})
        growing.abandon("a bug")
        await spool.flush()
        assert spool.read(TASK.task_id, site.ready[0].name)[1] == b"audio"
    assert site.lost == []


async def test_a_crash_of_the_thread_is_not_silent(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches the spool, or waits for it, gets an error that stays."""

    def crash(_self: object) -> None:
        raise ZeroDivisionError("a bug")

    async with site.open(TASK) as spool:
        watching = asyncio.create_task(spool.watch())
        monkeypatch.setattr("cloudslice.spool.spool_thread._PATIENCE_S", 0)
        monkeypatch.setattr("cloudslice.spool.writer.SliceWriter.work", crash)
        spool.put(PICTURE, START_MS, b"x", {})
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await watching
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await spool.flush()
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await spool.open(OTHER_TASK, BUCKET)


async def test_a_call_that_fails_holds_up_no_other(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted."""

    def fail(*_args: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("cloudslice.spool.spooled_tasks.remove_file", fail)
    async with site.open(TASK) as spool:
        spool.remove(TASK.task_id, "name")
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        assert len(site.ready) == spool.faults.errors == 1


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        pytest.param(slice_files, "_write_whole", id="completing a slice"),
        pytest.param(slice_files, "_flush", id="flushing it"),
        pytest.param(slice_files.os, "rename", id="naming it"),
        pytest.param(slice_files, "start_flush", id="beginning to flush"),
        pytest.param(UsedNames, "write", id="writing its name down"),
        pytest.param(writer_module, "sync_directory", id="flushing its directory"),
        pytest.param(SliceWriter, "_flush_names", id="flushing names"),
        pytest.param(SliceWriter, "_advance", id="writing"),
    ],
)
async def test_a_fault_of_the_thread_costs_a_slice_at_most(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    """The others are kept, and whoever waits is told."""
    monkeypatch.setattr("cloudslice.spool.spool_thread.RETRY_S", 0.01)
    async with site.open(TASK) as spool:
        failing = Failing(monkeypatch, owner, name)
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        spool.put(PICTURE, START_MS + 5000, b"another", {})
        await eventually(lambda: len(site.ready) + len(site.lost) == 2)
        await spool.flush()
        assert failing.has_failed
        assert spool.faults.errors == 1
        assert len(site.ready) >= 1


@pytest.mark.parametrize("piece", ["append", "finish"])
async def test_a_fault_in_taking_a_piece_ends_its_slice(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch, piece: str
) -> None:
    """With what came before it, which is told; nothing of it is open or counted for ever."""
    async with site.open(TASK) as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"before")
        await spool.flush()
        failing = Failing(monkeypatch, SliceWriter, piece)
        growing.append(b", with the fault")
        growing.append(b", after")
        growing.finish(START_MS, 1000, {})
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        assert failing.has_failed
        assert spool.faults.errors == 1
        assert [(each.origin, each.is_partial) for each in site.lost] == [(AUDIO, True)]
        kept = {"append": b"before", "finish": b"before, with the fault, after"}[piece]
        contents = {each.origin: spool.read(TASK.task_id, each.name)[1] for each in site.ready}
        assert contents == {AUDIO: kept + b" repaired", PICTURE: b"picture"}
        assert spool.count_open(TASK.task_id) == 0
        for each in site.ready:
            spool.remove(TASK.task_id, each.name)
        await spool.flush()
        assert spool.used_bytes == 0


@pytest.mark.parametrize("piece", ["append", "finish"])
async def test_a_fault_in_taking_a_picture_loses_it(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch, piece: str
) -> None:
    """And says so: its task would wait for it for ever."""
    async with site.open(TASK) as spool:
        Failing(monkeypatch, SliceWriter, piece)
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        assert [(each.origin, each.is_partial) for each in site.lost] == [(PICTURE, False)]
        assert site.gone == [TASK.task_id]
        assert (spool.count_open(TASK.task_id), spool.used_bytes, spool.faults.errors) == (0, 0, 1)


async def test_who_does_not_wait_any_more_harms_nobody(site: SpoolSite) -> None:
    async with site.open(TASK) as spool:
        waiting = [
            asyncio.create_task(spool.flush()),
            asyncio.create_task(spool.open(OTHER_TASK, BUCKET)),
        ]
        await asyncio.sleep(0)
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        assert len(site.ready) == 1


async def test_a_task_is_known_to_later_processes(site: SpoolSite) -> None:
    """With its bucket; the keys are not readable on the disk."""
    buckets = {
        TASK: BUCKET,
        OTHER_TASK: replace(BUCKET, vendor=Vendor.S3, secret_key="another", prefix=()),
    }
    async with site.open() as spool:
        for task, bucket in buckets.items():
            await spool.open(task, bucket)
    for path in site.directory.rglob("*"):
        assert path.is_dir() or b"SecretExample" not in path.read_bytes()
    async with site.open() as spool:
        assert {task: spool.load_bucket(task.task_id) for task in spool.take_waiting()} == buckets
        assert spool.take_waiting() == {}
        assert spool.find_task(OTHER_TASK.task_id) == OTHER_TASK


async def test_a_closed_task_leaves_nothing(site: SpoolSite) -> None:
    async with site.open(TASK, OTHER_TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        spool.remove(TASK.task_id, site.ready[0].name)
        spool.close(TASK.task_id)
        await spool.flush()
        assert spool.find_task(TASK.task_id) is None
        assert [path.name for path in site.directory.iterdir()] == ["other"]
    async with site.open() as spool:
        assert list(spool.take_waiting()) == [OTHER_TASK]


async def test_what_is_left_of_a_closed_task_is_set_aside(site: SpoolSite) -> None:
    """Whoever put it there, and whoever thought that there is nothing."""
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        (site.task_path() / "notes.txt").write_bytes(b"mine")
        whole = site.wholes[0].read_bytes()
        spool.close(TASK.task_id)
        await spool.flush()
        assert (spool.used_bytes, spool.files_set_aside) == (0, 2)
    assert site.quarantined == {"notes.txt": b"mine", f"{site.ready[0].name}.slice": whole}
    assert not site.task_path().exists()


async def test_a_slice_can_be_set_aside(site: SpoolSite) -> None:
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        whole = site.wholes[0].read_bytes()
        for _ in range(2):
            spool.set_aside(TASK.task_id, site.ready[0].name, "it is damaged")
            await spool.flush()
        assert (site.wholes, spool.used_bytes, spool.files_set_aside) == ([], 0, 1)
    assert site.quarantined == {f"{site.ready[0].name}.slice": whole}


@pytest.mark.parametrize("kind", ODD_FILES)
async def test_what_is_no_regular_file_is_not_waited_for(site: SpoolSite, kind: str) -> None:
    async with site.open(TASK) as spool:
        name = f"{5:013d}-{0:016x}"
        make_odd_file(site.task_path() / f"{name}.slice", kind)
        with pytest.raises(OSError, match=r"no regular file|Too many|No such device"):
            spool.read(TASK.task_id, name)


async def test_a_slice_of_another_task_is_not_delivered(site: SpoolSite) -> None:
    """Whoever has copied it there."""
    async with site.open(TASK, OTHER_TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        name = site.ready[0].name
        (site.wholes[0]).rename(site.task_path(OTHER_TASK) / f"{name}.slice")
        with pytest.raises(DamagedSliceError, match="another task"):
            spool.read("other", name)


async def test_what_the_disk_refused_at_the_start_is_ready_later(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk stops no start. The slice counts as open, and is told once it is whole."""
    async with site.open(TASK) as spool:
        spool.grow(AUDIO, START_MS).append(b"heard")
    (part,) = site.parts
    monkeypatch.setattr("cloudslice.spool.refusals.RETRY_S", 0.01)
    disk = FaultyDisk(monkeypatch)
    disk.room = 0
    async with site.open() as spool:
        assert spool.take_waiting() == {TASK: []}
        assert (spool.count_open(TASK.task_id), spool.used_bytes) == (1, part.stat().st_size)
        disk.room = 10_000
        async with asyncio.timeout(10):
            while not site.ready:
                await spool.flush()
        assert spool.read(TASK.task_id, site.ready[0].name)[1] == b"heard repaired"
        assert spool.count_open(TASK.task_id) == 0
        assert spool.used_bytes == site.wholes[0].stat().st_size
    assert site.lost == []


@pytest.mark.parametrize(("interval_s", "expected"), [(0.001, True), (0, False)])
async def test_what_grows_reaches_the_device(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch, interval_s: float, expected: bool
) -> None:
    """At the interval of the setting; never if that is 0."""
    synced: list[Path] = []
    monkeypatch.setattr("cloudslice.spool.spool_thread.sync_file_system", synced.append)
    site.sync_interval_s = interval_s
    async with site.open(TASK) as spool:
        growing = spool.grow(AUDIO, START_MS)
        for _ in range(2):
            synced.clear()
            growing.append(b"heard")
            await spool.flush()
            async with asyncio.timeout(10):
                while expected and not synced:
                    await spool.flush()
        growing.finish(START_MS, 1, {})
        await spool.flush()
    assert set(synced) == ({site.directory} if expected else set())


async def test_a_device_that_cannot_be_synced_is_told(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_directory: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("cloudslice.spool.spool_thread.sync_file_system", fail)
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
    assert "cannot be flushed" in capsys.readouterr().out
    assert len(site.ready) == 1


async def test_another_key_than_ours(site: SpoolSite) -> None:
    async with site.open(TASK):
        pass
    assert TaskDirectory.load(site.task_path(), BOX).load_bucket() == BUCKET
    with pytest.raises(SecretKeyError):
        TaskDirectory.load(site.task_path(), SecretBox(bytes(31) + b"x")).load_bucket()


async def test_a_start_that_is_given_up_leaves_no_thread(
    site: SpoolSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the process would never end."""
    entered, leave, run = threading.Event(), threading.Event(), Recovery.run

    def run_slowly(recovery: Recovery) -> TakenUp:
        entered.set()
        leave.wait()
        return run(recovery)

    monkeypatch.setattr(Recovery, "run", run_slowly)
    starting = asyncio.create_task(site.make_spool().__aenter__())
    await asyncio.to_thread(entered.wait)
    (thread,) = (each for each in threading.enumerate() if each.name == "spool")
    starting.cancel()
    await asyncio.wait([starting])
    leave.set()
    await asyncio.to_thread(thread.join)
    async with site.open(TASK):
        pass


async def test_a_spool_that_is_taken_away_is_made_anew(site: SpoolSite) -> None:
    """What was in it is lost and takes no room; slices and tasks that come are kept."""
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"audio")
        await spool.flush()
        shutil.rmtree(site.directory)
        growing.append(b" goes on")
        spool.remove(TASK.task_id, site.ready[0].name)
        await spool.flush()
        assert spool.used_bytes == 0
        spool.put(PICTURE, START_MS + 5000, b"another", {})
        await spool.open(OTHER_TASK, BUCKET)
        await spool.flush()
        assert [told.size for told in site.ready] == [7, 7]
        assert spool.used_bytes == site.wholes[0].stat().st_size
        assert (site.directory / "other" / "task").exists()
    assert [loss.reason for loss in site.lost] == ["its file is gone from the spool"]


async def test_slices_that_are_taken_away_take_no_room(site: SpoolSite) -> None:
    """Of this process and of a former one, once it is known that they are done with."""
    async with site.open(TASK) as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
    async with site.open() as spool:
        spool.put(PICTURE, START_MS, b"another", {})
        await spool.flush()
        for path in site.wholes:
            path.unlink()
        for told in site.ready:
            spool.remove(TASK.task_id, told.name)
        await spool.flush()
        assert spool.used_bytes == 0


async def test_names_that_another_node_may_have_used_are_left_out(site: SpoolSite) -> None:
    """Also by the next process, and by the repair of a slice that it finds cut off."""
    second = START_MS // 1000
    async with site.open(TASK) as spool:
        await spool.open(TASK, BUCKET, names_after_s=second + 10)
        await spool.open(TASK, BUCKET, names_after_s=second + 5)
        spool.put(PICTURE, START_MS, b"picture", {})
        spool.grow(AUDIO, START_MS).append(b"cut off")
        await spool.flush()
    async with site.open() as spool:
        found = read_waiting(spool)
        spool.put(replace(PICTURE, user_id="other"), START_MS, b"picture", {})
        await spool.flush()
    keys = {each.object_key for each, _ in found} | {each.object_key for each in site.ready}
    assert {key.rpartition("_")[2] for key in keys} == {"20231114221332.png", "20231114221332.ogg"}
    assert len(keys) == 3
