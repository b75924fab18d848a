"""A stop while the disk is full: what it loses is on record all the same."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.delivery import CALLBACK_KEY, Site
from helpers.small_disk import SmallDisk, small_disk
from helpers.webhooks import WebhookReceiver

TESTS = Path(__file__).parents[2]
PICTURES = 100


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 4 * 1024) as disk:
        yield disk


async def test_losses_at_a_stop_on_a_full_disk_are_told_later(
    disk: SmallDisk, tmp_path: Path
) -> None:
    """Room that was held for that is given up."""
    data_dir = disk.inside / "data"
    process = await asyncio.create_subprocess_exec(
        *disk.enter, sys.executable, "-m", "helpers.full_stop",
        str(data_dir), str(disk.inside / "ballast"), str(PICTURES),
        cwd=TESTS,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
    )  # fmt: skip
    assert await process.wait() == 0
    assert not (disk.path / "data" / "reserve").exists()
    await asyncio.to_thread(shutil.copytree, disk.path / "data", tmp_path / "roomy")
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site = Site(tmp_path / "roomy", f"file://{tmp_path / 'stored'}", receiver.url)
        async with site.open() as delivery:
            await delivery.record_stop()
            await receiver.wait_for_type(1005)
        messages = [each["EventInfo"]["Payload"]["Message"] for each in receiver.of_type(1006)]
    lost = [each for each in messages if each.startswith("SpoolFailure: ")]
    assert len(lost) == PICTURES + 1
    assert sum("The end of a slice (audio of anchor_1)" in each for each in lost) == 1
    assert receiver.of_type(1005)[0]["EventInfo"]["Payload"] == {"Status": 1}
    (stored,) = (tmp_path / "stored").rglob("*.ogg")
    content = stored.read_bytes()
    assert content.startswith(b"heard")
    assert content.endswith(b" repaired")
