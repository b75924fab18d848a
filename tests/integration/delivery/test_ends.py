"""The ends of tasks: 1005 is the last word of each, and says of losses what is so."""

import errno
import shutil
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudslice.slices import Bucket, TaskRef
from cloudslice.sqlite_file import DatabaseError
from cloudslice.uploads import failures, task_queue
from cloudslice.uploads.objects import StoredObject
from cloudslice.uploads.progress import Progress
from cloudslice.uploads.storage_errors import StorageError
from helpers.delivery import (
    AUDIO,
    CALLBACK_KEY,
    PICTURE,
    START_MS,
    TASK,
    Delivery,
    Site,
    make_test_bucket,
)
from helpers.failing import BugError, Failing
from helpers.faulty_disk import FaultyDisk
from helpers.waiting import eventually
from helpers.webhooks import WebhookReceiver

OTHER = replace(TASK, task_id="8-EXAMPLE+TaskId..")
BUCKET = make_test_bucket()


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        yield receiver


@pytest.fixture
def site(tmp_path: Path, receiver: WebhookReceiver) -> Site:
    return Site(tmp_path / "data", f"file://{tmp_path}/buckets", receiver.url)


def payloads(receiver: WebhookReceiver, event_type: int) -> list[dict[str, object]]:
    return [event["EventInfo"]["Payload"] for event in receiver.of_type(event_type)]


async def lose_picture(delivery: Delivery, task: TaskRef = TASK) -> None:
    """Nothing of a picture can be kept."""
    growing = delivery.grow(replace(PICTURE, task_id=task.task_id), START_MS)
    growing.append(b"png")
    growing.abandon("no room")
    await delivery.flush()


