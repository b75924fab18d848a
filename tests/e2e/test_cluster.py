"""A cluster of two workers, a room of LiveKit or Janus, a real bucket: a worker is killed, and
nothing is lost but the seconds until the other one has the room."""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cloudslice_publisher.media import Media
from cloudslice_publisher.publisher import PublishConfig, publisher_group
from helpers.cluster import Cluster, slice_files
from helpers.node import CALLBACK_KEY, Node, Sdk, create_parameters
from helpers.room_kinds import open_rooms
from helpers.s3_server import S3Server
from helpers.webhooks import WebhookReceiver

_FAILOVER_S = 10
_ROOM = "77"
_MODIFIED = {"UnSubscribeVideoUserIds": ["alice"]}


async def list_events(api: Node, task_id: str) -> list[dict[str, Any]]:
    """By `cloudslice events list`."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cloudslice", "events", "list", "--json", "--task", task_id),
        *("--config", str(api.settings_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await program.communicate()
    assert program.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.timeout(300)  # on a machine that has more to do; a minute else
@pytest.mark.parametrize("kind", ["livekit", "janus"])
async def test_a_killed_workers_task_goes_on_elsewhere(
    s3_server: S3Server, tmp_path: Path, vp8_media: Media, kind: str
) -> None:
    async with (
        WebhookReceiver(CALLBACK_KEY) as receiver,
        open_rooms(kind, tmp_path) as rooms,
        publisher_group() as people,
        AsyncExitStack() as stack,
    ):
        cluster = Cluster(
            stack,
            tmp_path,
            receiver.url,
            app_settings=rooms.app_settings,
            more_settings=f'[storage.endpoints]\ns3 = "{s3_server.url}"\n',
        )
        api = await cluster.start_api()
        await asyncio.gather(*(cluster.start_worker(name) for name in ("one", "two")))
        sdk, bucket = Sdk(api), s3_server.new_bucket()
        parameters = create_parameters(_ROOM, "robot", s3_server.storage(bucket))
        task_id = await asyncio.to_thread(sdk.create, parameters)
        people.start(PublishConfig(*rooms.anchor(api, _ROOM, "alice")), vp8_media)
        # Two of them are five seconds apart: so the spool has some audio, too.
        await receiver.wait_for(lambda r: len(slice_files(r, task_id, 2)) >= 2, 30)
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
            lambda r: int(slice_files(r, task_id, 2)[-1]["StartTimeStamp"]) > killed_ms, 20
        )
        assert await asyncio.to_thread(sdk.describe, task_id) == "InProgress"

        # What the killed one had heard is in its spool, and comes when it is back.
        await asyncio.to_thread(cluster.workers[owner].start)
        await receiver.wait_for(
            lambda r: any(
                int(each["StartTimeStamp"]) < killed_ms for each in slice_files(r, task_id, 1)
            ),
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
        listed = await list_events(api, task_id)
        bodies = [each["Body"] for each in listed]
        assert bodies == [
            body
            for body in dict.fromkeys(request.body.decode() for request in receiver.requests)
            if task_id in body
        ], "all that is on record has come, in one order over all workers"
        assert len(set(bodies)) == len({each["EventId"] for each in listed}) == len(bodies)
        for worker in cluster.workers.values():
            assert await asyncio.to_thread(worker.stop) == 0
            assert "unforeseen" not in worker.log
        events = receiver.of_task(task_id)
        types = [event["EventType"] for event in events]
        assert [types.count(each) for each in (1001, 1002, 1005, 1006)] == [1, 1, 1, 0]
        assert (types[0], types[1], types.count(1003), types[-1]) == (1001, 1003, 1, 1005)
        told = [e["EventInfo"]["Payload"]["FileName"] for e in events if e["EventType"] == 1004]
        assert sorted(told) == s3_server.keys(bucket), "each file once, and each one is there"
        before, after = slice_files(receiver, task_id, 1)[:2]
        missing_s = (int(after["StartTimeStamp"]) - int(before["EndTimeStamp"])) / 1000
        print(f"{missing_s:.1f} s of audio are missing")
        assert 0 < missing_s < _FAILOVER_S + 2
