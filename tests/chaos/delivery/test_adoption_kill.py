"""Kill -9 of a node that adopts a spool: what was in it arrives, each object once."""

import asyncio
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryDirectory

import pytest

from cloudslice.config import Settings
from helpers.left_behind import LeftBehind, leave_behind
from helpers.node import APP_ID, APP_KEY, CALLBACK_KEY, Node
from helpers.waiting import eventually
from helpers.webhooks import WebhookReceiver

_LEFT = LeftBehind(tasks=3, waiting=400)
_OTHER_FILE_SYSTEM = Path("/dev/shm")  # noqa: S108 - tmpfs, on every Linux


@pytest.fixture(params=["same file system", "another one"])
def dead_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The data directory of a node that is gone."""
    is_same = request.param == "same file system"
    with TemporaryDirectory(dir=tmp_path if is_same else _OTHER_FILE_SYSTEM) as directory:
        yield Path(directory)


def slices(data_dir: Path) -> list[str]:
    """The names of the files of slices in a spool, which may be changed meanwhile."""
    found = (name for _, _, names in os.walk(data_dir / "spool") for name in names)
    return [name for name in found if name.endswith((".slice", ".part"))]


async def start_adopting(node: Node, directory: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cloudslice", "spool", "adopt", str(directory)),
        *("--config", str(node.settings_path)),
        stdout=DEVNULL,
        stderr=DEVNULL,
    )


@pytest.mark.timeout(300)
async def test_an_adoption_that_is_killed_goes_on(tmp_path: Path, dead_dir: Path) -> None:
    """Its storage keys are encrypted with the key of the node that is gone."""
    moments, buckets = random.Random(6), tmp_path / "buckets"
    app = {"sdk_app_id": APP_ID, "secret_key": APP_KEY}
    await leave_behind(Settings.model_validate({"data_dir": dead_dir, "apps": [app]}), _LEFT)
    count = len(slices(dead_dir))
    assert count == _LEFT.tasks * (_LEFT.waiting + 1)
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        storage = f'[storage.endpoints]\ns3 = "file://{buckets}"\n'
        with Node(tmp_path / "node", receiver.url, more_settings=storage) as node:
            for _ in range(3):
                await asyncio.to_thread(node.start)
                left = len(slices(dead_dir)) - moments.randint(1, 300)
                adopting = await start_adopting(node, dead_dir)
                await eventually(lambda left=left: len(slices(dead_dir)) <= left, 60)
                await asyncio.to_thread(node.kill)
                assert await adopting.wait() == 2, "it says that the node has ended"
            assert slices(dead_dir)
            await asyncio.to_thread(node.start)
            assert await (await start_adopting(node, dead_dir)).wait() == 0
            assert list((dead_dir / "spool").iterdir()) == []
            await receiver.wait_for_type(1005, _LEFT.tasks, within_s=120)
            await receiver.wait_for_type(1004, count, within_s=120)
            await eventually(lambda: slices(node.data_dir) == [], 60)
            assert await asyncio.to_thread(node.stop) == 0
            assert "unforeseen" not in node.log
    stored = sorted(
        str(path.relative_to(buckets / "bucket"))
        for path in (buckets / "bucket").rglob("*")
        if path.is_file() and path.suffix in (".jpg", ".ogg")
    )
    assert len(stored) == count
    told = [event["EventInfo"]["Payload"]["FileName"] for event in receiver.of_type(1004)]
    assert set(told) == set(stored)
    if dead_dir.is_relative_to(tmp_path):
        assert len(told) == count, "each event once"
    ended = [event["EventInfo"]["Payload"] for event in receiver.of_type(1005)]
    assert ended == [{"Status": 0}] * _LEFT.tasks
