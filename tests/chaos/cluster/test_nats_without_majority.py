"""The NATS servers of a running cluster are killed one after the other: robots go on slicing, and
when the servers are back all is told that was cut meanwhile."""

import asyncio
import time
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from helpers.cluster import Cluster, slice_files
from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import LivekitProcess
from helpers.nats_cluster import nats_cluster
from helpers.node import CALLBACK_KEY, Sdk, create_parameters
from helpers.s3_server import S3Server
from helpers.webhooks import WebhookReceiver

_AUDIO = AnchorSpec(video=None)


@pytest.mark.timeout(400)
async def test_nothing_is_lost_while_there_is_no_majority(
    s3_server: S3Server, tmp_path: Path
) -> None:
    async with WebhookReceiver(CALLBACK_KEY) as receiver, AsyncExitStack() as stack:
        livekit = stack.enter_context(LivekitProcess(tmp_path / "livekit"))
        nats = await stack.enter_async_context(nats_cluster(tmp_path / "nats"))
        cluster = Cluster(
            stack,
            tmp_path,
            receiver.url,
            app_settings=livekit.settings,
            more_settings=f'[cluster]\nreplicas = 3\n[storage.endpoints]\ns3 = "{s3_server.url}"\n',
            nats_url=nats.url,
        )
        api = await cluster.start_api()
        await asyncio.gather(*(cluster.start_worker(name) for name in ("one", "two")))
        await stack.enter_async_context(
            livekit_anchor(livekit.url, livekit.token("150", "alice"), "alice", _AUDIO)
        )
        sdk, bucket = Sdk(api), s3_server.new_bucket()
        parameters = create_parameters("150", "robot", s3_server.storage(bucket), SliceType=1)
        task_id = await asyncio.to_thread(sdk.create, parameters)
        await receiver.wait_for(lambda r: slice_files(r, task_id, 1), 40)
        owners = await asyncio.to_thread(cluster.owners)

        for _ in range(2):  # an election, and then nobody who can be elected
            leader = await nats.leader("KV_cloudslice")
            await asyncio.to_thread(nats.servers[leader].kill)
        for worker in cluster.workers.values():
            await worker.wait_for_metric(0, "cloudslice_cluster_own", what="lease", at_most=0)
        with pytest.raises(TencentCloudSDKException) as refused:
            await asyncio.to_thread(sdk.create, parameters | {"RoomId": "151"})
        assert refused.value.get_code() == "InternalError.CSInternalError"
        stored = s3_server.keys(bucket)
        (owner,) = owners
        await cluster.workers[owner].wait_for_metric(
            1, "cloudslice_waiting", what="slices", within_s=40
        )
        assert await asyncio.to_thread(cluster.owners) == owners
        assert s3_server.keys(bucket) == stored, "nothing is stored without a lease"

        back_ms = time.time() * 1000
        await nats.start()
        await receiver.wait_for(
            lambda r: int(slice_files(r, task_id, 1)[-1]["StartTimeStamp"]) > back_ms, 90
        )
        await asyncio.to_thread(sdk.create, parameters | {"RoomId": "151"})
        assert await asyncio.to_thread(sdk.describe, task_id) == "InProgress"
        await asyncio.to_thread(sdk.delete, task_id)
        await receiver.wait_for(
            lambda r: any(e["EventType"] == 1005 for e in r.of_task(task_id)), 60
        )
        types = [each["EventType"] for each in receiver.of_task(task_id)]
        assert [types.count(each) for each in (1001, 1002, 1003, 1005, 1006)] == [1, 1, 1, 1, 0]
        audio = slice_files(receiver, task_id, 1)
        assert sorted(each["FileName"] for each in audio) == s3_server.keys(bucket)
        for one, other in pairwise(audio):
            assert other["StartTimeStamp"] == one["EndTimeStamp"], "no moment is missing"
        for worker in cluster.workers.values():
            taken = await asyncio.to_thread(
                worker.metric, "cloudslice_cluster_failovers_total", what="rooms_taken"
            )
            assert taken == 0
        for worker in cluster.workers.values():
            assert await asyncio.to_thread(worker.stop) == 0
            assert "unforeseen" not in worker.log
