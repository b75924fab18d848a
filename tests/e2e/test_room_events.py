"""Room and media webhooks of a running server, to an app that asked for them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from cloudslice.ids import TrackKind
from cloudslice_publisher.media import Media
from cloudslice_publisher.publisher import Publisher, PublisherGroup, publisher_group
from helpers.node import APP_ID, CALLBACK_KEY, Node, Sdk, create_parameters
from helpers.webhooks import WebhookReceiver

CONSENT_S = 3


class Stage:
    """A running server, a receiver of its webhooks, and anchors to be."""

    def __init__(self, node: Node, receiver: WebhookReceiver, anchors: PublisherGroup) -> None:
        self.node = node
        self.receiver = receiver
        self.anchors = anchors
        self.sdk = Sdk(node)

    async def publish(self, room_id: int, user_id: str, media: Media) -> Publisher:
        """An anchor whose media has been told of."""
        publisher = self.anchors.start(self.node.anchor(str(room_id), user_id), media)
        for event_type in (201, 203):
            await self.wait_for(room_id, event_type, user_id)
        return publisher

    async def call(self, action: str, room_id: int, **more: Any) -> None:
        parameters = {"SdkAppId": APP_ID, "RoomId": room_id} | more
        await asyncio.to_thread(self.sdk.call, action, parameters)

    def told(self, room_id: int) -> list[tuple[int, str | None, int | None]]:
        """Type, UserId and Reason of the room and media events of a room."""
        return [
            (each["EventType"], info.get("UserId"), info.get("Reason"))
            for each in self.receiver.events
            if (info := each["EventInfo"])["RoomId"] == room_id and each["EventGroupId"] in (1, 2)
        ]

    async def wait_for(self, room_id: int, event_type: int, user_id: str | None = None) -> None:
        await self.receiver.wait_for(
            lambda _r: any(each[:2] == (event_type, user_id) for each in self.told(room_id))
        )


@pytest.fixture(scope="module")
def callback_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def node(callback_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory = tmp_path_factory.mktemp("node")
    buckets = (directory / "buckets").as_uri()
    settings = f'[storage.endpoints]\ncos = "{buckets}"'
    url = f"http://127.0.0.1:{callback_port}/hook"
    with Node(directory, url, more_settings=settings) as running:
        text = running.settings_path.read_text()
        text = text.replace("[rtc]", f"[rtc]\nconsent_timeout_s = {CONSENT_S}")
        text = text.replace("[[apps]]", "[[apps]]\nroom_events = true")
        running.settings_path.write_text(text)
        running.start()
        yield running


@pytest.fixture
async def stage(node: Node, callback_port: int) -> AsyncIterator[Stage]:
    async with (
        WebhookReceiver(CALLBACK_KEY, port=callback_port) as receiver,
        publisher_group() as anchors,
    ):
        yield Stage(node, receiver, anchors)


def entering(user_id: str) -> list[tuple[int, str | None, int | None]]:
    """What is told of one who enters; which of the two tracks begins first is not said."""
    return [(103, user_id, 1), (201, user_id, None), (203, user_id, None)]


async def test_one_leaves_and_one_is_removed(
    stage: Stage, h264_media: Media, vp8_media: Media
) -> None:
    """A room's whole life, in order, with a task in it, whose robot nobody is told of."""
    storage = {"Vendor": 0, "Region": "ap-guangzhou", "Bucket": "demo-1250000000"}
    parameters = create_parameters(
        "301", "robot_301", storage | {"AccessKey": "a", "SecretKey": "s"}
    )
    task_id = await asyncio.to_thread(stage.sdk.create, parameters)
    alice = await stage.publish(301, "alice", h264_media)
    bob = await stage.publish(301, "bob", vp8_media)
    await stage.anchors.stop(alice)
    await stage.wait_for(301, 104, "alice")
    await stage.call("RemoveUser", 301, UserIds=["bob"])
    await stage.wait_for(301, 102)
    await stage.anchors.stop(bob)
    told = stage.told(301)
    assert told[0] == (101, "alice", None)
    assert [told[1], *sorted(told[2:4])] == entering("alice")
    assert [told[4], *sorted(told[5:7])] == entering("bob")
    assert told[7:10] == [(104, "alice", 1), (104, "bob", 3), (102, None, None)]
    assert not any("robot_301" in each for each in told)
    await asyncio.to_thread(stage.sdk.delete, task_id)
    await stage.receiver.wait_for(lambda r: r.of_type(1005))


async def test_a_dismissed_room(stage: Stage, h264_media: Media, vp8_media: Media) -> None:
    """All are put out, then the room is gone."""
    await stage.publish(302, "alice", h264_media)
    await stage.publish(302, "bob", vp8_media)
    await stage.call("DismissRoom", 302)
    await stage.wait_for(302, 102)
    dismissal = [each for each in stage.told(302) if each[0] in (104, 102)][:3]
    assert sorted(dismissal[:2]) == [(104, "alice", 3), (104, "bob", 3)]
    assert dismissal[2] == (102, None, None)


async def test_one_that_vanishes_has_timed_out(stage: Stage, h264_media: Media) -> None:
    """Without a word that its media has stopped."""
    alice = await stage.publish(303, "alice", h264_media)
    alice.vanish()
    await stage.anchors.stop(alice)
    await stage.wait_for(303, 102)
    assert stage.told(303)[4:] == [(104, "alice", 2), (102, None, None)]


async def test_media_that_stops_and_begins_again(stage: Stage, h264_media: Media) -> None:
    """While the anchor stays."""
    alice = await stage.publish(305, "alice", h264_media)
    alice.mute(TrackKind.VIDEO)
    await stage.wait_for(305, 202, "alice")
    alice.mute(TrackKind.AUDIO)
    await stage.wait_for(305, 204, "alice")
    alice.mute(TrackKind.VIDEO, is_muted=False)
    await stage.receiver.wait_for(
        lambda _r: (
            stage.told(305)[4:] == [(202, "alice", 0), (204, "alice", 0), (201, "alice", None)]
        )
    )


async def test_the_end_of_the_server_is_told_by_the_next(stage: Stage, h264_media: Media) -> None:
    """What happened at the end is sent then, or after the restart."""
    alice = await stage.publish(304, "alice", h264_media)
    alice.vanish()
    await stage.anchors.stop(alice)
    assert await asyncio.to_thread(stage.node.stop) == 0
    await asyncio.to_thread(stage.node.start)
    await stage.wait_for(304, 102)
    assert stage.told(304)[4:] == [(104, "alice", 3), (102, None, None)]
