"""Slices against a real S3 server, as each of the vendors."""

import asyncio
import errno
import hashlib
import json
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from cloudslice.slices import Bucket, SliceKind, Vendor
from helpers.delivery import (
    AUDIO,
    CALLBACK_KEY,
    PICTURE,
    START_MS,
    TASK,
    Delivery,
    Site,
    SteppingClock,
    make_bucket,
    make_test_bucket,
)
from helpers.faulty_disk import FaultyDisk
from helpers.s3_server import S3Server
from helpers.waiting import eventually
from helpers.webhooks import WebhookReceiver

AUDIO_KEY = "prefix1/9-EXAMPLE+TaskId../anchor_1/audios/1400000000_150_anchor_1_20231114221321.ogg"
PICTURE_KEY = (
    "prefix1/9-EXAMPLE+TaskId../anchor_1/images/1400000000_150_anchor_1_20231114221321.png"
)


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        yield receiver


@pytest.fixture
def site(tmp_path: Path, s3_server: S3Server, receiver: WebhookReceiver) -> Site:
    return Site(tmp_path / "data", s3_server.url, receiver.url)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[S3Server]:
    """A server that a test may stop."""
    server = S3Server(tmp_path / "s3")
    server.start()
    yield server
    server.stop()


def put_audio(delivery: Delivery, data: bytes = b"ogg", start_ms: int = START_MS) -> None:
    growing = delivery.grow(AUDIO, start_ms)
    growing.append(data)
    growing.finish(start_ms, 15000, {"first-sample": 0})


async def end(delivery: Delivery, leave_code: int = 0) -> None:
    await delivery.flush()
    await delivery.record_stop(leave_code=leave_code)


def payloads(receiver: WebhookReceiver) -> list[tuple[int, dict[str, object]]]:
    return [(event["EventType"], event["EventInfo"]["Payload"]) for event in receiver.events]


