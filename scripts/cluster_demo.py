"""Shows a cluster on this machine: a worker is killed, and the task goes on at another one.

NATS, a node that takes calls, two workers, and a LiveKit server with an anchor, all as the tests
run them; buckets are a directory. Everything is gone in the end.

    python scripts/cluster_demo.py
"""

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.cluster import Cluster, slice_files
from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import PROGRAM, LivekitProcess
from helpers.node import CALLBACK_KEY, STORAGE, Sdk, create_parameters
from helpers.webhooks import WebhookReceiver

_ROOM = "150"
_WITHIN_S = 60.0
_BEGAN = time.monotonic()


def say(text: str) -> None:
    """A line, with the seconds since the start."""
    print(f"{time.monotonic() - _BEGAN:6.1f} s  {text}", flush=True)


async def show(directory: Path) -> None:
    """The whole story."""
    async with WebhookReceiver(CALLBACK_KEY) as receiver, AsyncExitStack() as stack:
        livekit = stack.enter_context(LivekitProcess(directory / "livekit", log_level="error"))
        buckets = (directory / "buckets").as_uri()
        cluster = Cluster(
            stack,
            directory,
            receiver.url,
            app_settings=livekit.settings,
            more_settings=f'[storage.endpoints]\ncos = "{buckets}"\n',
        )
        say(f"NATS runs ({cluster.nats_url}), and LiveKit ({livekit.url})")
        api = await cluster.start_api()
        await asyncio.gather(*(cluster.start_worker(name) for name in ("one", "two")))
        say(f"cloudslice api runs ({api.url}), and two of cloudslice worker")
        token = livekit.token(_ROOM, "alice")
        await stack.enter_async_context(livekit_anchor(livekit.url, token, "alice", AnchorSpec()))
        say(f"alice publishes into LiveKit's room {_ROOM}")
        sdk = Sdk(api)
        task_id = await asyncio.to_thread(sdk.create, create_parameters(_ROOM, "robot", STORAGE))
        say("CreateCloudSliceTask by the official SDK")
        picture = await next_picture(receiver, task_id, 0)
        (owner,) = await asyncio.to_thread(cluster.owners)
        (other,) = cluster.workers.keys() - {owner}
        say(f"worker {owner} has the room; its first picture is of {clock(picture)}")

        killed_ms = time.time() * 1000
        await asyncio.to_thread(cluster.workers[owner].kill)
        say(f"kill -9 of worker {owner}")
        await cluster.wait_slicing(other, _WITHIN_S)
        say(f"worker {other} slices the task")
        picture = await next_picture(receiver, task_id, killed_ms)
        say(f"a picture by worker {other}, of {clock(picture)}")
        await asyncio.to_thread(cluster.workers[owner].start)
        say(f"worker {owner} is back, and delivers what it had heard")
        await receiver.wait_for(lambda r: slice_files(r, task_id, 1), _WITHIN_S)
        status = await asyncio.to_thread(sdk.describe, task_id)
        await asyncio.to_thread(sdk.delete, task_id)
        say(f"DescribeCloudSliceTask: {status}; DeleteCloudSliceTask")
        await receiver.wait_for_type(1005, within_s=_WITHIN_S)
        for each in slice_files(receiver, task_id, 1):
            say(f"audio of alice, {clock(each)}, {seconds(each):.1f} s")
        say(f"all uploads are done: {len(receiver.of_type(1004))} files")


async def next_picture(receiver: WebhookReceiver, task_id: str, since_ms: float) -> dict[str, Any]:
    """The first one that was made from then on."""

    def pictures() -> list[dict[str, Any]]:
        files = slice_files(receiver, task_id, 2)
        return [each for each in files if int(each["StartTimeStamp"]) > since_ms]

    await receiver.wait_for(lambda _: pictures(), _WITHIN_S)
    return pictures()[0]


def clock(payload: dict[str, Any]) -> str:
    """When a file begins."""
    return datetime.fromtimestamp(int(payload["StartTimeStamp"]) / 1000, UTC).strftime("%H:%M:%S")


def seconds(payload: dict[str, Any]) -> float:
    """How long a file is."""
    return (int(payload["EndTimeStamp"]) - int(payload["StartTimeStamp"])) / 1000


def main() -> None:
    """Show it, or say what is missing."""
    if not PROGRAM.exists():
        sys.exit("make cluster-demo: there is no LiveKit server; it is built where Go is installed")
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(show(Path(directory)))


if __name__ == "__main__":
    main()
