"""Each file of the data directory missing, cut, overwritten or from yesterday, as a start finds it.

A start ends in service or in one clear sentence. Whatever it is, nothing that was finished is
deleted: every slice is in the bucket, in the spool, or in the quarantine; and what goes to the
bucket is what was finished.
"""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudslice.secrets import SecretBox, SecretKeyError, check_key, load_key
from cloudslice.slices import DamagedSliceError
from cloudslice.spool.slice_format import read_slice
from cloudslice.sqlite_file import DatabaseError
from helpers import delivery as delivery_helpers
from helpers.delivery import AUDIO, DATABASE, PICTURE, START_MS, TASK, Site, make_test_bucket
from helpers.waiting import eventually

COUNT = 3
"""Slices of each kind that wait, half of them since yesterday."""


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = b"\xff" * len(data[middle : middle + 40])
    path.write_bytes(bytes(data))


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "cut": cut,
    "overwritten": overwrite,
    "empty": empty,
}


class Sites:
    """A data directory as a killed process has left it, and as it was before the last slices."""

    def __init__(self, directory: Path) -> None:
        self.now, self.yesterday = directory / "now", directory / "yesterday"

    def copy(self, target: Path) -> Site:
        """A site over a copy, whose bucket is a directory beside it."""
        shutil.copytree(self.now, target / "data")
        return Site(target / "data", f"file://{target}/buckets")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Sites:
    sites = Sites(tmp_path_factory.mktemp("sites"))
    asyncio.run(fill(sites))
    return sites


async def fill(sites: Sites) -> None:
    """Have slices wait for a bucket that is not there."""
    running = Site(sites.now.with_name("running"), "http://127.0.0.1:9")
    running.data_dir.mkdir()
    (running.data_dir / "secret.key").write_text("A" * 43 + "=\n")
    async with running.open() as delivery:
        await delivery.open(TASK, make_test_bucket())
        for n in range(COUNT):
            put_slices(delivery, n)
            if n == 0:
                await delivery.flush()
                shutil.copytree(running.data_dir, sites.yesterday)
        delivery.grow(AUDIO, START_MS + 999_000).append(b"growing")
        await delivery.flush()
        # While it runs, as a kill would have it.
        shutil.copytree(running.data_dir, sites.now)


def put_slices(delivery: delivery_helpers.Delivery, number: int) -> None:
    growing = delivery.grow(AUDIO, START_MS + 15_000 * number)
    growing.append(b"audio %d" % number)
    growing.finish(START_MS + 15_000 * number, 15_000, {})
    delivery.put(PICTURE, START_MS + 5_000 * number, b"picture %d" % number, {})


def files_of(sites: Sites) -> list[str]:
    """What a start may find damaged: one file of each sort."""
    slices = sorted(path.relative_to(sites.now) for path in sites.now.glob("spool/*/*.slice"))
    (part,) = sites.now.glob("spool/*/*.part")
    others = [
        DATABASE,
        f"{DATABASE}-wal",
        "secret.key",
        f"spool/{TASK.task_id}/task",
        f"spool/{TASK.task_id}/names",
        str(part.relative_to(sites.now)),
        str(slices[0]),
    ]
    return [name for name in others if (sites.now / name).exists()]


def finished(sites: Sites) -> set[bytes]:
    """The contents of all slices that are whole."""
    return {
        read_slice(path.stem, path.read_bytes())[1] for path in sites.now.glob("spool/*/*.slice")
    }


def kept(site: Site) -> tuple[set[bytes], set[bytes]]:
    """What is in the bucket, and what is elsewhere, as far as it can be read."""
    stored = {path.read_bytes() for path in site.data_dir.parent.glob("buckets/**/*.[op][gn]g")}
    left = set()
    for path in site.data_dir.rglob("*.slice"):
        try:
            left.add(read_slice(path.stem, path.read_bytes())[1])
        except DamagedSliceError:
            left.add(path.read_bytes())
    return stored, left


async def start(site: Site, expected: int) -> str:
    """What a start says: nothing, if it is in service; `expected` slices are to be stored then."""
    try:
        box = SecretBox(load_key(site.data_dir))
        async with site.open(box=box) as delivery:
            await delivery.database.run(lambda connection: check_key(connection, box))
            await eventually(lambda: delivery.uploader.counters.stored >= expected)
            await delivery.flush()
    except (DatabaseError, SecretKeyError) as error:
        return str(error)
    return ""


ORDER = ("database", "wal", "key", "task", "names", "part", "slice")
"""That of `files_of`."""


@pytest.mark.parametrize("what", ORDER)
@pytest.mark.parametrize("damage", DAMAGES)
async def test_one_damaged_file(sites: Sites, tmp_path: Path, what: str, damage: str) -> None:
    names = dict(zip(ORDER, files_of(sites), strict=True))
    site = sites.copy(tmp_path)
    DAMAGES[damage](site.data_dir / names[what])
    whole = finished(sites)
    if what == "slice":
        path = sites.now / names["slice"]
        whole.discard(read_slice(path.stem, path.read_bytes())[1])
    is_readable = what not in {"task", "key"}
    before = {path.name for path in site.data_dir.rglob("*.slice")}
    said = await start(site, len(whole) if is_readable else 0)
    stored, left = kept(site)
    assert stored <= finished(sites) | {b"growing repaired"}
    assert whole <= stored | left
    if said:
        assert str(site.data_dir) in said or "data directory" in said
        assert {path.name for path in site.data_dir.rglob("*.slice")} == before
    elif is_readable:
        assert whole <= stored


@pytest.mark.parametrize("part", ["database", "spool"])
@pytest.mark.parametrize("other", ["now", "missing", "yesterday"])
async def test_database_and_spool_of_different_days(
    sites: Sites, tmp_path: Path, part: str, other: str
) -> None:
    """A lost or older database loses no slice; a lost or older spool confuses no database."""
    site = sites.copy(tmp_path)
    names = [DATABASE, f"{DATABASE}-wal"] if part == "database" else ["spool"]
    for name in names:
        path = site.data_dir / name
        if other != "now":
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        source = sites.yesterday / name
        if other == "yesterday" and source.exists():
            (shutil.copytree if source.is_dir() else shutil.copy)(source, path)
    spooled = {
        read_slice(path.stem, path.read_bytes())[1]
        for path in site.data_dir.glob("spool/*/*.slice")
    }
    assert await start(site, len(spooled)) == ""
    stored, _ = kept(site)
    assert spooled <= stored <= finished(sites) | {b"growing repaired"}
