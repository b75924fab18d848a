"""The spool on a real disk that is really full."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.slices import SliceKind
from cloudslice.slicing.audio.ogg import OggOpusWriter
from cloudslice.slicing.audio.ogg_repair import repair_ogg
from helpers.small_disk import SmallDisk, small_disk
from helpers.spool_site import AUDIO, START_MS, TASK, SpoolSite, read_waiting
from helpers.waiting import eventually

SECONDS = 60
PACKET = bytes([0xFC]) + bytes(range(159))
"""20 ms of Opus in CELT mode, stereo, at 64 kbit/s."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 512) as disk:
        yield disk


@pytest.fixture
async def site(disk: SmallDisk) -> SpoolSite:
    """A spool on the small disk, which repairs real audio."""
    site = SpoolSite(disk.path / "spool")
    site.repairs[SliceKind.AUDIO] = repair_ogg
    return site


@pytest.fixture
def pieces() -> list[bytes]:
    """A minute of audio as it is written: a piece for each second."""
    pieces: list[bytes] = []
    written: list[bytes] = []
    writer = OggOpusWriter(written.append, serial=1, pre_skip=0, stereo=True)
    for _ in range(SECONDS):
        writer.add(PACKET * 50, (len(PACKET),) * 50, 960)
        writer.flush()
        pieces.append(b"".join(written))
        written.clear()
    writer.finish(SECONDS * 48000)
    pieces[-1] += b"".join(written)
    return pieces


async def test_two_seconds_without_room_in_a_slice_of_a_minute(
    site: SpoolSite, disk: SmallDisk, pieces: list[bytes]
) -> None:
    """Nothing is missing in it."""
    async with site.open(TASK) as spool, asyncio.timeout(30):
        growing = spool.grow(AUDIO, START_MS)
        for piece in pieces[:45]:
            growing.append(piece)
        await spool.flush()
        ballast = await asyncio.to_thread(disk.fill)
        for piece in pieces[45:47]:
            growing.append(piece)
            await spool.flush()
        assert site.parts[0].stat().st_size < sum(map(len, pieces[:47]))
        ballast.unlink()
        for piece in pieces[47:]:
            growing.append(piece)
        growing.finish(START_MS, SECONDS * 1000, {})
        await eventually(lambda: bool(site.ready))
        whole, content = spool.read(TASK.task_id, site.ready[0].name)
    assert content == b"".join(pieces)
    assert (whole.duration_ms, site.lost) == (SECONDS * 1000, [])


async def test_a_disk_that_stays_full_until_memory_is_full_too(
    site: SpoolSite, disk: SmallDisk, pieces: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slice is delivered up to where memory ended, with its true duration; the loss is told,
    and so is the next."""
    backlog = sum(map(len, pieces[45:50]))
    origins = [AUDIO, replace(AUDIO, user_id="anchor_2")]
    async with site.open(TASK) as spool, asyncio.timeout(30):
        growing = [spool.grow(origin, START_MS) for origin in origins]
        for piece in pieces[:45]:
            growing[0].append(piece)
        growing[1].append(pieces[0])
        await spool.flush()
        monkeypatch.setattr("cloudslice.spool.intake._BACKLOG_BYTES", backlog)
        ballast = await asyncio.to_thread(disk.fill)
        for piece in pieces[45:]:
            growing[0].append(piece)
        growing[1].append(bytes(backlog))
        for each in growing:
            each.finish(START_MS, SECONDS * 1000, {"samples": "all"})
        await spool.flush()
        assert [loss.is_partial for loss in site.lost] == [True, True]
        ballast.unlink()
        await eventually(lambda: len(site.ready) == 2)
        found = {
            whole.origin: (whole, content)
            for whole, content in (spool.read(TASK.task_id, each.name) for each in site.ready)
        }
    # The writer holds a packet back, which is in the next piece.
    assert found[origins[0]][0].duration_ms == pytest.approx(50_000, abs=20)
    assert found[origins[1]][0].duration_ms == pytest.approx(1_000, abs=20)
    assert all(whole.details["repaired"] == "true" for whole in site.ready)
    assert found[origins[0]][1].startswith(b"".join(pieces[:49]))


async def test_the_end_of_the_process_on_a_full_disk(
    site: SpoolSite, disk: SmallDisk, pieces: list[bytes]
) -> None:
    """What is on the disk is delivered later; what was not is told. A start on the full disk is
    one, too: it delivers the slice once there is room."""
    async with site.open(TASK) as spool:
        growing = spool.grow(AUDIO, START_MS)
        for piece in pieces[:45]:
            growing.append(piece)
        await spool.flush()
        ballast = await asyncio.to_thread(disk.fill)
        for piece in pieces[45:]:
            growing.append(piece)
        growing.finish(START_MS, SECONDS * 1000, {})
    assert [loss.is_partial for loss in site.lost] == [True]
    assert len(site.parts) == 1
    async with site.open(), asyncio.timeout(30):
        ballast.unlink()
        await eventually(lambda: bool(site.wholes))
    async with site.open() as spool:
        ((whole, _),) = read_waiting(spool)
    assert 44_900 < whole.duration_ms < SECONDS * 1000
    assert whole.details["repaired"] == "true"
    assert len(site.lost) == 1
