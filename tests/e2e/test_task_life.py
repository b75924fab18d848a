"""What happens to running tasks: clients, lists, leaving, removal, replacement, and bad company."""

import asyncio
import contextlib
import json
import random
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from sysconfig import get_path
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from cloudslice_publisher.media import Media
from cloudslice_publisher.publisher import Publisher, PublisherGroup, publisher_group
from helpers.cut_answers import cut_answers
from helpers.files import decode_audio
from helpers.node import (
    APP_ID,
    BUCKET,
    CALLBACK_KEY,
    SECRET_ID,
    SECRET_KEY,
    STORAGE,
    Node,
    Sdk,
    create_parameters,
)
from helpers.webhooks import WebhookReceiver

CONSENT_S = 3


@dataclass
class Stage:
    """A running server, a receiver of its webhooks, and anchors to be."""

    node: Node
    receiver: WebhookReceiver
    anchors: PublisherGroup
    sdk: Sdk
    buckets: Path

    async def create(self, room_id: str, **slice_params: Any) -> str:
        """A task of the robot `robot_<room>`."""
        parameters = create_parameters(room_id, f"robot_{room_id}", STORAGE, **slice_params)
        return await asyncio.to_thread(self.sdk.create, parameters)

    async def publish(self, room_id: str, user_id: str, media: Media) -> Publisher:
        publisher = self.anchors.start(self.node.anchor(room_id, user_id), media)
        await publisher.wait_live()
        return publisher

    async def wait_for_file(self, task_id: str, user_id: str, count: int = 1) -> None:
        """Until `count` slices of an anchor are told of."""
        await self.receiver.wait_for(lambda r: len(files(r, task_id, user_id)) >= count)

    async def wait_for_stop(self, task_id: str) -> int:
        """The LeaveCode, once all of the task is delivered."""
        await self.receiver.wait_for(
            lambda r: any(each["EventType"] == 1005 for each in r.of_task(task_id))
        )
        (code,) = (
            each["EventInfo"]["Payload"]["LeaveCode"]
            for each in self.receiver.of_task(task_id)
            if each["EventType"] == 1002
        )
        return int(code)


def files(receiver: WebhookReceiver, task_id: str, user_id: str) -> list[dict[str, Any]]:
    return [
        each["EventInfo"]["Payload"]
        for each in receiver.of_task(task_id)
        if each["EventType"] == 1004 and each["EventInfo"]["StreamUserId"] == user_id
    ]


@pytest.fixture(scope="module")
def callback_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("buckets")


