"""A cluster of two workers, a LiveKit room, a real bucket: a worker is killed, and nothing is lost
but the seconds until the other one has the room."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from helpers.cluster import Cluster
from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import LivekitProcess
from helpers.node import CALLBACK_KEY, Sdk, create_parameters
from helpers.s3_server import S3Server
from helpers.webhooks import WebhookReceiver

_FAILOVER_S = 10
_MODIFIED = {"UnSubscribeVideoUserIds": ["alice"]}


def files(receiver: WebhookReceiver, task_id: str, media_type: int) -> list[dict[str, Any]]:
    """The payloads of events 1004, in the order of what they tell of."""
    payloads = [
        event["EventInfo"]["Payload"]
        for event in receiver.of_task(task_id)
        if event["EventType"] == 1004
    ]
    found = [each for each in payloads if each["MediaType"] == media_type]
    return sorted(found, key=lambda each: int(each["StartTimeStamp"]))


@pytest.mark.timeout(300)  # on a machine that has more to do; a minute else
async def test_a_killed_workers_task_goes_on_elsewhere(s3_server: S3Server, tmp_path: Path) -> None:
    async with WebhookReceiver(CALLBACK_KEY) as receiver, AsyncExitStack() as stack:
        livekit = stack.enter_context(LivekitProcess(tmp_path / "livekit"))
        cluster = Cluster(
            stack,
            tmp_path,
            receiver.url,
            app_settings=livekit.settings,
            more_settings=f'[storage.endpoints]\ns3 = "{s3_server.url}"\n',
        )
        api = await cluster.start_api()
        await asyncio.gather(*(cluster.start_worker(name) for name in ("one", "two")))
        await stack.enter_async_context(
            livekit_anchor(livekit.url, livekit.token("150", "alice"), "alice", AnchorSpec())
        )
        sdk, bucket = Sdk(api), s3_server.new_bucket()
        storage = {
            "Vendor": 1,
            "Region": "us-east-1",
            "Bucket": bucket,
            "AccessKey": s3_server.access_key,
            "SecretKey": s3_server.secret_key,
        }
        task_id = await asyncio.to_thread(sdk.create, create_parameters("150", "robot", storage))
        await receiver.wait_for(lambda r: len(files(r, task_id, 2)) >= 1, 30)
        assert await asyncio.to_thread(sdk.describe, task_id) == "InProgress"

        (owner,) = await asyncio.to_thread(cluster.owners)
        other = {"one": "two", "two": "one"}[owner]
        await asyncio.to_thread(cluster.workers[owner].kill)
        killed_at, killed_ms = time.monotonic(), time.time() * 1000
        await cluster.wait_slicing(other)
        failover_s = time.monotonic() - killed_at
        print(f"the task went on after {failover_s:.1f} s")
        assert failover_s < _FAILOVER_S
        assert await asyncio.to_thread(cluster.owners) == [other]
        await receiver.wait_for(
            lambda r: int(files(r, task_id, 2)[-1]["StartTimeStamp"]) > killed_ms, 20
        )
        assert await asyncio.to_thread(sdk.describe, task_id) == "InProgress"

        # What the killed one had heard is in its spool, and comes when it is back.
        await asyncio.to_thread(cluster.workers[owner].start)
        await receiver.wait_for(
            lambda r: any(int(each["StartTimeStamp"]) < killed_ms for each in files(r, task_id, 1)),
            30,
        )

        # One that is paused does nothing more for a task that another one has meanwhile.
        await asyncio.to_thread(cluster.workers[other].pause)
        paused_at = time.monotonic()
        await cluster.wait_slicing(owner)
        print(f"the task went on after {time.monotonic() - paused_at:.1f} s")
        assert time.monotonic() - paused_at < _FAILOVER_S
        await asyncio.to_thread(cluster.workers[other].go_on)
        await cluster.workers[other].wait_for_metric(
            1, "cloudslice_cluster_failovers_total", what="leases_lost"
        )
        assert await asyncio.to_thread(cluster.owners) == [owner]

        await asyncio.to_thread(sdk.modify, task_id, _MODIFIED)
        await asyncio.to_thread(sdk.delete, task_id)
        await receiver.wait_for(
            lambda r: any(e["EventType"] == 1005 for e in r.of_task(task_id)), 30
        )
        for worker in cluster.workers.values():
            assert await asyncio.to_thread(worker.stop) == 0
            assert "unforeseen" not in worker.log
        events = receiver.of_task(task_id)
        types = [event["EventType"] for event in events]
        assert [types.count(each) for each in (1001, 1002, 1005, 1006)] == [1, 1, 1, 0]
        told = [e["EventInfo"]["Payload"]["FileName"] for e in events if e["EventType"] == 1004]
        assert sorted(told) == s3_server.keys(bucket), "each file once, and each one is there"
        before, after = files(receiver, task_id, 1)[:2]
        missing_s = (int(after["StartTimeStamp"]) - int(before["EndTimeStamp"])) / 1000
        print(f"{missing_s:.1f} s of audio are missing")
        assert 0 < missing_s < _FAILOVER_S + 2
