"""From live anchors to files in a bucket and signed webhooks, with real parts on every side."""

import asyncio
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from cloudslice_publisher.media import Media
from cloudslice_publisher.publisher import PublisherGroup, publisher_group
from helpers.files import (
    assert_shows_bars,
    assert_tools_accept,
    decode_audio,
    decode_picture,
)
from helpers.node import APP_ID, CALLBACK_KEY, Node, Sdk, create_parameters
from helpers.s3_server import S3Server
from helpers.webhooks import WebhookReceiver

_VENDORS = {"cos": (0, "ap-guangzhou"), "s3": (1, "us-east-1"), "oss": (2, "cn-hangzhou")}
_ROOMS = {"cos": ("150", 1), "s3": ("room one?#%&", 0), "oss": ("4294967294", 1)}


@dataclass(frozen=True)
class Outcome:
    """What one vendor's task has led to."""

    task_id: str
    room_id: int | str
    bucket: str
    statuses: list[str]
    after_end: str
    """The error code of a Describe after 1005."""
    events: list[dict[str, Any]]


@pytest.fixture(scope="module")
def outcomes(
    s3_server: S3Server,
    h264_media: Media,
    vp8_media: Media,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Outcome]:
    """A task for each vendor, side by side: an H.264 anchor alice and a VP8 anchor bob."""
    media = {"alice": h264_media, "bob": vp8_media}
    return asyncio.run(_slice_for_all_vendors(s3_server, media, tmp_path_factory.mktemp("node")))


async def _slice_for_all_vendors(
    s3_server: S3Server, media: dict[str, Media], directory: Path
) -> dict[str, Outcome]:
    endpoints = "\n".join(f'{name} = "{s3_server.url}"' for name in _VENDORS)
    async with WebhookReceiver(CALLBACK_KEY) as receiver, publisher_group() as anchors:
        node = Node(directory, receiver.url, more_settings=f"[storage.endpoints]\n{endpoints}\n")
        await asyncio.to_thread(node.start)
        async with asyncio.TaskGroup() as group:
            running = {
                vendor: group.create_task(_slice(vendor, node, receiver, s3_server, anchors, media))
                for vendor in _VENDORS
            }
        assert await asyncio.to_thread(node.stop) == 0
    return {vendor: task.result() for vendor, task in running.items()}


async def _slice(
    vendor: str,
    node: Node,
    receiver: WebhookReceiver,
    s3_server: S3Server,
    anchors: PublisherGroup,
    media: dict[str, Media],
) -> Outcome:
    room_id, room_id_type = _ROOMS[vendor]
    sdk = Sdk(node)
    vendor_number, region = _VENDORS[vendor]
    bucket = s3_server.new_bucket()
    task_id = await asyncio.to_thread(
        sdk.create,
        create_parameters(
            room_id,
            f"robot_{vendor}",
            {
                "Vendor": vendor_number,
                "Region": region,
                "Bucket": bucket,
                "AccessKey": s3_server.access_key,
                "SecretKey": s3_server.secret_key,
                "FileNamePrefix": ["prefix1", "prefix2"],
            },
            room_id_type=room_id_type,
            SliceImageType=1 if vendor == "s3" else 0,
        ),
    )
    statuses = [await asyncio.to_thread(sdk.describe, task_id)]
    publishers = [
        anchors.start(node.anchor(room_id, user_id, room_id_type), each)
        for user_id, each in media.items()
    ]
    for each in publishers:
        await each.wait_live()

    def has_both_audio_slices(r: WebhookReceiver) -> bool:
        files = [e for e in r.of_task(task_id) if e["EventType"] == 1004]
        return sum(e["EventInfo"]["Payload"]["MediaType"] == 1 for e in files) >= 2

    await receiver.wait_for(has_both_audio_slices, 40)
    statuses.append(await asyncio.to_thread(sdk.describe, task_id))
    await asyncio.to_thread(sdk.delete, task_id)
    await receiver.wait_for(lambda r: any(e["EventType"] == 1005 for e in r.of_task(task_id)), 20)
    for each in publishers:
        await anchors.stop(each)
    try:
        after_end = await asyncio.to_thread(sdk.describe, task_id)
    except TencentCloudSDKException as error:
        after_end = str(error.get_code())
    return Outcome(
        task_id=task_id,
        room_id=room_id if room_id_type == 0 else int(room_id),
        bucket=bucket,
        statuses=statuses,
        after_end=after_end,
        events=receiver.of_task(task_id),
    )


@pytest.fixture(params=list(_VENDORS))
def outcome(request: pytest.FixtureRequest, outcomes: dict[str, Outcome]) -> Outcome:
    return outcomes[request.param]


