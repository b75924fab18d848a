"""Kill -9 of a process that writes slices: what was finished arrives, exactly once."""

import asyncio
import itertools
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.ids import ObjectName
from cloudslice.slices import SliceKind
from helpers.delivery import CALLBACK_KEY, Site
from helpers.s3_server import S3Server
from helpers.slice_writer import PIECES, piece
from helpers.small_disk import small_disk
from helpers.waiting import eventually
from helpers.webhooks import WebhookReceiver

TESTS = Path(__file__).parents[2]
ANCHORS = 10
NOWHERE = "http://127.0.0.1:9"


class Writer:
    """A process that writes slices.

    Attributes:
        told: the slices that it has told to be durable.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.told: list[tuple[str, int]] = []
        self._process = process

    async def hear(self, until: Callable[[], bool] = lambda: False) -> None:
        """Take note of what it tells until something is so, or it has ended."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            # There are log lines too, and the last line may be torn.
            if line.startswith(b"anchor_") and line.endswith(b"\n"):
                user_id, number = line.decode().split()
                self.told.append((user_id, int(number)))
            if until():
                return

    async def kill(self) -> None:
        """Kill it; what it had told by then is heard."""
        self._process.kill()
        await self.hear()
        assert await self._process.wait() == -signal.SIGKILL


@asynccontextmanager
async def writing(site: Site, bucket: str, enter: Sequence[str] = ()) -> AsyncIterator[Writer]:
    """Run a writer, and end it at the latest when this is left.

    Args:
        site: where it writes.
        bucket: where its slices go.
        enter: the beginning of the command that runs it.
    """
    process = await asyncio.create_subprocess_exec(
        *enter, sys.executable, "-m", "helpers.slice_writer",
        str(site.data_dir), site.endpoint, site.callback_url, bucket, str(ANCHORS),
        cwd=TESTS,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Writer(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def write_and_kill(site: Site, bucket: str, lines: int) -> list[tuple[str, int]]:
    """Run a writer until it has told of `lines` durable slices, kill it; what it told."""
    async with writing(site, bucket) as writer:
        await writer.hear(until=lambda: len(writer.told) == lines)
        await writer.kill()
    return writer.told


def contents(server: S3Server, bucket: str, kind: SliceKind) -> list[bytes]:
    """The data of all of a bucket's objects of a kind."""
    keys = [key for key in server.keys(bucket) if ObjectName.from_key(key).kind is kind]
    return [server.get(bucket, key).data for key in keys]


@pytest.mark.parametrize(
    ("seed", "is_outage"),
    [(1, False), (2, False), (3, False), (4, True)],
    ids=["1", "2", "3", "while bucket and receiver are down"],
)
async def test_every_finished_slice_arrives_exactly_once(
    tmp_path: Path, s3_server: S3Server, seed: int, is_outage: bool
) -> None:
    """Three kills in a row, then a quiet run: bucket, events and what was told durable agree."""
    moments = random.Random(seed)
    bucket = s3_server.new_bucket()
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site = Site(tmp_path / "data", s3_server.url, receiver.url)
        before = replace(site, endpoint=NOWHERE, callback_url=NOWHERE) if is_outage else site
        told = []
        for _ in range(3):
            told += await write_and_kill(before, bucket, lines=moments.randint(1, 60))
        async with site.open() as delivery:
            await delivery.record_stop()
            await receiver.wait_for_type(1005, within_s=60)
            # Their first attempts were before that of 1005, their last ones need not be.
            await receiver.wait_for_type(1004, len(s3_server.keys(bucket)), within_s=60)
        assert receiver.of_type(1005)[0]["EventInfo"]["Payload"] == {"Status": 0}
        assert site.spooled == []

        files = [event["EventInfo"]["Payload"]["FileName"] for event in receiver.of_type(1004)]
        assert sorted(files) == s3_server.keys(bucket)
        assert len(receiver.of_type(1003)) == 1
        reasons = {e["EventInfo"]["Payload"]["Message"][:16] for e in receiver.of_type(1006)}
        assert reasons == ({"ConnectionFailed"} if is_outage else set())
    check_contents(s3_server, bucket, told)


async def test_a_kill_while_disk_bucket_and_receiver_fail(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """All at once, twice, the second time from the start on: what was durable arrives once it can,
    exactly once, and is told."""
    moments = random.Random(5)
    bucket = s3_server.new_bucket()
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        told = []
        with small_disk(tmp_path / "disk", 3 * 1024) as disk:
            full = Site(disk.inside / "data", NOWHERE, NOWHERE)
            for _ in range(2):
                async with writing(full, bucket, disk.enter) as writer:
                    hearing = asyncio.create_task(writer.hear())
                    await eventually(lambda: disk.is_full, 30)
                    await asyncio.sleep(moments.random())
                    hearing.cancel()
                    await asyncio.wait([hearing])
                    await writer.kill()
                told += writer.told
            await asyncio.to_thread(shutil.copytree, disk.path / "data", tmp_path / "roomy")
        assert told
        site = Site(tmp_path / "roomy", s3_server.url, receiver.url)
        async with site.open() as delivery:
            await delivery.record_stop()
            await receiver.wait_for_type(1005, within_s=60)
            await receiver.wait_for_type(1004, len(s3_server.keys(bucket)), within_s=60)
        assert site.spooled == []
    files = [event["EventInfo"]["Payload"]["FileName"] for event in receiver.of_type(1004)]
    assert sorted(files) == s3_server.keys(bucket)
    assert len(receiver.of_type(1005)) == 1
    check_contents(s3_server, bucket, told)


def check_contents(server: S3Server, bucket: str, told: list[tuple[str, int]]) -> None:
    """What was told to be durable is in the bucket, and nothing there is torn or mixed."""
    audio = Counter(contents(server, bucket, SliceKind.AUDIO))
    pictures = Counter(contents(server, bucket, SliceKind.IMAGE))
    for (user_id, number), times in Counter(told).items():
        whole = b"".join(piece(user_id, number, index) for index in range(PIECES))
        assert audio[whole] >= times, f"slice {number} of {user_id} is missing"
    for number, times in Counter(number for _, number in told).items():
        for index in range(PIECES):
            assert pictures[f"picture {number}.{index}".encode()] >= times
    for data in audio:
        assert is_prefix_of_a_slice(data), data


def is_prefix_of_a_slice(data: bytes) -> bool:
    """Whether an object is a whole slice, or its repaired beginning; never torn or mixed."""
    pieces = data.removesuffix(b" repaired").splitlines(keepends=True)
    user_id, _, number, _, _ = pieces[0].decode().split()
    expected = (piece(user_id, int(number), index) for index in itertools.count())
    return all(got == wanted for got, wanted in zip(pieces, expected, strict=False))
