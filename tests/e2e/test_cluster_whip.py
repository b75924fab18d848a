"""Builtin rooms in a cluster: anchors come to any node, and come again when their node has gone."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import Look, synthetic_media
from cloudslice_publisher.publisher import Publisher, publisher_group
from helpers.browser import browser_anchor
from helpers.cluster import Cluster
from helpers.node import BUCKET, CALLBACK_KEY, STORAGE, Sdk, create_parameters
from helpers.webhooks import WebhookReceiver

_BACK_WITHIN_S = 60
"""A publisher takes a server for dead after ten seconds, Chromium after some more."""


def audio_of(receiver: WebhookReceiver, task_id: str, user_id: str) -> list[dict[str, Any]]:
    """The payloads of events 1004 of an anchor's audio, in the order of what they tell of."""
    payloads = (
        event["EventInfo"]["Payload"]
        for event in receiver.of_task(task_id)
        if event["EventType"] == 1004
    )
    found = [each for each in payloads if f"/{user_id}/audios/" in each["FileName"]]
    return sorted(found, key=lambda each: int(each["StartTimeStamp"]))


def make_cluster(stack: AsyncExitStack, directory: Path, receiver: WebhookReceiver) -> Cluster:
    buckets = (directory / "buckets").as_uri()
    return Cluster(
        stack,
        directory,
        receiver.url,
        app_settings="",
        more_settings=f'[storage.endpoints]\ncos = "{buckets}"\n',
    )


@pytest.mark.timeout(300)  # on a machine that has more to do; a minute else
async def test_anchors_of_a_killed_worker_come_again_elsewhere(tmp_path: Path) -> None:
    """A publisher and a browser; both know the node that takes calls only."""
    media = await asyncio.to_thread(
        synthetic_media, Look("alice"), video=VideoSpec(width=320, height=180), seconds=4
    )
    async with (
        WebhookReceiver(CALLBACK_KEY) as receiver,
        AsyncExitStack() as stack,
        publisher_group() as publishers,
    ):
        cluster = make_cluster(stack, tmp_path, receiver)
        api = await cluster.start_api()
        await asyncio.gather(*(cluster.start_worker(name) for name in ("one", "two")))
        alice = publishers.start(api.anchor("150", "alice"), media)
        await live(alice)
        (owner,) = await asyncio.to_thread(cluster.owners)
        other = {"one": "two", "two": "one"}[owner]
        where = api.anchor("150", "bob")
        browser = await stack.enter_async_context(browser_anchor(where.url, where.bearer))
        await browser.connected()
        assert await asyncio.to_thread(cluster.owners) == [owner], "all of a room are at one node"

        sdk = Sdk(api)
        parameters = create_parameters("150", "robot", STORAGE)
        task_id = await asyncio.to_thread(sdk.create, parameters)
        for user_id in ("alice", "bob"):
            await receiver.wait_for(lambda r, of=user_id: bool(audio_of(r, task_id, of)), 40)

        await asyncio.to_thread(cluster.workers[owner].kill)
        killed_at, killed_ms = time.monotonic(), time.time() * 1000
        for user_id in ("alice", "bob"):
            await receiver.wait_for(
                lambda r, of=user_id: (
                    int(audio_of(r, task_id, of)[-1]["StartTimeStamp"]) > killed_ms
                ),
                _BACK_WITHIN_S,
            )
            began_ms = next(
                start
                for each in audio_of(receiver, task_id, user_id)
                if (start := int(each["StartTimeStamp"])) > killed_ms
            )
            print(f"{user_id} is heard again {(began_ms - killed_ms) / 1000:.1f} s after the kill")
        print(f"both slices are told {time.monotonic() - killed_at:.1f} s after the kill")
        assert await asyncio.to_thread(cluster.owners) == [other]

        await asyncio.to_thread(sdk.delete, task_id)
        await receiver.wait_for(
            lambda r: any(each["EventType"] == 1005 for each in r.of_task(task_id)),
            100,  # a minute of it for what the killed one may have
        )
        assert await asyncio.to_thread(cluster.owners) == [other], "the anchors are still there"
        await browser.stop()
        await publishers.stop(alice)
        async with asyncio.timeout(20):
            while await asyncio.to_thread(cluster.owners):  # noqa: ASYNC110 - a metric is polled
                await asyncio.sleep(0.2)
        assert await asyncio.to_thread(cluster.workers[other].stop) == 0
        assert "unforeseen" not in cluster.workers[other].log
    told = [each["FileName"] for each in audio_of(receiver, task_id, "alice")]
    assert len(set(told)) == len(told), "each file once"
    assert all((tmp_path / "buckets" / BUCKET / each).is_file() for each in told)


@pytest.mark.timeout(180)
async def test_an_offer_is_sent_to_the_node_that_has_the_room(tmp_path: Path) -> None:
    """By 307 with path and query, from each other node; with none there is a 503."""
    async with WebhookReceiver(CALLBACK_KEY) as receiver, AsyncExitStack() as stack:
        cluster = make_cluster(stack, tmp_path, receiver)
        api = await cluster.start_api()
        http = await stack.enter_async_context(httpx.AsyncClient())
        publishers = await stack.enter_async_context(publisher_group())
        where = api.anchor("a room", "alice", 0)
        headers = {"Authorization": f"Bearer {where.bearer}", "Content-Type": "application/sdp"}
        answer = await http.post(where.url, headers=headers, content="v=0")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["detail"] == "none of 0 nodes takes new rooms"
        answer = await http.post(where.url, content="v=0")
        assert answer.status_code == 401, "who may not come in is not told where the room is"

        workers = [await cluster.start_worker(name) for name in ("one", "two")]
        media = await asyncio.to_thread(synthetic_media, Look(), video=None, seconds=2)
        alice = publishers.start(where, media)
        await live(alice)
        (owner,) = await asyncio.to_thread(cluster.owners)
        others = [api, *(each for name, each in cluster.workers.items() if name != owner)]
        path = where.url.removeprefix(api.url)
        for each in others:
            answer = await http.post(f"{each.url}{path}?a=b", headers=headers, content="v=0")
            assert answer.status_code == 307
            assert answer.headers["Location"] == f"{cluster.workers[owner].url}{path}?a=b"
        answer = await http.delete(f"{api.url}{path}/session")
        assert answer.status_code == 404

        # RemoveUser by the node that takes calls: its owner puts her out, and she comes again.
        sdk = Sdk(api)
        await asyncio.to_thread(
            sdk.call,
            "RemoveUserByStrRoomId",
            {"SdkAppId": 1400000001, "RoomId": "a room", "UserIds": ["alice"]},
        )
        assert "anchor left" in cluster.workers[owner].log
        await publishers.stop(alice)
        for each in workers:
            assert await asyncio.to_thread(each.stop) == 0
            assert "unforeseen" not in each.log


async def live(publisher: Publisher) -> None:
    """Wait until its media flows."""
    async with asyncio.timeout(40):
        await publisher.wait_live()
