"""Exceptions that nobody foresaw, inside delivery: they cost a pause, no slice and no event."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cloudslice.delivery import slices
from cloudslice.delivery.lane import Lane
from cloudslice.delivery.storage import StoredObject

from cloudslice.slices import Bucket
from cloudslice.uploads.objects import StoredObject
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
        for consignor in (TASK, OTHER):
            await delivery.open(consignor, BUCKET)
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
    assert delivery.uploader.counters.errors >= 2
    (told,) = receiver.of_type(1006)
    assert told["EventInfo"]["Payload"]["Message"].startswith("InternalError: ")
    bucket.bad = set()
    await receiver.wait_for_type(1004, count=4)
    await delivery.flush()
    await delivery.record_stop(TASK.task_id, 0)
    await receiver.wait_for_type(1005)
    assert receiver.of_type(1005)[0]["EventInfo"]["Payload"] == {"Status": 0}


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        pytest.param(slices, "delete", id="recording an upload"),
        pytest.param(slices, "find_due", id="asking for slices"),
        pytest.param(slices, "postpone", id="noting a failure"),
        pytest.param(Lane, "run", id="a task's uploads as a whole"),
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
    monkeypatch.setattr("cloudslice.delivery.uploader.counters._RETRY_S", 0.05)
    failing = Failing(monkeypatch, owner, name)
    bucket.bad = {"221321.png"}
    put_pictures(delivery, 2)
    await eventually(lambda: failing.has_failed)
    bucket.bad = set()
    put_pictures(delivery, 1, OTHER.task_id)
    await receiver.wait_for_type(1004, count=3)
    await delivery.flush()
    for task_id in (TASK.task_id, OTHER.task_id):
        await delivery.record_stop(task_id, 0)
    await receiver.wait_for_type(1005, count=2)
    assert delivery.uploader.counters.errors


async def test_a_full_spool_is_seen_to_after_a_fault(
    site: Site, bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making room is tried again."""
    site.storage = {"spool_limit_gib": 1000 / 1024**3}
    bucket.bad = {"/"}
    failing = Failing(monkeypatch, slices, "find_oldest")
    async with site.open(bucket_opener=lambda _bucket: bucket) as delivery:
        await delivery.open(TASK, BUCKET)
        for n in range(12):
            delivery.put(PICTURE, START_MS + 5000 * n, bytes(100), {})
        await eventually(lambda: failing.has_failed)
        await eventually(lambda: delivery.spool.used_bytes <= 1000)


async def test_a_task_of_which_nothing_can_be_told_holds_up_no_other(
    delivery: Delivery, bucket: MemoryBucket, receiver: WebhookReceiver
) -> None:
    """Its room cannot be read: even that its slices are lost cannot be put on record."""
    damage = "UPDATE consignors SET room_id = 'gar{bage' WHERE task_id = ?"
    await delivery.open(OTHER, BUCKET, also=lambda c: c.execute(damage, (OTHER.task_id,)))
    put_pictures(delivery, 2, OTHER.task_id)
    put_pictures(delivery, 3)
    await delivery.flush()
    await delivery.record_stop(TASK.task_id, 0)
    await receiver.wait_for_type(1005)
    assert len(receiver.of_type(1004)) == len(bucket.keys) == 3
    assert delivery.losses.count == 2


async def test_a_task_whose_slices_cannot_be_dropped_keeps_no_spool_full(
    site: Site, bucket: MemoryBucket
) -> None:
    """Room is made by those of others."""
    site.storage = {"spool_limit_gib": 1000 / 1024**3}
    bucket.bad = {"/"}
    damage = "UPDATE consignors SET room_id = 'gar{bage' WHERE task_id = ?"
    async with site.open(bucket_opener=lambda _bucket: bucket) as delivery:
        for consignor in (TASK, OTHER):
            await delivery.open(consignor, BUCKET)
        for _ in range(6):
            delivery.put(replace(PICTURE, task_id=OTHER.task_id), START_MS, bytes(100), {})
        await delivery.flush()
        undroppable = set(site.spooled)
        await delivery.open(OTHER, BUCKET, also=lambda c: c.execute(damage, (OTHER.task_id,)))
        for _ in range(12):
            delivery.put(PICTURE, START_MS, bytes(100), {})
        await eventually(lambda: delivery.uploader.counters.dropped == 8)
        await eventually(lambda: delivery.spool.used_bytes <= 1000)
    assert undroppable <= set(site.spooled)
