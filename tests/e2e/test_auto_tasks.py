"""A rule of the settings slices who comes into a room, without a call, in every kind of rooms.

Slices come, a kill -9 in the middle changes nothing, and the task ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloudslice.rooms.base import LeaveCode
from cloudslice_publisher.media import Media
from cloudslice_publisher.publisher import PublishConfig, publisher_group
from helpers.janus_server import API_SECRET as JANUS_SECRET
from helpers.janus_server import PIN, TEXT_ROOM, running_janus
from helpers.livekit_process import API_KEY, API_SECRET, LivekitProcess
from helpers.node import APP_ID, CALLBACK_KEY, Node
from helpers.webhooks import WebhookReceiver
from helpers.whip_bridges import JanusPublishing, LivekitPublishing, bridging

ROOM = TEXT_ROOM
RULE = """
[[apps.auto_tasks]]
rooms = "room_*"
user_id = "recorder"
max_idle_s = 5
[apps.auto_tasks.storage]
region = "ap-guangzhou"
bucket = "demo-1250000000"
access_key = "a"
secret_key = "TOPSECRET"
"""


@dataclass
class Stage:
    """A running node, and how to publish into the room that its rule is for."""

    node: Node
    receiver: WebhookReceiver
    anchor: PublishConfig
    leave_codes: set[LeaveCode]
    """What the end of the room may be called."""

    def events(self, event_type: int) -> list[dict[str, Any]]:
        """Each once: a kill can have one come again."""
        unique = {each.body: each.event for each in self.receiver.requests}
        return [each for each in unique.values() if each["EventType"] == event_type]

    async def wait_for(self, event_type: int, count: int) -> None:
        try:
            await self.receiver.wait_for(lambda _: len(self.events(event_type)) >= count, 60)
        except AssertionError as error:
            error.add_note(self.node.log)
            raise


@asynccontextmanager
async def open_stage(kind: str, directory: Path) -> AsyncIterator[Stage]:
    endpoint = f'[storage.endpoints]\ncos = "{(directory / "buckets").as_uri()}"\n'
    async with WebhookReceiver(CALLBACK_KEY) as receiver, AsyncExitStack() as stack:

        def make_node(app_settings: str = "") -> Node:
            node = Node(
                directory / "node",
                receiver.url,
                app_settings=app_settings + RULE,
                more_settings=endpoint,
            )
            return stack.enter_context(node)

        leave_codes = {LeaveCode.STOPPED}
        if kind == "builtin":
            node = make_node()
            anchor = node.anchor(ROOM, "alice", 0)
        elif kind.startswith("livekit"):
            livekit = LivekitProcess(directory / "livekit")
            node = make_node(livekit.settings)
            livekit.configure("room:\n  departure_timeout: 1")
            if kind == "livekit":
                url = f"{node.url}/livekit/{APP_ID}"
                livekit.configure(f"webhook:\n  api_key: {API_KEY}\n  urls: [{url}]")
            else:
                # It may be idle before the next question.
                leave_codes.add(LeaveCode.IDLE)
            stack.enter_context(livekit)
            publishing = LivekitPublishing(livekit.url, API_KEY, API_SECRET)
            bridge = await stack.enter_async_context(bridging(publishing))
            anchor = PublishConfig(bridge.url(ROOM, "alice"), "-")
        else:
            janus = stack.enter_context(running_janus(directory / "janus", string_ids=True))
            node = make_node(
                f'rooms = "janus"\n[apps.janus]\nurl = "{janus.url}"\npin = "{PIN}"\n'
                f'api_secret = "{JANUS_SECRET}"\nstring_ids = true\nuser_id = "display"\n'
            )
            leave_codes = {LeaveCode.IDLE}  # its rooms are there for ever
            to_janus = JanusPublishing(janus.url, JANUS_SECRET, {"pin": PIN}, has_text_ids=True)
            to_rooms = await stack.enter_async_context(bridging(to_janus))
            anchor = PublishConfig(to_rooms.url(ROOM, "alice"), "-")
        await asyncio.to_thread(node.start)
        yield Stage(node, receiver, anchor, leave_codes)


@pytest.mark.parametrize("kind", ["builtin", "livekit", "livekit, asked for rooms", "janus"])
async def test_who_comes_is_sliced_without_a_call(
    kind: str, tmp_path: Path, h264_media: Media
) -> None:
    async with open_stage(kind, tmp_path) as stage, publisher_group() as anchors:
        publisher = anchors.start(stage.anchor, h264_media)
        await publisher.wait_live()
        await stage.wait_for(1004, 2)

        await asyncio.to_thread(stage.node.kill)
        seen = len(stage.events(1004))
        await asyncio.to_thread(stage.node.start)
        await stage.wait_for(1004, seen + 2)

        await anchors.stop(publisher)
        await stage.wait_for(1005, 1)
        assert await asyncio.to_thread(stage.node.stop) == 0

        assert len(stage.events(1001)) == 1, stage.node.log
        [start], [end] = stage.events(1001), stage.events(1002)
        assert start["EventInfo"]["UserId"] == "recorder"
        assert start["EventInfo"]["RoomId"] == ROOM
        assert start["EventInfo"]["Payload"] == {"Status": 0}
        assert end["EventInfo"]["Payload"]["LeaveCode"] in stage.leave_codes
        assert {each["EventInfo"]["TaskId"] for each in stage.receiver.events} == {
            start["EventInfo"]["TaskId"]
        }
        files = [each["EventInfo"]["Payload"] for each in stage.events(1004)]
        assert {each["EventInfo"]["StreamUserId"] for each in stage.events(1004)} == {"alice"}
        assert {each["MediaType"] for each in files} == {1, 2}
        stored = {
            str(path.relative_to(tmp_path / "buckets" / "demo-1250000000"))
            for path in (tmp_path / "buckets").rglob("*")
            if path.suffix in (".ogg", ".png")
        }
        assert stored == {each["FileName"] for each in files}
        assert "TOPSECRET" not in stage.node.log
        assert "unforeseen error" not in stage.node.log
