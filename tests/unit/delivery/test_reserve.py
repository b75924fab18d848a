"""Room is kept on the disk, to put on record at the end what a full disk has lost."""

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloudslice.database import DatabaseError, Operation
from cloudslice.delivery.losses import Loss
from cloudslice.delivery.reserve import Reserve
from helpers.delivery import AUDIO, START_MS
from helpers.faulty_disk import FaultyDisk
from helpers.spool_bench import Bench, open_bench

SIZE = 1024 * 1024


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as bench:
        yield bench


async def test_what_a_stop_on_a_full_disk_loses_is_put_on_record(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database has no room for it before the reserve is given up; the next start makes it."""
    perform = bench.database.perform
    reserve, disk = tmp_path / "reserve", FaultyDisk(monkeypatch)

    def refuse_when_full(operation: Operation[object]) -> object:
        if disk.room == 0 and reserve.exists():
            raise DatabaseError("the disk is full")
        return perform(operation)

    monkeypatch.setattr(bench.database, "perform", refuse_when_full)
    async with bench.open() as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"heard")
        await spool.flush()
        assert reserve.stat().st_size == SIZE
        disk.room = 0
        growing.append(b" lost")
    reason = "the process ended before the disk took it"
    assert bench.recorded == {Loss(AUDIO, reason, is_partial=True): 1}
    assert not reserve.exists()
    disk.room = SIZE
    async with bench.open() as spool:
        assert [record.duration_ms for record in await bench.records()] == [len(b"heard")]
        await spool.flush()
        assert reserve.stat().st_size == SIZE


async def test_a_stop_that_loses_nothing_keeps_the_reserve(bench: Bench, tmp_path: Path) -> None:
    async with bench.open() as spool:
        spool.grow(AUDIO, START_MS).append(b"heard")
    assert (tmp_path / "reserve").stat().st_size == SIZE


def test_the_room_is_really_taken(tmp_path: Path) -> None:
    """A file with a hole would hold none; to make it twice changes nothing."""
    path = tmp_path / "reserve"
    for _ in range(2):
        Reserve(path).make()
    assert (path.stat().st_size, path.stat().st_blocks * 512 >= SIZE) == (SIZE, True)


def test_without_room_there_is_no_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no part of what little there is, and the service runs all the same."""

    def refuse(descriptor: int, _offset: int, _size: int) -> None:
        os.ftruncate(descriptor, 4096)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    Reserve(tmp_path / "reserve").make()
    assert list(tmp_path.iterdir()) == []
