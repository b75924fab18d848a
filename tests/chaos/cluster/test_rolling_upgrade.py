"""Each worker is stopped as an operator does it, and started anew: a task goes on all the time."""

import asyncio
import time
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from helpers.cluster import Cluster, slice_files
from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import LivekitProcess
from helpers.node import CALLBACK_KEY, Sdk, create_parameters
from helpers.s3_server import S3Server
from helpers.webhooks import WebhookReceiver

_MISSING_S = 8
"""At most, on a machine that has more to do; about one else."""


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_workers_are_upgraded_one_after_the_other(
    s3_server: S3Server, tmp_path: Path
) -> None:
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
        token = livekit.token("150", "alice")
        await stack.enter_async_context(livekit_anchor(livekit.url, token, "alice", AnchorSpec()))
        sdk, bucket = Sdk(api), s3_server.new_bucket()
        parameters = create_parameters("150", "robot", s3_server.storage(bucket))
        task_id = await asyncio.to_thread(sdk.create, parameters)
        await receiver.wait_for(lambda r: slice_files(r, task_id, 2), 60)

        for _ in range(2):
            (owner,) = await asyncio.to_thread(cluster.owners)
            (other,) = cluster.workers.keys() - {owner}
            assert await asyncio.to_thread(cluster.workers[owner].stop) == 0
            await cluster.wait_slicing(other, 30)
            moved_ms = time.time() * 1000
            await asyncio.to_thread(cluster.workers[owner].start)
            await cluster.workers[other].wait_for_metric(
                2, "cloudslice_cluster_nodes", state="open"
            )
            await receiver.wait_for(
                lambda r, since=moved_ms: any(
                    int(each["StartTimeStamp"]) > since for each in slice_files(r, task_id, 2)
                ),
                60,
            )
            assert await asyncio.to_thread(sdk.describe, task_id) == "InProgress"

        await asyncio.to_thread(sdk.delete, task_id)
        await receiver.wait_for_type(1005, within_s=90)
        types = [each["EventType"] for each in receiver.of_task(task_id)]
        assert [types.count(each) for each in (1001, 1002, 1005, 1006)] == [1, 1, 1, 0]
        told = [e["FileName"] for kind in (1, 2) for e in slice_files(receiver, task_id, kind)]
        assert sorted(told) == s3_server.keys(bucket), "each file once, and each one is there"
        audio = slice_files(receiver, task_id, 1)
        assert len(audio) >= 3
        for one, later in pairwise(audio):
            missing_s = (later["StartTimeStamp"] - one["EndTimeStamp"]) / 1000
            print(f"{missing_s:.2f} s of audio are missing")
            assert 0 <= missing_s < _MISSING_S