@pytest.mark.parametrize("vendor", Vendor)
@pytest.mark.parametrize("style", ["path", "virtual-hosted"])
async def test_a_task_from_start_to_end(
    site: Site,
    s3_server: S3Server,
    receiver: WebhookReceiver,
    vendor: Vendor,
    style: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Objects, their names, types and metadata, and the events in their order."""
    bucket = make_bucket(s3_server, s3_server.new_bucket(), vendor)
    if style == "virtual-hosted":
        site.endpoint = s3_server.virtual_url
        # <bucket>.localhost does not resolve everywhere; the webhooks keep clear of the proxy.
        monkeypatch.setenv("HTTP_PROXY", s3_server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with site.open() as delivery:
        await delivery.open(TASK, bucket)
        await delivery.record_start()
        put_audio(delivery)
        await receiver.wait_for_type(1004)
        picture_of = replace(PICTURE, identity="张@example.com")
        delivery.put(picture_of, START_MS, b"png", {"width": 640})
        await receiver.wait_for_type(1004, count=2)
        await end(delivery, leave_code=99)
        await receiver.wait_for_type(1005)
        await delivery.flush()
        assert site.spooled == []
        assert delivery.spool.used_bytes == 0

    assert s3_server.keys(bucket.name) == [AUDIO_KEY, PICTURE_KEY]
    audio = s3_server.get(bucket.name, AUDIO_KEY)
    assert (audio.data, audio.content_type) == (b"ogg", "audio/ogg")
    assert audio.metadata == {
        "start-ms": str(START_MS),
        "duration-ms": "15000",
        "sha256": hashlib.sha256(b"ogg").hexdigest(),
        "first-sample": "0",
    }
    picture = s3_server.get(bucket.name, PICTURE_KEY)
    assert (picture.data, picture.content_type) == (b"png", "image/png")
    assert picture.metadata["width"] == "640"
    assert picture.metadata["identity"] == "%E5%BC%A0@example.com"

    base = (
        f"{s3_server.url}/{bucket.name}"
        if style == "path"
        else s3_server.virtual_url.replace("{bucket}", bucket.name)
    )
    times = {"StartTimeStamp": START_MS, "EndTimeStamp": START_MS + 15000}
    audio_url, picture_url = (f"{base}/{quote(key)}" for key in (AUDIO_KEY, PICTURE_KEY))
    assert "%2BTaskId" in audio_url
    assert payloads(receiver) == [
        (1001, {"Status": 0}),
        (1003, {"Status": 0}),
        (
            1004,
            {
                "MediaType": 1,
                "FileName": AUDIO_KEY,
                "Audio": audio_url,
                "Image": "",
                **times,
                "Details": {"FirstSample": 0},
            },
        ),
        (
            1004,
            {
                "MediaType": 2,
                "FileName": PICTURE_KEY,
                "Audio": "",
                "Image": picture_url,
                **dict.fromkeys(times, START_MS),
                "StreamIdentity": "张@example.com",
                "Details": {"Width": 640},
            },
        ),
        (1002, {"LeaveCode": 99}),
        (1005, {"Status": 0}),
    ]
    assert {event["EventInfo"].get("StreamUserId") for event in receiver.of_type(1004)} == {
        "anchor_1"
    }


@pytest.mark.parametrize(
    "room_id",
    [
        pytest.param("a b", id="space"),
        pytest.param("100%25", id="looks encoded"),
        pytest.param("!#$%&()+-:;<=.>?@[]^_{}|~,", id="all odd characters"),
    ],
)
async def test_odd_room_ids_are_raw_in_the_key(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver, room_id: str
) -> None:
    """They are encoded on the wire only."""
    bucket = make_bucket(s3_server, s3_server.new_bucket())
    async with site.open() as delivery:
        await delivery.open(replace(TASK, room_id=room_id), bucket)
        delivery.put(PICTURE, START_MS, b"png", {})
        await receiver.wait_for_type(1004)
    assert s3_server.keys(bucket.name) == [PICTURE_KEY.replace("_150_", f"_{room_id}_")]
    (event,) = receiver.of_type(1004)
    assert event["EventInfo"]["RoomId"] == room_id
    assert f"_{quote(room_id, safe='')}_" in event["EventInfo"]["Payload"]["Image"]


async def test_foreign_credentials_in_the_environment_are_not_used(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session token of the machine's own does not get into requests signed by a task's key."""
    bucket = make_bucket(s3_server, s3_server.new_bucket())
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TokenOfTheMachine")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    async with site.open() as delivery:
        await delivery.open(TASK, bucket)
        delivery.put(PICTURE, START_MS, b"png", {})
        await receiver.wait_for_type(1004)
    assert receiver.of_type(1006) == []


async def test_a_directory_as_bucket(
    tmp_path: Path, receiver: WebhookReceiver, s3_server: S3Server
) -> None:
    """file:// works like any other endpoint, to the URL in the event."""
    site = Site(tmp_path / "data", f"file://{tmp_path}/buckets", receiver.url)
    async with site.open() as delivery:
        await delivery.open(TASK, make_bucket(s3_server, "demo-125"))
        put_audio(delivery)
        await end(delivery)
        await receiver.wait_for_type(1005)
    file = tmp_path / "buckets" / "demo-125" / AUDIO_KEY
    assert await asyncio.to_thread(file.read_bytes) == b"ogg"
    (event,) = receiver.of_type(1004)
    assert event["EventInfo"]["Payload"]["Audio"] == f"file://{quote(str(file))}"


async def test_a_storage_outage_delays_and_loses_nothing(
    tmp_path: Path, own_server: S3Server, receiver: WebhookReceiver
) -> None:
    """While the store is down slices wait, with one 1006; when it is back, all arrive."""
    site = Site(tmp_path / "data", own_server.url, receiver.url)
    bucket = make_bucket(own_server, own_server.new_bucket())
    async with site.open() as delivery:
        await delivery.open(TASK, bucket)
        put_audio(delivery, b"before")
        await receiver.wait_for_type(1004)
        await asyncio.to_thread(own_server.stop)
        for n in range(1, 11):
            put_audio(delivery, f"slice {n}".encode(), START_MS + 15000 * n)
        await receiver.wait_for_type(1006)
        await eventually(lambda: delivery.uploader.counters.failed_attempts >= 3)
        assert len(receiver.of_type(1004)) == 1
        assert delivery.uploader.count_waiting() == 10
        await asyncio.to_thread(own_server.start)
        await receiver.wait_for_type(1004, count=11)
        await end(delivery)
        await receiver.wait_for_type(1005)
    contents = {own_server.get(bucket.name, key).data for key in own_server.keys(bucket.name)}
    assert contents == {b"before", *(f"slice {n}".encode() for n in range(1, 11))}
    errors = [event["EventInfo"]["Payload"] for event in receiver.of_type(1006)]
    reasons = [str(error["Message"]).partition(":")[0] for error in errors]
    assert reasons[0] == "ConnectionFailed"
    assert len(set(reasons)) == len(reasons)  # a server that starts may refuse in ways of its own
    assert receiver.events[-1]["EventInfo"]["Payload"] == {"Status": 0}


async def test_a_wrong_key_is_told_once_and_the_right_one_stores_all(
    tmp_path: Path,
    own_server: S3Server,
    receiver: WebhookReceiver,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A refusal is one 1006 with the store's own words, and one warning that says which store it
    is; once the key is good, nothing is lost."""
    site = Site(tmp_path / "data", own_server.url, receiver.url)
    bucket = make_bucket(own_server, own_server.new_bucket())
    stranger = replace(bucket, access_key="AKIDSTRANGER", secret_key="StrangersSecret")
    async with site.open() as delivery:
        await delivery.open(TASK, stranger)
        put_audio(delivery)
        delivery.put(PICTURE, START_MS, b"png", {})
        await receiver.wait_for_type(1006)
        await eventually(lambda: delivery.uploader.counters.failed_attempts >= 4)
        own_server.credentials["AKIDSTRANGER"] = "StrangersSecret"
        await asyncio.to_thread(own_server.stop)
        await asyncio.to_thread(own_server.start)
        await receiver.wait_for_type(1004, count=2)
    assert own_server.keys(bucket.name) == [AUDIO_KEY, PICTURE_KEY]
    refusals = [
        event["EventInfo"]["Payload"]
        for event in receiver.of_type(1006)
        if event["EventInfo"]["Payload"]["Code"] == 403
    ]
    assert refusals == [
        {
            "Code": 403,
            "Message": "InvalidAccessKeyId: "
            "The access key ID you provided does not exist in our records.",
        }
    ]
    assert "StrangersSecret" not in json.dumps(receiver.events)
    assert f"{own_server.url}/{bucket.name}/" in capsys.readouterr().out


async def test_an_impossible_bucket_is_told_as_a_failed_start(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver
) -> None:
    """1003 with Status 1, then the reason; the task's end says that nothing was stored."""
    async with site.open() as delivery:
        await delivery.open(TASK, make_bucket(s3_server, "a/b"))
        put_audio(delivery)
        await end(delivery)
        await receiver.wait_for_type(1005)
    assert sorted(payloads(receiver), key=lambda each: each[0]) == [
        (1002, {"LeaveCode": 0}),
        (1003, {"Status": 1}),
        (1005, {"Status": 1}),
        (1006, {"Code": 0, "Message": "InvalidBucket: 'a/b' cannot be the name of a bucket."}),
    ]


async def test_leftovers_of_an_ended_task_are_told_and_stored_later(
    tmp_path: Path, own_server: S3Server, receiver: WebhookReceiver
) -> None:
    """1005 says 1 when the store fails for too long after the end, and 2 when it came right."""
    site = Site(tmp_path / "data", own_server.url, receiver.url)
    bucket = make_bucket(own_server, own_server.new_bucket())
    async with site.open() as delivery:
        await delivery.open(TASK, bucket)
        await asyncio.to_thread(own_server.stop)
        put_audio(delivery)
        await end(delivery)
        await receiver.wait_for_type(1005)
        await asyncio.to_thread(own_server.start)
        await receiver.wait_for_type(1005, count=2)
    statuses = [event["EventInfo"]["Payload"]["Status"] for event in receiver.of_type(1005)]
    assert statuses == [1, 2]
    assert own_server.keys(bucket.name) == [AUDIO_KEY]


async def test_a_dead_bucket_starves_no_other(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver
) -> None:
    """Many tasks whose store never answers leave a healthy one its pace."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as black_hole:
        site.storage = {
            "endpoints": {
                "cos": f"http://127.0.0.1:{black_hole.getsockname()[1]}",
                "s3": s3_server.url,
            },
            "upload_timeout_s": 0.4,
        }
        bucket = make_bucket(s3_server, s3_server.new_bucket(), Vendor.S3)
        async with site.open() as delivery:
            for n in range(100):
                task = replace(TASK, task_id=f"dead{n}")
                await delivery.open(task, replace(bucket, vendor=Vendor.COS))
                for k in range(4):
                    origin = replace(PICTURE, task_id=task.task_id)
                    delivery.put(origin, START_MS + 5000 * k, b"x", {})
            await receiver.wait_for_type(1006, count=100)
            await delivery.open(TASK, bucket)
            started = asyncio.get_running_loop().time()
            for n in range(10):
                delivery.put(PICTURE, START_MS + 5000 * n, b"png", {})
            await receiver.wait_for_type(1004, count=10)
            assert asyncio.get_running_loop().time() - started < 5
    assert len(s3_server.keys(bucket.name)) == 10


async def test_slices_past_the_retention_are_given_up(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver
) -> None:
    """They are told in one 1006, and 1005 does not claim that all were stored."""
    site.storage = {"retention_hours": 0.5 / 3600}
    site.endpoint = "http://127.0.0.1:9"
    async with site.open(patience_s=60) as delivery:
        await delivery.open(TASK, make_bucket(s3_server, "demo-125"))
        put_audio(delivery)
        put_audio(delivery)
        await end(delivery)
        await receiver.wait_for_type(1005)
        assert delivery.uploader.counters.given_up == 2
        await delivery.flush()
        assert (site.spooled, delivery.spool.used_bytes) == ([], 0)
    messages = [event["EventInfo"]["Payload"]["Message"] for event in receiver.of_type(1006)]
    assert len(messages) == 2
    assert messages[1].startswith("RetentionExceeded: ")
    assert receiver.events[-1]["EventInfo"]["Payload"] == {"Status": 1}


async def test_a_step_of_the_wall_clock_gives_up_nothing(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver
) -> None:
    """Neither at once nor over a restart; what waits is stored when the store is back."""
    good_url, site.endpoint = site.endpoint, "http://127.0.0.1:9"
    bucket = make_bucket(s3_server, s3_server.new_bucket())
    clock = SteppingClock()
    async with site.open(clock) as delivery:
        await delivery.open(TASK, bucket)
        for n in range(7):
            put_audio(delivery, start_ms=START_MS + 15000 * n)
        await eventually(lambda: delivery.uploader.counters.failed_attempts >= 4)
        clock.step_ms = 25 * 3_600_000
        failed = delivery.uploader.counters.failed_attempts
        await eventually(lambda: delivery.uploader.counters.failed_attempts >= failed + 2)
        assert delivery.uploader.counters.given_up == 0
    clock.step_ms = 50 * 3_600_000
    async with site.open(clock) as delivery:
        await eventually(lambda: delivery.uploader.counters.failed_attempts >= 2)
        assert delivery.uploader.counters.given_up == 0
    site.endpoint = good_url
    async with site.open(clock) as delivery:
        await receiver.wait_for_type(1004, count=7)
    assert len(s3_server.keys(bucket.name)) == 7


async def test_slices_whose_age_is_unknown_begin_to_wait(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver
) -> None:
    """As after an upgrade: the wall clock alone is no reason to give up what waits."""
    site.endpoint = "http://127.0.0.1:9"
    async with site.open() as delivery:
        await delivery.open(TASK, make_bucket(s3_server, "demo-125"))
        put_audio(delivery)
        await delivery.flush()
    (file,) = site.files
    file.rename(file.with_name(f"{5:013d}-{file.name.partition('-')[2]}"))
    with closing(sqlite3.connect(site.data_dir / "test.db")) as connection, connection:
        connection.execute("DELETE FROM steady_clock")
    async with site.open() as delivery:
        await eventually(lambda: delivery.uploader.counters.failed_attempts >= 3)
        assert delivery.uploader.counters.given_up == 0


async def test_a_full_spool_keeps_the_newest(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver
) -> None:
    """New tasks are to be refused; the oldest slices are dropped, which is told."""
    site.storage = {"spool_limit_gib": 106_000 / 1024**3}
    site.endpoint = "http://127.0.0.1:9"
    async with site.open() as delivery:
        await delivery.open(TASK, make_bucket(s3_server, "demo-125"))
        assert not delivery.uploader.is_full
        for n in range(20):
            delivery.put(PICTURE, START_MS + 5000 * n, bytes(10_000), {})
            await delivery.flush()
        await eventually(lambda: delivery.spool.used_bytes <= 106_000)
        await eventually(lambda: delivery.uploader.counters.dropped == 10)
        assert delivery.uploader.is_full
        await receiver.wait_for(lambda r: "SpoolFull" in json.dumps(r.events))
        assert len(site.spooled) == 10
        # The one under way while the others were dropped may be an old one.
        kept = {each.start_ms for each, _ in site.slices}
        assert {START_MS + 5000 * n for n in range(11, 20)} <= kept


async def test_a_slice_that_is_taken_away_is_told(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver
) -> None:
    """So a task's slices can be given up; it settles then."""
    site.endpoint = "http://127.0.0.1:9"
    async with site.open() as delivery:
        await delivery.open(TASK, make_bucket(s3_server, "demo-125"))
        put_audio(delivery)
        await delivery.flush()
        await end(delivery)
        (file,) = site.files
        file.unlink()
        await receiver.wait_for(lambda r: "FileVanished" in json.dumps(r.events))
        await receiver.wait_for_type(1005)
        assert delivery.uploader.counters.vanished == 1
    assert receiver.of_type(1005)[-1]["EventInfo"]["Payload"] == {"Status": 1}


async def test_a_restart_goes_on_with_all_that_was_left(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver
) -> None:
    """Destination, names, slices and the end of the task survive; no event is repeated."""
    bucket = make_bucket(s3_server, s3_server.new_bucket())
    good, site.endpoint = site.endpoint, "http://127.0.0.1:9"
    async with site.open() as delivery:
        await delivery.open(TASK, bucket)
        put_audio(delivery)
        await receiver.wait_for_type(1006)
    site.endpoint = good
    async with site.open() as delivery:
        put_audio(delivery)
        delivery.grow(AUDIO, START_MS).append(b"cut off")
        await delivery.flush()
        await receiver.wait_for_type(1004, count=2)
    async with site.open() as delivery:
        await receiver.wait_for_type(1004, count=3)
        await end(delivery)
    async with site.open():
        await receiver.wait_for_type(1005)
    keys = [AUDIO_KEY.replace("221321", f"2213{second}") for second in (21, 22, 23)]
    assert s3_server.keys(bucket.name) == keys
    repaired = s3_server.get(bucket.name, keys[2])
    assert repaired.data == b"cut off repaired"
    assert (repaired.metadata["repaired"], repaired.metadata["duration-ms"]) == ("true", "7")
    assert sorted(event["EventType"] for event in receiver.events) == [
        1002, 1003, 1004, 1004, 1004, 1005, 1006,
    ]  # fmt: skip


async def test_a_bucket_may_be_opened_again_with_other_keys(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver
) -> None:
    """The later destination holds for what is uploaded from then on."""
    bucket = make_bucket(s3_server, s3_server.new_bucket())
    async with site.open() as delivery:
        await delivery.open(TASK, replace(bucket, secret_key="wrong"))
        await delivery.open(TASK, bucket)
        put_audio(delivery)
        await receiver.wait_for_type(1004)
    assert receiver.of_type(1006) == []


async def test_without_a_callback_url_slices_are_stored_all_the_same(
    site: Site, s3_server: S3Server
) -> None:
    site.callback_url = ""
    bucket: Bucket = make_bucket(s3_server, s3_server.new_bucket())
    async with site.open() as delivery:
        await delivery.open(TASK, bucket)
        put_audio(delivery)
        await eventually(lambda: delivery.uploader.counters.stored == 1)
        assert delivery.uploader.count_waiting() == 0
    assert SliceKind.AUDIO.value in s3_server.keys(bucket.name)[0]


async def test_a_damaged_slice_is_set_aside_and_the_others_arrive(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver
) -> None:
    """Nothing goes to the bucket under the hash of something else; 1006 and 1005 say so."""
    bucket = make_bucket(s3_server, s3_server.new_bucket())
    sleeping = site.endpoint
    site.endpoint = "http://127.0.0.1:9"
    async with site.open() as delivery:
        await delivery.open(TASK, bucket)
        for n in range(4):
            put_audio(delivery, b"audio %d" % n, START_MS + 15000 * n)
        await delivery.flush()
    _, second, third, _ = site.files
    second.write_bytes(second.read_bytes().replace(b"audio 1", b"audio X"))
    third.write_bytes(third.read_bytes()[:-1])
    damaged = {each.name: each.read_bytes() for each in (second, third)}
    site.endpoint = sleeping
    async with site.open() as delivery:
        await end(delivery)
        await receiver.wait_for_type(1005)
        await delivery.flush()
        assert delivery.spool.files_set_aside == 2
        assert (site.spooled, delivery.spool.used_bytes) == ([], 0)
    objects = [s3_server.get(bucket.name, key) for key in s3_server.keys(bucket.name)]
    assert [each.data for each in objects] == [b"audio 0", b"audio 3"]
    quarantine = site.data_dir / "spool" / "quarantine"
    assert {each.name: each.read_bytes() for each in quarantine.iterdir()} == damaged
    messages = [event["EventInfo"]["Payload"]["Message"] for event in receiver.of_type(1006)]
    assert sorted(each for each in messages if "SpoolDamage" in each) == [
        "SpoolDamage: A slice's file is damaged: it has no end.",
        "SpoolDamage: A slice's file is damaged: its content is damaged.",
    ]
    assert receiver.of_type(1005)[-1]["EventInfo"]["Payload"] == {"Status": 1}


async def test_each_loss_is_told(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one too, with how much it is; the task's end waits for none of them."""
    monkeypatch.setattr("cloudslice.spool.intake._BACKLOG_BYTES", 10)
    bucket = make_bucket(s3_server, s3_server.new_bucket())
    async with site.open() as delivery:
        await delivery.open(TASK, bucket)
        for count in (1, 3):
            for _ in range(count):
                delivery.put(PICTURE, START_MS, bytes(11), {})
            await delivery.flush()
        await end(delivery)
        await receiver.wait_for_type(1005)
        assert delivery.losses.count == 4
    messages = [event["EventInfo"]["Payload"]["Message"] for event in receiver.of_type(1006)]
    assert messages == [
        "SpoolFailure: A slice (picture of anchor_1) could not be kept: the disk is too slow.",
        "SpoolFailure: 3 slices (picture of anchor_1) could not be kept: the disk is too slow.",
    ]
    assert receiver.of_type(1005)[0]["EventInfo"]["Payload"] == {"Status": 1}


async def test_a_slice_that_is_lost_after_its_tasks_end_lets_the_task_settle(
    site: Site, s3_server: S3Server, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk delays the slice; 1005 comes when its fate is known."""
    bucket = make_bucket(s3_server, s3_server.new_bucket())
    disk = FaultyDisk(monkeypatch)
    async with site.open() as delivery:
        await delivery.open(TASK, bucket)
        growing = delivery.grow(AUDIO, START_MS)
        growing.append(b"audio")
        await delivery.flush()
        (part,) = site.files
        disk.errors["pwrite", part.name] = errno.ENOSPC
        growing.append(b" more")
        growing.finish(START_MS, 15000, {})
        await end(delivery)
        await receiver.wait_for_type(1002)
        part.unlink()
        await receiver.wait_for_type(1005)
    assert receiver.of_type(1005)[0]["EventInfo"]["Payload"] == {"Status": 1}
    assert len(receiver.of_type(1006)) == 1


async def test_a_cut_slice_that_comes_to_nothing_lets_its_ended_task_settle(
    site: Site, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss was told when it was cut; 1005 comes when the disk has room, not with a restart."""
    monkeypatch.setattr("cloudslice.spool.intake._BACKLOG_BYTES", 10)
    disk = FaultyDisk(monkeypatch)
    async with site.open(repairs={SliceKind.AUDIO: lambda _data: None}) as delivery:
        await delivery.open(TASK, make_test_bucket())
        disk.room = 0
        growing = delivery.grow(AUDIO, START_MS)
        growing.append(b"head")
        await delivery.flush()
        growing.append(b"more than memory takes")
        growing.finish(START_MS, 15000, {})
        await end(delivery)
        await receiver.wait_for_type(1002)
        disk.room = 1000
        await receiver.wait_for_type(1005)
    assert receiver.of_type(1005)[0]["EventInfo"]["Payload"] == {"Status": 1}
    assert len(receiver.of_type(1006)) == 1
