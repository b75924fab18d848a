"""A worker of a cluster is stopped: its rooms are moved to another one, and little is missing."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cloudslice_publisher.media import Look, synthetic_media
from cloudslice_publisher.publisher import publisher_group
from helpers.cluster import Cluster
from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import LivekitProcess
from helpers.node import BUCKET, CALLBACK_KEY, STORAGE, Sdk, create_parameters
from helpers.webhooks import WebhookReceiver

ROOMS = ("150", "151", "152")
_MISSING_S = 8
"""At most, on a machine that has more to do; about one else."""


def events_of(receiver: WebhookReceiver, task_id: str, kind: int) -> list[dict[str, Any]]:
    """The payloads of a task's events of a type."""
    return [
        event["EventInfo"]["Payload"]
        for event in receiver.of_task(task_id)
        if event["EventType"] == kind
    ]


def missing_s(receiver: WebhookReceiver, task_id: str, stopped_ms: float) -> float:
    """Seconds of audio between the last slice before a stop and the first one after it."""
    audio = [each for each in events_of(receiver, task_id, 1004) if each["MediaType"] == 1]
    before = max(
        int(each["EndTimeStamp"]) for each in audio if int(each["StartTimeStamp"]) < stopped_ms
    )
    after = min(
        int(each["StartTimeStamp"]) for each in audio if int(each["StartTimeStamp"]) > stopped_ms
    )
    return (after - before) / 1000


async def drain_one(
    cluster: Cluster, receiver: WebhookReceiver, sdk: Sdk, buckets: Path
) -> dict[str, float]:
    """Create a task in each room at worker "one", stop that one, end the tasks at worker "two"; the
    seconds of audio that are missing, by room."""
    tasks: dict[str, str] = {}
    for room in ROOMS:
        parameters = create_parameters(room, "robot", STORAGE)
        tasks[room] = await asyncio.to_thread(sdk.create, parameters)
    one = cluster.workers["one"]
    await one.wait_for_metric(len(ROOMS), "cloudslice_tasks", within_s=40, status="InProgress")
    two = await cluster.start_worker("two")
    stopped_ms, began = time.time() * 1000, time.monotonic()
    assert await asyncio.to_thread(one.stop) == 0
    print(f"the worker has ended after {time.monotonic() - began:.1f} s")
    assert "unforeseen" not in one.log
    assert f"rooms={len(ROOMS)}" in one.log, "all were moved"
    assert "the time to drain is over" not in one.log, "all was delivered, and that was seen"
    await two.wait_for_metric(len(ROOMS), "cloudslice_tasks", within_s=40, status="InProgress")
    for room, task_id in tasks.items():
        before = events_of(receiver, task_id, 1004)
        assert any(each["MediaType"] == 1 for each in before), f"{room}: uploaded before the end"
        await asyncio.to_thread(sdk.delete, task_id)
    for task_id in tasks.values():
        await receiver.wait_for(lambda r, of=task_id: bool(events_of(r, of, 1005)), 40)
        counts = [len(events_of(receiver, task_id, each)) for each in (1001, 1002, 1005, 1006)]
        assert counts == [1, 1, 1, 0]
        told = sorted(each["FileName"] for each in events_of(receiver, task_id, 1004))
        stored = (buckets / BUCKET / task_id).rglob("*.*")
        kept = (path for path in stored if path.is_file() and path.suffix in (".ogg", ".png"))
        assert told == sorted(str(path.relative_to(buckets / BUCKET)) for path in kept)
    assert await asyncio.to_thread(two.stop) == 0
    assert "unforeseen" not in two.log
    return {room: missing_s(receiver, task_id, stopped_ms) for room, task_id in tasks.items()}


@pytest.mark.timeout(300)  # on a machine that has more to do; half a minute else
async def test_rooms_of_livekit_are_moved_from_a_worker_that_is_stopped(tmp_path: Path) -> None:
    """Their anchors notice nothing."""
    buckets = tmp_path / "buckets"
    async with WebhookReceiver(CALLBACK_KEY) as receiver, AsyncExitStack() as stack:
        livekit = stack.enter_context(LivekitProcess(tmp_path / "livekit"))
        cluster = Cluster(
            stack,
            tmp_path,
            receiver.url,
            app_settings=livekit.settings,
            more_settings=f'[storage.endpoints]\ncos = "{buckets.as_uri()}"\n',
        )
        api = await cluster.start_api()
        await cluster.start_worker("one")
        for room in ROOMS:
            token = livekit.token(room, "alice")
            await stack.enter_async_context(
                livekit_anchor(livekit.url, token, "alice", AnchorSpec())
            )
        missing = await drain_one(cluster, receiver, Sdk(api), buckets)
    print(f"seconds of audio that are missing: {missing}")
    assert max(missing.values()) < _MISSING_S


@pytest.mark.timeout(300)
async def test_anchors_of_a_worker_that_is_stopped_come_again_elsewhere(tmp_path: Path) -> None:
    """As its sessions are closed when the other worker has the room."""
    buckets = tmp_path / "buckets"
    media = await asyncio.to_thread(synthetic_media, Look(), video=None, seconds=2)
    async with (
        WebhookReceiver(CALLBACK_KEY) as receiver,
        AsyncExitStack() as stack,
        publisher_group() as publishers,
    ):
        cluster = Cluster(
            stack,
            tmp_path,
            receiver.url,
            app_settings="",
            more_settings=f'[storage.endpoints]\ncos = "{buckets.as_uri()}"\n',
        )
        api = await cluster.start_api()
        await cluster.start_worker("one")
        for room in ROOMS:
            publishers.start(api.anchor(room, "alice"), media)
        missing = await drain_one(cluster, receiver, Sdk(api), buckets)
    print(f"seconds of audio that are missing: {missing}")
    assert max(missing.values()) < _MISSING_S
