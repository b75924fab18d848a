"""A worker is killed whose bucket cannot be reached: what it had heard comes all the same, once.

It is back with its disk, or its disk is given to another worker. Real NATS, LiveKit, S3.
"""

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from subprocess import PIPE

import pytest

from helpers.cluster import Cluster
from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import LivekitProcess
from helpers.node import CALLBACK_KEY, Node, Sdk, create_parameters
from helpers.s3_server import S3Server
from helpers.tcp_proxy import tcp_proxy
from helpers.webhooks import WebhookReceiver


async def adopt(directory: Path, by: Node) -> str:
    """Have a node adopt a spool by the command; what that says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cloudslice", "spool", "adopt", str(directory)),
        *("--config", str(by.settings_path)),
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def waiting_files(node: Node) -> list[Path]:
    """The slices in a node's spool."""
    return [
        path
        for path in (node.data_dir / "spool").glob("*/*")
        if path.suffix in (".slice", ".part") and path.parent.name != "quarantine"
    ]


@pytest.mark.timeout(300)  # on a machine that has more to do; a minute else
@pytest.mark.parametrize("is_adopted", [False, True], ids=["returns", "adopted"])
async def test_the_spool_of_a_killed_worker_is_delivered(
    s3_server: S3Server, tmp_path: Path, is_adopted: bool
) -> None:
    async with WebhookReceiver(CALLBACK_KEY) as receiver, AsyncExitStack() as stack:
        livekit = stack.enter_context(LivekitProcess(tmp_path / "livekit"))
        wire = await stack.enter_async_context(tcp_proxy(s3_server.port))
        cluster = Cluster(
            stack,
            tmp_path,
            receiver.url,
            app_settings=livekit.settings,
            more_settings=f'[storage.endpoints]\ns3 = "http://127.0.0.1:{wire.port}"\n',
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
        await receiver.wait_for(lambda r: any(e["EventType"] == 1004 for e in r.of_task(task_id)))
        (owner,) = await asyncio.to_thread(cluster.owners)
        other = {"one": "two", "two": "one"}[owner]
        dead, alive = cluster.workers[owner], cluster.workers[other]

        wire.cut()
        await dead.wait_for_metric(2, "cloudslice_waiting", what="slices", within_s=60)
        await asyncio.to_thread(dead.kill)
        killed_ms, left = time.time() * 1000, waiting_files(dead)
        whole = [path for path in left if path.suffix == ".slice"]
        await cluster.wait_slicing(other)
        wire.restore()

        if is_adopted:
            said = await adopt(dead.data_dir, by=alive)
            assert said.endswith(" slices of 1 tasks are this node's now\n")
            # One that had just begun to grow may hold nothing.
            assert len(whole) <= int(said.split()[0]) <= len(left)
            assert waiting_files(dead) == []
        else:
            await asyncio.to_thread(dead.start)

        def starts_ms(media_type: int) -> list[int]:
            payloads = [
                event["EventInfo"]["Payload"]
                for event in receiver.of_task(task_id)
                if event["EventType"] == 1004
            ]
            return [
                int(each["StartTimeStamp"]) for each in payloads if each["MediaType"] == media_type
            ]

        await receiver.wait_for(
            lambda _r: sum(at < killed_ms for at in starts_ms(1) + starts_ms(2)) > len(whole), 90
        )
        # What another one has adopted its own node knows nothing of when it is back.
        if is_adopted:
            await asyncio.to_thread(dead.start)
        await receiver.wait_for(lambda _r: any(at > killed_ms for at in starts_ms(2)), 90)
        await asyncio.to_thread(sdk.delete, task_id)
        await receiver.wait_for(
            lambda r: any(e["EventType"] == 1005 for e in r.of_task(task_id)), 90
        )
        for worker in cluster.workers.values():
            assert await asyncio.to_thread(worker.stop) == 0
            assert "unforeseen" not in worker.log
        events = receiver.of_task(task_id)
        types = [event["EventType"] for event in events]
        assert [types.count(each) for each in (1001, 1002, 1005)] == [1, 1, 1]
        (ended,) = [e["EventInfo"]["Payload"] for e in events if e["EventType"] == 1005]
        assert ended == {"Status": 0}
        told = [e["EventInfo"]["Payload"]["FileName"] for e in events if e["EventType"] == 1004]
        assert sorted(told) == s3_server.keys(bucket), "each file once, and each one is there"