async def test_an_unknown_task_waits_for_what_the_disk_refused_at_the_start(
    site: Site, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice that is completed later is delivered, though no database knows its task."""
    async with site.open() as delivery:
        await delivery.open(TASK, BUCKET)
        delivery.grow(AUDIO, START_MS).append(b"heard")
    (part,) = site.files
    disk = FaultyDisk(monkeypatch)
    disk.errors["fsync", part.name] = errno.ENOSPC
    async with site.open() as delivery:
        await delivery.uploader.end_others(())
        disk.errors.clear()
        await receiver.wait_for_type(1005)
        assert (len(receiver.of_type(1004)), payloads(receiver, 1005)) == (1, [{"Status": 0}])
        assert delivery.spool.files_set_aside == 0


async def test_an_unknown_task_of_which_something_was_told_ends(
    site: Site, receiver: WebhookReceiver
) -> None:
    """Though nothing of it waits any more. Of one of which nothing was told nothing is."""
    async with site.open() as delivery:
        for task in (TASK, OTHER):
            await delivery.open(task, BUCKET)
        delivery.put(PICTURE, START_MS, b"png", {})
        await receiver.wait_for_type(1004)
        await delivery.flush()
    async with site.open() as delivery:
        await delivery.uploader.end_others(())
        await receiver.wait_for_type(1005)
        await delivery.flush()
    (end,) = receiver.of_type(1005)
    assert end["EventInfo"]["TaskId"] == TASK.task_id
    assert list((site.data_dir / "spool").iterdir()) == []


def refuse(_bucket: Bucket) -> "RefusingBucket":
    return RefusingBucket()


class RefusingBucket:
    """A bucket that takes nothing."""

    def url(self, key: str) -> str:
        return key

    async def put(self, item: StoredObject) -> None:
        raise StorageError(503, "SlowDown", "Please reduce your request rate.")


async def test_a_loss_is_told_before_the_end(
    site: Site, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the database refuses it, while it takes everything else."""
    monkeypatch.setattr("cloudslice.database._RETRY_S", 0.2)
    original, refused = Progress.lose, []

    def lose(self: Progress, connection: sqlite3.Connection, *rest: object) -> None:
        if len(refused) < 3:
            refused.append(rest)
            raise DatabaseError("disk full")
        original(self, connection, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Progress, "lose", lose)
    async with site.open() as delivery:
        await delivery.open(TASK, BUCKET)
        await lose_picture(delivery)
        await delivery.record_stop()
        await receiver.wait_for_type(1005)
    assert [event["EventType"] for event in receiver.events][-2:] == [1006, 1005]
    assert payloads(receiver, 1005) == [{"Status": 1}]


async def test_a_loss_that_cannot_be_told_holds_up_no_other_task(
    site: Site, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again for as long as the fault is there."""
    monkeypatch.setattr("cloudslice.gathering._RETRY_S", 0.05)
    original, bad = Progress.lose, {TASK}

    def lose(self: Progress, connection: sqlite3.Connection, task: TaskRef, *rest: object) -> None:
        if task in bad:
            raise BugError("lose")
        original(self, connection, task, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Progress, "lose", lose)
    async with site.open() as delivery:
        for task in (TASK, OTHER):
            await delivery.open(task, BUCKET)
            await lose_picture(delivery, task)
            await delivery.record_stop(task)
        await receiver.wait_for_type(1005)
        assert [event["EventInfo"]["TaskId"] for event in receiver.of_type(1006)] == [OTHER.task_id]
        bad.clear()
        await receiver.wait_for_type(1005, count=2)
    assert payloads(receiver, 1005) == [{"Status": 1}] * 2


async def test_a_bucket_that_cannot_be_opened_by_a_fault_is_told(
    site: Site, receiver: WebhookReceiver
) -> None:
    """And so is that the task's uploads are incomplete, when the time has come."""

    def open_bucket(_bucket: Bucket) -> RefusingBucket:
        raise BugError("open")

    async with site.open(bucket_opener=open_bucket) as delivery:
        await delivery.open(TASK, BUCKET)
        delivery.put(PICTURE, START_MS, b"png", {})
        await delivery.flush()
        await delivery.record_stop()
        await receiver.wait_for_type(1005)
    assert payloads(receiver, 1003) == [{"Status": 1}]
    (told,) = payloads(receiver, 1006)
    assert str(told["Message"]).startswith("InternalError: ")
    assert payloads(receiver, 1005) == [{"Status": 1}]


async def test_a_spool_over_its_limit_loses_no_more_than_it_must(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is being dropped counts once, however many slices come before its file is gone."""
    site.storage = {"spool_limit_gib": 1_000_000 / 1024**3}
    give_up = failures.give_up
    async with site.open(bucket_opener=refuse) as delivery:

        async def give_up_while_slices_come(*arguments: Any) -> None:
            await give_up(*arguments)
            delivery.uploader._limit._is_passed.set()

        monkeypatch.setattr(task_queue, "give_up", give_up_while_slices_come)
        await delivery.open(TASK, BUCKET)
        for n in range(60):
            delivery.put(PICTURE, START_MS + 5000 * n, bytes(20_000), {})
        counters = delivery.uploader.counters
        await eventually(lambda: counters.dropped and delivery.spool.used_bytes <= 1_000_000)
        await delivery.flush()
        assert delivery.spool.used_bytes > 950_000


async def test_a_slice_that_could_not_be_dropped_is_not_forgotten(
    site: Site, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault while it was given up: it waits again, and the task's end waits for it."""
    failing = Failing(monkeypatch, task_queue, "give_up")
    is_up = False

    class Bucket(RefusingBucket):
        async def put(self, item: StoredObject) -> None:
            if not is_up:
                await super().put(item)

    site.storage = {"spool_limit_gib": 3000 / 1024**3}
    async with site.open(bucket_opener=lambda _bucket: Bucket()) as delivery:
        await delivery.open(TASK, BUCKET)
        for n in range(12):
            delivery.put(PICTURE, START_MS + 5000 * n, bytes(100), {})
        await eventually(lambda: failing.has_failed)
        await delivery.flush()
        is_up = True
        await delivery.record_stop()
        await receiver.wait_for_type(1005)
        counters = delivery.uploader.counters
        assert counters.stored + counters.dropped == 12
        assert delivery.spool.files_set_aside == 0


async def test_a_task_that_the_spool_has_lost_ends(site: Site, receiver: WebhookReceiver) -> None:
    """It has nothing to deliver: 1005 follows 1002 all the same."""
    async with site.open() as delivery:
        await delivery.record_stop()
        await receiver.wait_for_type(1005)
        await delivery.flush()
        rows = await delivery.database.run(lambda c: c.execute("SELECT * FROM uploads").fetchall())
    assert rows == []


async def test_a_lost_spool_leaves_nothing_on_record(site: Site) -> None:
    """Of tasks that had ended nobody knows any more whom to tell; the others go on."""
    async with site.open(bucket_opener=refuse) as delivery:
        for task in (TASK, OTHER):
            await delivery.open(task, BUCKET)
            delivery.put(replace(PICTURE, task_id=task.task_id), START_MS, b"png", {})
        await delivery.flush()
        await eventually(lambda: delivery.uploader.counters.failed_attempts >= 2)
        await delivery.record_stop()
    shutil.rmtree(site.data_dir / "spool")
    async with site.open() as delivery:
        await delivery.uploader.end_others({OTHER.task_id})
        for table in ("uploads", "upload_failures"):
            rows = await delivery.database.run(
                lambda c, table=table: c.execute(f"SELECT task_id FROM {table}").fetchall()  # type: ignore[misc]  # noqa: S608
            )
            assert rows == [(OTHER.task_id,)]
