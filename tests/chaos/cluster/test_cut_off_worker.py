"""A worker loses NATS, the bucket, the rooms' server, or all of them: what goes on, and where; and
nothing is stored or told twice."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.cluster import Cluster, slice_files
from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import LivekitProcess
from helpers.node import CALLBACK_KEY, Node, Sdk, create_parameters
from helpers.s3_server import S3Server
from helpers.tcp_proxy import TcpProxy, tcp_proxy
from helpers.webhooks import WebhookReceiver

_FAILOVER_S = 10
_WIRES = ("nats", "bucket", "rooms")


@dataclass
class Stage:
    """A task that is sliced by one of two workers, which reach everything through proxies."""

    cluster: Cluster
    receiver: WebhookReceiver
    sdk: Sdk
    task_id: str
    wires: dict[str, dict[str, TcpProxy]]
    """By worker, and what is reached."""
    owner: str
    other: str

    @property
    def workers(self) -> dict[str, Node]:
        return self.cluster.workers

    async def wait_taken_over(self, since: float) -> None:
        """Wait until the other worker slices the task."""
        await self.cluster.wait_slicing(self.other, 30)
        assert time.monotonic() - since < _FAILOVER_S

    async def wait_given_up(self) -> None:
        """Wait until the former owner is back and has found out that the task is another one's."""
        await self.workers[self.owner].wait_for_metric(
            1, "cloudslice_cluster_failovers_total", what="leases_lost", within_s=40
        )
        await self.workers[self.owner].wait_for_metric(
            0, "cloudslice_cluster_own", at_most=0, what="rooms", within_s=40
        )
        assert await asyncio.to_thread(self.cluster.owners) == [self.other]

    def told_by(self, name: str, since: float) -> list[int]:
        """The events of which a worker has told since then."""
        return [
            each.type
            for each in self.receiver.requests
            if each.at > since and each.target.endswith(f"node={name}")
        ]

    async def wait_file(self, since_ms: float) -> None:
        """Wait until a picture is told that was made from then on."""
        await self.receiver.wait_for(
            lambda r: any(
                int(each["StartTimeStamp"]) >= since_ms for each in slice_files(r, self.task_id, 2)
            ),
            60,
        )


@asynccontextmanager
async def open_stage(s3_server: S3Server, directory: Path) -> AsyncIterator[Stage]:
    """In the end the task is ended, and bucket and webhooks are compared."""
    async with WebhookReceiver(CALLBACK_KEY) as receiver, AsyncExitStack() as stack:
        livekit = stack.enter_context(LivekitProcess(directory / "livekit"))
        cluster = Cluster(stack, directory, receiver.url, app_settings=livekit.settings)
        api = await cluster.start_api()
        ports = dict(zip(_WIRES, (cluster.nats.port, s3_server.port, livekit.port), strict=True))
        wires: dict[str, dict[str, TcpProxy]] = {}
        for name in ("one", "two"):
            wires[name] = {
                what: await stack.enter_async_context(tcp_proxy(port))
                for what, port in ports.items()
            }
            nats, bucket, rooms = (wires[name][what].port for what in _WIRES)
            await cluster.start_worker(
                name,
                nats_url=f"nats://127.0.0.1:{nats}",
                app_settings=livekit.settings.replace(livekit.url, f"ws://127.0.0.1:{rooms}"),
                more_settings=f'[storage.endpoints]\ns3 = "http://127.0.0.1:{bucket}"\n',
            )
        token = livekit.token("150", "alice")
        await stack.enter_async_context(livekit_anchor(livekit.url, token, "alice", AnchorSpec()))
        sdk, name = Sdk(api), s3_server.new_bucket()
        parameters = create_parameters("150", "robot", s3_server.storage(name))
        task_id = await asyncio.to_thread(sdk.create, parameters)
        await receiver.wait_for(lambda r: slice_files(r, task_id, 2), 60)
        (owner,) = await asyncio.to_thread(cluster.owners)
        (other,) = wires.keys() - {owner}
        yield Stage(cluster, receiver, sdk, task_id, wires, owner, other)

        await asyncio.to_thread(sdk.delete, task_id)
        await receiver.wait_for(
            lambda r: any(e["EventType"] == 1005 for e in r.of_task(task_id)), 90
        )
        for worker in cluster.workers.values():
            await worker.wait_for_metric(0, "cloudslice_waiting", at_most=0, what="slices")
            assert await asyncio.to_thread(worker.stop) == 0
            assert "unforeseen" not in worker.log
        told = [e["FileName"] for kind in (1, 2) for e in slice_files(receiver, task_id, kind)]
        assert sorted(told) == s3_server.keys(name), "each file once, and each one is there"
        types = [each["EventType"] for each in receiver.of_task(task_id)]
        assert [types.count(each) for each in (1001, 1002, 1005)] == [1, 1, 1]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("lost", [pytest.param(("nats",), marks=pytest.mark.long), _WIRES])
async def test_who_is_cut_off_from_nats_loses_the_task(
    s3_server: S3Server, tmp_path: Path, lost: tuple[str, ...]
) -> None:
    async with open_stage(s3_server, tmp_path) as stage:
        for what in lost:
            stage.wires[stage.owner][what].freeze()
        cut_at = time.monotonic()
        await stage.wait_taken_over(cut_at)
        taken_at, taken_ms = time.monotonic(), time.time() * 1000
        await stage.wait_file(taken_ms)
        assert stage.told_by(stage.owner, taken_at) == []
        for what in lost:
            stage.wires[stage.owner][what].restore()
        await stage.wait_given_up()


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("lost", ["bucket", "rooms"])
async def test_who_is_cut_off_from_anything_else_keeps_the_task(
    s3_server: S3Server, tmp_path: Path, lost: str
) -> None:
    """Another worker would not do better as a rule, and rooms do not go to and fro."""
    async with open_stage(s3_server, tmp_path) as stage:
        stage.wires[stage.owner][lost].cut()
        await asyncio.sleep(20)  # four leases
        assert await asyncio.to_thread(stage.cluster.owners) == [stage.owner]
        stage.wires[stage.owner][lost].restore()
        await stage.wait_file(time.time() * 1000)
        assert await asyncio.to_thread(stage.cluster.owners) == [stage.owner]


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_who_was_paused_for_half_a_minute_stores_nothing_beside_the_new_owner(
    s3_server: S3Server, tmp_path: Path
) -> None:
    async with open_stage(s3_server, tmp_path) as stage:
        owner = stage.workers[stage.owner]
        await asyncio.to_thread(owner.pause)
        await stage.wait_taken_over(time.monotonic())
        await asyncio.sleep(30)
        await asyncio.to_thread(owner.go_on)
        await stage.wait_given_up()
        await stage.wait_file(time.time() * 1000)
