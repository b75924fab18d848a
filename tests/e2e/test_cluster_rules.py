"""Tasks that begin by themselves in a cluster: one for each room, whoever hears of it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cloudslice.rooms.base import LeaveCode
from cloudslice_publisher.media import Look, synthetic_media
from cloudslice_publisher.publisher import publisher_group
from helpers.cluster import Cluster
from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import API_KEY, LivekitProcess
from helpers.node import APP_ID, CALLBACK_KEY
from helpers.webhooks import WebhookReceiver

ROOM = "room_150"
RULE = """
[[apps.auto_tasks]]
rooms = "room_*"
user_id = "recorder"
max_idle_s = 60
[apps.auto_tasks.storage]
region = "ap-guangzhou"
bucket = "demo-1250000000"
access_key = "a"
secret_key = "TOPSECRET"
"""


class Heard:
    """What the receiver has heard of tasks that nobody here knows by name."""

    def __init__(self, receiver: WebhookReceiver) -> None:
        self._receiver = receiver

    def of_type(self, event_type: int) -> list[dict[str, Any]]:
        events = (each.event for each in self._receiver.requests)
        return [each["EventInfo"] for each in events if each["EventType"] == event_type]

    def tasks(self) -> list[str]:
        """The TaskIds, in the order of their beginning."""
        return list(dict.fromkeys(each["TaskId"] for each in self.of_type(1001)))

    async def wait_for(self, event_type: int, count: int) -> None:
        await self._receiver.wait_for(lambda _: len(self.of_type(event_type)) >= count, 60)

    async def wait_files(self, more: int) -> None:
        """Wait for so many files more."""
        await self.wait_for(1004, len(self.of_type(1004)) + more)

    def assert_ended_once(self, task_id: str) -> None:
        """With its room."""
        left = [each for each in self.of_type(1002) if each["TaskId"] == task_id]
        assert [each["Payload"]["LeaveCode"] for each in left] == [LeaveCode.STOPPED]
        assert [each["TaskId"] for each in self.of_type(1005)].count(task_id) == 1


def make_cluster(
    stack: AsyncExitStack, directory: Path, receiver: WebhookReceiver, app_settings: str = ""
) -> Cluster:
    buckets = (directory / "buckets").as_uri()
    return Cluster(
        stack,
        directory,
        receiver.url,
        app_settings=app_settings + RULE,
        more_settings=f'[storage.endpoints]\ncos = "{buckets}"\n',
    )


@pytest.mark.timeout(300)  # on a machine that has more to do; a minute else
async def test_a_livekit_room_has_one_task_though_all_nodes_hear_of_it(tmp_path: Path) -> None:
    """It goes on when its worker is killed, ends with the room by the node that is left, and begins
    again with the room."""
    async with WebhookReceiver(CALLBACK_KEY) as receiver, AsyncExitStack() as stack:
        heard = Heard(receiver)
        livekit = LivekitProcess(tmp_path / "livekit")
        cluster = make_cluster(stack, tmp_path, receiver, livekit.settings)
        nodes = [await cluster.start_api(name) for name in ("a", "b")]
        await asyncio.gather(*(cluster.start_worker(name) for name in ("one", "two")))
        urls = ", ".join(f"{each.url}/livekit/{APP_ID}" for each in nodes)
        livekit.configure("room:\n  departure_timeout: 1")
        livekit.configure(f"webhook:\n  api_key: {API_KEY}\n  urls: [{urls}]")
        stack.enter_context(livekit)

        token = livekit.token(ROOM, "alice")
        async with livekit_anchor(livekit.url, token, "alice", AnchorSpec()):
            await heard.wait_for(1004, 1)
            (owner,) = await asyncio.to_thread(cluster.owners)
            await asyncio.to_thread(cluster.workers[owner].kill)
            other = {"one": "two", "two": "one"}[owner]
            await cluster.wait_slicing(other, 40)
            await asyncio.to_thread(nodes[0].kill)
            await heard.wait_files(1)
            assert len(heard.tasks()) == 1
        await heard.wait_for(1002, 1)
        await asyncio.to_thread(cluster.workers[owner].start)
        await heard.wait_for(1005, 1)
        heard.assert_ended_once(heard.tasks()[0])

        async with livekit_anchor(livekit.url, token, "alice", AnchorSpec()):
            await heard.wait_files(2)
            assert len(heard.tasks()) == 2
        await heard.wait_for(1005, 2)
        heard.assert_ended_once(heard.tasks()[1])
        for node in (nodes[1], *cluster.workers.values()):
            assert await asyncio.to_thread(node.stop) == 0
            assert "unforeseen" not in node.log


@pytest.mark.timeout(300)
async def test_a_builtin_rooms_task_moves_with_it_and_ends_with_it(tmp_path: Path) -> None:
    """The worker that the room has left takes its anchors' going for no end of the room."""
    media = await asyncio.to_thread(synthetic_media, Look(), seconds=2)
    async with (
        WebhookReceiver(CALLBACK_KEY) as receiver,
        AsyncExitStack() as stack,
        publisher_group() as publishers,
    ):
        heard = Heard(receiver)
        cluster = make_cluster(stack, tmp_path, receiver)
        api = await cluster.start_api()
        one = await cluster.start_worker("one")
        alice = publishers.start(api.anchor(ROOM, "alice", 0), media)
        await heard.wait_for(1004, 1)
        two = await cluster.start_worker("two")
        assert await asyncio.to_thread(one.stop) == 0
        await heard.wait_files(2)
        await cluster.wait_slicing("two", 40)
        assert len(heard.tasks()) == 1
        assert not heard.of_type(1002)
        await publishers.stop(alice)
        await heard.wait_for(1005, 1)
        heard.assert_ended_once(heard.tasks()[0])
        assert await asyncio.to_thread(two.stop) == 0
        for node in (one, two):
            assert "unforeseen" not in node.log
