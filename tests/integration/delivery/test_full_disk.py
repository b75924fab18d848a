"""The spool on a real disk that is really full."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cloudslice.slices import SliceKind
from cloudslice.slicing.audio.ogg import OggOpusWriter, repair_ogg
from helpers.delivery import AUDIO, START_MS
from helpers.spool_bench import Bench, open_bench
from helpers.waiting import eventually

SECONDS = 60
PACKET = bytes([0xFC]) + bytes(range(159))
"""20 ms of Opus in CELT mode, stereo, at 64 kbit/s."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB, in a mount namespace of its own: that needs no root."""
    mount = tmp_path / "disk"
    mount.mkdir()
    program = 'mount -t tmpfs -o size=512k none "$0" && echo mounted && exec cat'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", program, str(mount)]
    if os.getuid() == 0:
        command[1:3] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != b"mounted\n":
                pytest.skip("file systems cannot be mounted here")
            yield Path(f"/proc/{process.pid}/root{mount}")
        finally:
            process.stdin.close()


@pytest.fixture
async def bench(tmp_path: Path, small_disk: Path) -> AsyncIterator[Bench]:
    """A spool on the small disk; its records are elsewhere."""
    async with open_bench(tmp_path) as bench:
        bench.directory = small_disk / "spool"
        bench.repairs[SliceKind.AUDIO] = repair_ogg
        yield bench


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


def fill(disk: Path) -> Path:
    """Take all the room there is, in a file that is returned."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0
    return ballast


@pytest.mark.usefixtures("ids_from_one")
async def test_two_seconds_without_room_in_a_slice_of_a_minute(
    bench: Bench, small_disk: Path, pieces: list[bytes]
) -> None:
    """Nothing is missing in it."""
    async with bench.open() as spool, asyncio.timeout(30):
        growing = spool.grow(AUDIO, START_MS)
        for piece in pieces[:45]:
            growing.append(piece)
        await spool.flush()
        ballast = await asyncio.to_thread(fill, small_disk)
        for piece in pieces[45:47]:
            growing.append(piece)
            await spool.flush()
        size = (small_disk / "spool" / "1.part").stat().st_size
        assert size < sum(map(len, pieces[:47]))
        ballast.unlink()
        for piece in pieces[47:]:
            growing.append(piece)
        growing.finish(START_MS, SECONDS * 1000, {})
        await eventually(lambda: bool(bench.waiting))
        (record,) = bench.waiting
        assert spool.path(record).read_bytes() == b"".join(pieces)
    assert (record.duration_ms, bench.lost) == (SECONDS * 1000, [])


@pytest.mark.usefixtures("ids_from_one")
async def test_a_disk_that_stays_full_until_memory_is_full_too(
    bench: Bench, small_disk: Path, pieces: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slice is delivered up to where memory ended, with its true duration; the loss is told,
    and so is the next."""
    backlog = sum(map(len, pieces[45:50]))
    async with bench.open() as spool, asyncio.timeout(30):
        growing = [spool.grow(AUDIO, START_MS + n) for n in range(2)]
        for piece in pieces[:45]:
            growing[0].append(piece)
        growing[1].append(pieces[0])
        await spool.flush()
        monkeypatch.setattr("cloudslice.delivery.spool._BACKLOG_BYTES", backlog)
        ballast = await asyncio.to_thread(fill, small_disk)
        for piece in pieces[45:]:
            growing[0].append(piece)
        growing[1].append(bytes(backlog))
        for each in growing:
            each.finish(START_MS, SECONDS * 1000, {"samples": "all"})
        await spool.flush()
        assert [loss.is_partial for loss in bench.lost] == [True, True]
        assert list(bench.recorded.values()) == [2]
        ballast.unlink()
        await eventually(lambda: len(bench.waiting) == 2)
        seconds = {record.id: record.duration_ms for record in bench.waiting}
        whole = (bench.directory / "1.slice").read_bytes()
    # The writer holds a packet back, which is in the next piece.
    assert seconds[1] == pytest.approx(50_000, abs=20)
    assert seconds[2] == pytest.approx(1_000, abs=20)
    assert all(record.details == {"repaired": "true"} for record in bench.waiting)
    assert whole.startswith(b"".join(pieces[:49]))


@pytest.mark.usefixtures("ids_from_one")
async def test_the_end_of_the_process_on_a_full_disk(
    bench: Bench, small_disk: Path, pieces: list[bytes]
) -> None:
    """What is on the disk is delivered at the next start; what was not is told."""
    async with bench.open() as spool:
        growing = spool.grow(AUDIO, START_MS)
        for piece in pieces[:45]:
            growing.append(piece)
        await spool.flush()
        ballast = await asyncio.to_thread(fill, small_disk)
        for piece in pieces[45:]:
            growing.append(piece)
        growing.finish(START_MS, SECONDS * 1000, {})
    assert [loss.is_partial for loss in bench.lost] == [True]
    assert bench.files == ["1.part"]
    ballast.unlink()
    async with bench.open():
        (record,) = await bench.records()
    assert 44_900 < record.duration_ms < SECONDS * 1000
    assert record.details == {"repaired": "true"}