@pytest.fixture(scope="module")
def node(
    callback_port: int, buckets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """One for all tests here; what a test leaves behind does not concern the others."""
    url = f"http://127.0.0.1:{callback_port}/hook"
    settings = f"""
[storage.endpoints]
cos = "{buckets.as_uri()}"
s3 = "http://127.0.0.1:9"
"""
    with Node(tmp_path_factory.mktemp("node"), url, more_settings=settings) as running:
        text = running.settings_path.read_text()
        running.settings_path.write_text(
            text.replace("[rtc]", f"[rtc]\nconsent_timeout_s = {CONSENT_S}")
        )
        running.start()
        yield running


@pytest.fixture
async def stage(node: Node, callback_port: int, buckets: Path) -> AsyncIterator[Stage]:
    async with (
        WebhookReceiver(CALLBACK_KEY, port=callback_port) as receiver,
        publisher_group() as anchors,
    ):
        yield Stage(node, receiver, anchors, Sdk(node), buckets)


def tccli(node: Node, action: str, *arguments: str) -> dict[str, Any]:
    """What the official command line client answers."""
    path = shutil.which("tccli", path=get_path("scripts"))
    assert path, "tccli is not installed"
    result = subprocess.run(
        [path, "trtc", action, "--endpoint", node.url, "--region", "ap-singapore", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={
            "TENCENTCLOUD_SECRET_ID": SECRET_ID,
            "TENCENTCLOUD_SECRET_KEY": SECRET_KEY,
            "HOME": str(node.data_dir),
            "PATH": "/usr/bin:/bin",
        },
    )
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


async def test_tccli_creates_describes_modifies_and_deletes(
    stage: Stage, h264_media: Media
) -> None:
    """The official command line client runs a whole task."""
    parameters = create_parameters("201", "robot_201", STORAGE)
    arguments = [
        item
        for name, value in parameters.items()
        for item in (f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value))
    ]
    created = await asyncio.to_thread(tccli, stage.node, "CreateCloudSliceTask", *arguments)
    task_id = created["TaskId"]
    await stage.publish("201", "alice", h264_media)
    await stage.wait_for_file(task_id, "alice")
    task = ["--SdkAppId", str(APP_ID), "--TaskId", task_id]
    described = await asyncio.to_thread(tccli, stage.node, "DescribeCloudSliceTask", *task)
    assert described["Status"] == "InProgress"
    lists = json.dumps({"SubscribeAudioUserIds": [".*$"]})
    modified = await asyncio.to_thread(
        tccli, stage.node, "ModifyCloudSliceTask", *task, "--SubscribeStreamUserIds", lists
    )
    assert modified["TaskId"] == task_id
    await asyncio.to_thread(tccli, stage.node, "DeleteCloudSliceTask", *task)
    assert await stage.wait_for_stop(task_id) == 0


async def test_lists_change_running_streams(
    stage: Stage, h264_media: Media, vp8_media: Media
) -> None:
    """A blocked anchor's open slice is closed and delivered; the other goes on."""
    task_id = await stage.create("202")
    await stage.publish("202", "alice", h264_media)
    await stage.publish("202", "bob", vp8_media)
    for user_id in ("alice", "bob"):
        await stage.wait_for_file(task_id, user_id)
    lists = {"UnSubscribeAudioUserIds": ["ali.*$"], "SubscribeVideoUserIds": ["bob"]}
    await asyncio.to_thread(stage.sdk.modify, task_id, lists)
    await stage.receiver.wait_for(
        lambda r: any(each["MediaType"] == 1 for each in files(r, task_id, "alice"))
    )
    of_alice = len(files(stage.receiver, task_id, "alice"))
    await stage.wait_for_file(task_id, "bob", len(files(stage.receiver, task_id, "bob")) + 2)
    assert len(files(stage.receiver, task_id, "alice")) == of_alice
    await asyncio.to_thread(stage.sdk.delete, task_id)
    await stage.wait_for_stop(task_id)


async def test_pictures_follow_new_parameters_of_a_running_task(
    stage: Stage, h264_media: Media
) -> None:
    """A minute's interval becomes one of 5 s, and PNG becomes JPEG, from the call on."""
    task_id = await stage.create("208", SliceVideo=60)
    await stage.publish("208", "alice", h264_media)
    await stage.wait_for_file(task_id, "alice")
    await asyncio.to_thread(stage.sdk.change, task_id, SliceVideo=5, SliceImageType=1)
    await stage.wait_for_file(task_id, "alice", 3)
    await asyncio.to_thread(stage.sdk.delete, task_id)
    assert await stage.wait_for_stop(task_id) == 0
    pictures = [each for each in files(stage.receiver, task_id, "alice") if each["MediaType"] == 2]
    pictures.sort(key=lambda each: each["StartTimeStamp"])
    kinds = [each["FileName"].rpartition(".")[2] for each in pictures]
    assert kinds == ["png", *["jpg"] * (len(kinds) - 1)]
    times = [each["StartTimeStamp"] for each in pictures]
    assert times[2] - times[1] == pytest.approx(5000, abs=1000)


async def test_a_create_whose_answer_was_lost_is_repeated_by_the_sdk(
    stage: Stage, h264_media: Media
) -> None:
    """And then by its caller. One task, one robot, and no slice twice."""
    parameters = create_parameters("209", "robot_209", STORAGE)
    with cut_answers(stage.node.http_port, 2) as (port, answers):
        sdk = Sdk(stage.node, http_port=port, attempts=2)
        with pytest.raises(TencentCloudSDKException, match="ClientNetworkError"):
            await asyncio.to_thread(sdk.create, parameters)
        task_id = await asyncio.to_thread(sdk.create, parameters)
    task_ids = {json.loads(each)["Response"]["TaskId"] for each in answers}
    assert (len(answers), task_ids) == (3, {task_id})
    await stage.publish("209", "alice", h264_media)
    await stage.wait_for_file(task_id, "alice", 2)
    await asyncio.to_thread(stage.sdk.delete, task_id)
    assert await stage.wait_for_stop(task_id) == 0
    robots = [e for e in stage.receiver.of_type(1001) if e["EventInfo"]["RoomId"] == 209]
    assert len(robots) == 1
    slices = [
        (each["MediaType"], each["StartTimeStamp"])
        for each in files(stage.receiver, task_id, "alice")
    ]
    assert len(set(slices)) == len(slices)


async def test_an_anchor_that_vanishes_leaves_and_the_empty_room_ends_the_task(
    stage: Stage, h264_media: Media
) -> None:
    """No goodbye at all: the cable is cut. MaxIdleTime runs from the moment it is noticed."""
    task_id = await stage.create("203", MaxIdleTime=5)
    alice = await stage.publish("203", "alice", h264_media)
    await stage.wait_for_file(task_id, "alice")
    alice.vanish()
    await stage.anchors.stop(alice)
    assert await stage.wait_for_stop(task_id) == 99
    audio = [each for each in files(stage.receiver, task_id, "alice") if each["MediaType"] == 1]
    assert len(audio) == 1
    assert decode_audio((stage.buckets / BUCKET / audio[0]["FileName"]).read_bytes()).duration_s > 0


@pytest.mark.parametrize(
    ("action", "more", "code"),
    [
        pytest.param("RemoveUser", {"UserIds": ["robot_204", "nobody"]}, 1, id="RemoveUser"),
        pytest.param("DismissRoom", {}, 2, id="DismissRoom"),
    ],
)
async def test_room_actions_put_the_robot_out(
    stage: Stage, h264_media: Media, action: str, more: dict[str, Any], code: int
) -> None:
    task_id = await stage.create("204")
    await stage.publish("204", "alice", h264_media)
    await stage.wait_for_file(task_id, "alice")
    await asyncio.to_thread(stage.sdk.call, action, {"SdkAppId": APP_ID, "RoomId": 204} | more)
    assert await stage.wait_for_stop(task_id) == code


async def test_a_newer_task_of_the_same_robot_takes_over(stage: Stage, h264_media: Media) -> None:
    older = await stage.create("205")
    await stage.publish("205", "alice", h264_media)
    await stage.wait_for_file(older, "alice")
    newer = await stage.create("205", MaxIdleTime=31)
    assert await stage.wait_for_stop(older) == 101
    await stage.wait_for_file(newer, "alice")
    await asyncio.to_thread(stage.sdk.delete, newer)
    assert await stage.wait_for_stop(newer) == 0


async def test_an_unreachable_bucket_is_told_once_and_the_task_goes_on(
    stage: Stage, h264_media: Media
) -> None:
    parameters = create_parameters(
        "206", "robot_206", STORAGE | {"Vendor": 1, "Region": "us-east-1"}
    )
    task_id = await asyncio.to_thread(stage.sdk.create, parameters)
    await stage.publish("206", "alice", h264_media)
    await stage.receiver.wait_for(
        lambda r: any(each["EventType"] == 1006 for each in r.of_task(task_id))
    )
    waiting = stage.node.metric("cloudslice_waiting", what="slices")
    await stage.node.wait_for_metric(waiting + 1, "cloudslice_waiting", what="slices")
    assert await asyncio.to_thread(stage.sdk.describe, task_id) == "InProgress"
    failures = [e for e in stage.receiver.of_task(task_id) if e["EventType"] == 1006]
    assert len(failures) == 1
    assert failures[0]["EventInfo"]["Payload"]["Code"] == 0
    await asyncio.to_thread(stage.sdk.delete, task_id)


async def test_garbage_on_the_media_port_disturbs_nobody(stage: Stage, h264_media: Media) -> None:
    """Noise of every first byte, from strangers, while an anchor is sliced."""
    task_id = await stage.create("207")
    await stage.publish("207", "alice", h264_media)
    await stage.wait_for_file(task_id, "alice")
    before = stage.node.metric("cloudslice_datagrams_total", what="foreign")
    noise = random.Random(7)
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as stranger:
        for number in range(2000):
            size = noise.choice((0, 1, 11, 12, 20, 200, 1400))
            packet = bytes([number % 256]) * min(size, 1) + noise.randbytes(max(size - 1, 0))
            stranger.sendto(packet, ("127.0.0.1", stage.node.udp_port))
    await stage.wait_for_file(task_id, "alice", len(files(stage.receiver, task_id, "alice")) + 2)
    assert stage.node.metric("cloudslice_datagrams_total", what="foreign") >= before + 1900
    await asyncio.to_thread(stage.sdk.delete, task_id)
    assert await stage.wait_for_stop(task_id) == 0
    assert "Traceback" not in stage.node.log