def test_status_goes_from_idle_over_in_progress_to_not_found(outcome: Outcome) -> None:
    assert outcome.statuses == ["Idle", "InProgress"]
    assert outcome.after_end == "ResourceNotFound"


def test_keys_are_the_contracts(outcome: Outcome, s3_server: S3Server) -> None:
    """prefix/taskId/anchor/folder/app_room_anchor_UTC.extension, and nothing else is there."""
    keys = s3_server.keys(outcome.bucket)
    assert keys
    room = re.escape(str(outcome.room_id))
    for key in keys:
        assert re.fullmatch(
            rf"prefix1/prefix2/{re.escape(outcome.task_id)}/(alice|bob)/"
            rf"(audios/{APP_ID}_{room}_\1_\d{{14}}\.ogg"
            rf"|images/{APP_ID}_{room}_\1_\d{{14}}\.(png|jpg))",
            key,
        ), key


def test_events_come_in_order_and_name_each_file_once(
    outcome: Outcome, s3_server: S3Server
) -> None:
    events = outcome.events
    types = [event["EventType"] for event in events]
    assert types[:2] == [1001, 1003]
    assert types[-1] == 1005
    assert [types.count(each) for each in (1001, 1002, 1003, 1005, 1006)] == [1, 1, 1, 1, 0]
    files = [e["EventInfo"]["Payload"]["FileName"] for e in events if e["EventType"] == 1004]
    assert sorted(files) == s3_server.keys(outcome.bucket)
    for event in events:
        assert event["EventGroupId"] == 10
        assert event["EventInfo"]["RoomId"] == outcome.room_id
        assert event["EventInfo"]["UserId"].startswith("robot_")
    by_type = {event["EventType"]: event["EventInfo"]["Payload"] for event in events}
    assert by_type[1001] == {"Status": 0}
    assert by_type[1002] == {"LeaveCode": 0}
    assert by_type[1003] == {"Status": 0}
    assert by_type[1005] == {"Status": 0}


def test_audio_slices_are_whole_and_sound_as_sent(
    outcome: Outcome, s3_server: S3Server, tmp_path: Path
) -> None:
    """The first slice of each anchor is exactly 15 s long, and in its own anchor's pitch."""
    for user_id, pitch_hz in (("alice", 440), ("bob", 330)):
        keys = [key for key in s3_server.keys(outcome.bucket) if f"/{user_id}/audios/" in key]
        slices = [s3_server.get(outcome.bucket, key) for key in keys]
        for each in slices:
            assert each.content_type == "audio/ogg"
            assert_tools_accept(each.data, tmp_path)
        sound = decode_audio(slices[0].data)
        assert sound.samples.size == 15 * 48000
        assert sound.pitch_hz == pytest.approx(pitch_hz, abs=2)
        assert slices[0].metadata["duration-ms"] == "15000"


def test_pictures_have_the_size_and_pattern_that_was_sent(
    outcome: Outcome, s3_server: S3Server
) -> None:
    for user_id, size in (("alice", (360, 640)), ("bob", (270, 480))):
        keys = [key for key in s3_server.keys(outcome.bucket) if f"/{user_id}/images/" in key]
        assert len(keys) >= 3
        for key in keys:
            stored = s3_server.get(outcome.bucket, key)
            assert stored.content_type == f"image/{'png' if key.endswith('.png') else 'jpeg'}"
            picture = decode_picture(stored.data)
            assert picture.shape[:2] == size
            assert_shows_bars(picture)


def test_slices_follow_each_other_without_a_hole(outcome: Outcome, s3_server: S3Server) -> None:
    """By the count of samples a slice begins where the one before it has ended, exactly."""
    for user_id in ("alice", "bob"):
        keys = [key for key in s3_server.keys(outcome.bucket) if f"/{user_id}/audios/" in key]
        details = [s3_server.get(outcome.bucket, key).metadata for key in keys]
        spans = sorted((int(each["first-sample"]), int(each["samples"])) for each in details)
        assert spans[0] == (0, 15 * 48000)
        assert len(spans) >= 2
        for (start, samples), (next_start, _) in pairwise(spans):
            assert next_start == start + samples


def test_times_follow_each_other_as_the_samples_do(outcome: Outcome) -> None:
    """Times are an estimate, which the machine's load may move; half a second would be a fault."""
    for user_id in ("alice", "bob"):
        times = sorted(
            (payload["StartTimeStamp"], payload["EndTimeStamp"])
            for event in outcome.events
            if event["EventType"] == 1004 and event["EventInfo"]["StreamUserId"] == user_id
            for payload in [event["EventInfo"]["Payload"]]
            if payload["MediaType"] == 1
        )
        for (_, end), (start, _) in pairwise(times):
            assert abs(start - end) <= 500
