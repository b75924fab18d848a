"""Exceptions that nobody foresaw, inside delivery: they cost a pause, no slice and no event."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudslice.bus import Bus
from cloudslice.slices import Bucket
from cloudslice.spool.spool import Spool
from cloudslice.uploads.objects import StoredObject
from cloudslice.uploads.progress import Progress
from cloudslice.uploads.task_queue import TaskQueue
from helpers.delivery import CALLBACK_KEY, PICTURE, START_MS, TASK, Delivery, Site, make_test_bucket
from helpers.failing import BugError, Failing
from helpers.waiting import eventually
from helpers.webhooks import WebhookReceiver

OTHER = replace(TASK, task_id="8-EXAMPLE+TaskId..")
BUCKET = make_test_bucket()


class MemoryBucket:
    """A bucket that raises for what is in `bad`."""

    def __init__(self) -> None:
        self.bad: set[str] = set()
        self.keys: list[str] = []
        self.attempts = 0

    def url(self, key: str) -> str:
        return f"memory:{key}"

    async def put(self, item: StoredObject) -> None:
        self.attempts += 1
        if any(each in item.key for each in self.bad):
            raise BugError("upload")
        self.keys.append(item.key)


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        yield receiver


@pytest.fixture
def site(tmp_path: Path, receiver: WebhookReceiver) -> Site:
    return Site(tmp_path / "data", "http://127.0.0.1:9", receiver.url)


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
async def delivery(site: Site, bucket: MemoryBucket) -> AsyncIterator[Delivery]:
    def open_bucket(_bucket: Bucket) -> MemoryBucket:
        return bucket

    async with site.open(bucket_opener=open_bucket) as delivery:
        for task in (TASK, OTHER):
            await delivery.open(task, BUCKET)
        yield delivery


def put_pictures(delivery: Delivery, count: int, task_id: str = TASK.task_id) -> None:
    for n in range(count):
        delivery.put(replace(PICTURE, task_id=task_id), START_MS + 5000 * n, b"png", {})


async def test_an_upload_that_raises_holds_up_no_other(
    delivery: Delivery, bucket: MemoryBucket, receiver: WebhookReceiver
) -> None:
    """It is told in one 1006 and tried again; the others of its task, and other tasks, go on."""
    bucket.bad = {f"{TASK.task_id}/anchor_1/images/1400000000_150_anchor_1_20231114221321"}
    put_pictures(delivery, 3)
    put_pictures(delivery, 1, OTHER.task_id)
    await receiver.wait_for_type(1004, count=3)
    await receiver.wait_for_type(1006)
    await eventually(lambda: bucket.attempts >= 6)
    assert delivery.uploader.faults.errors >= 2
    (told,) = receiver.of_type(1006)
    assert told["EventInfo"]["Payload"]["Message"].startswith("InternalError: ")
    bucket.bad = set()
    await receiver.wait_for_type(1004, count=4)
    await delivery.flush()
    await delivery.record_stop()
    await receiver.wait_for_type(1005)
    assert receiver.of_type(1005)[0]["EventInfo"]["Payload"] == {"Status": 0}


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        pytest.param(Bus, "record", id="recording an event"),
        pytest.param(Spool, "read", id="reading a slice"),
        pytest.param(Spool, "load_bucket", id="finding the bucket"),
        pytest.param(Progress, "start", id="telling of the first upload"),
        pytest.param(Progress, "fail", id="noting a failure"),
        pytest.param(Progress, "settle", id="settling the task"),
        pytest.param(TaskQueue, "run", id="a task's uploads as a whole"),
    ],
)
async def test_a_fault_beside_an_upload_costs_no_slice(
    delivery: Delivery,
    bucket: MemoryBucket,
    receiver: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
) -> None:
    """And the task's end comes, as in another task."""
    monkeypatch.setattr("cloudslice.gathering._RETRY_S", 0.05)
    failing = Failing(monkeypatch, owner, name)
    bucket.bad = {"221321.png"}
    put_pictures(delivery, 2)
    put_pictures(delivery, 1, OTHER.task_id)
    await eventually(lambda: failing.has_failed or name == "settle")
    bucket.bad = set()
    await receiver.wait_for_type(1004, count=3)
    await delivery.flush()
    for task in (TASK, OTHER):
        await delivery.record_stop(task)
    await receiver.wait_for_type(1005, count=2)
    assert delivery.uploader.faults.errors


async def test_a_full_spool_is_seen_to_after_a_fault(
    site: Site, bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making room is tried again."""
    site.storage = {"spool_limit_gib": 5000 / 1024**3}
    bucket.bad = {"/"}
    failing = Failing(monkeypatch, TaskQueue, "drop")
    async with site.open(bucket_opener=lambda _bucket: bucket) as delivery:
        await delivery.open(TASK, BUCKET)
        for n in range(12):
            delivery.put(PICTURE, START_MS + 5000 * n, bytes(100), {})
        await eventually(lambda: failing.has_failed)
        await eventually(lambda: delivery.spool.used_bytes <= 5000)
