"""Kills the worker that has a LiveKit room, again and again, and measures what that costs.

Real processes: NATS, a node that takes calls, two workers, livekit-server with an anchor by
LiveKit's own client, an S3 server (versitygw), a webhook receiver. In each turn the owner is killed
(kill -9) at a random moment of its lease, and started again when the other one has the task. In the
end the bucket, the webhooks and the audio are compared.

    python bench/failover.py [--kills 30] [--json FILE]
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from harness.report import describe_machine, table
from helpers.cluster import Cluster, slice_files
from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import LivekitProcess
from helpers.node import CALLBACK_KEY, Sdk, create_parameters
from helpers.versity_server import VersityServer
from helpers.webhooks import WebhookReceiver

ROOM = "150"
BUCKET = "failover"
_SLICING_S = 60
_POLL_S = 0.05
_LEAST_RUN_S = 3.0
"""So long a task runs before it is killed again, and up to a lease longer."""
_LEASE_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the kills have cost; seconds."""

    failovers_s: list[float]
    """From a kill until the other worker slices the task."""
    missing_s: list[float]
    """Audio that is in no slice, at each kill."""
    objects: int
    doubled: int
    """Objects that were told twice, or whose audio another one has, too."""
    events_lost: int
    """Objects that no event tells of, or events of objects that are not there."""
    repeated: dict[str, int]
    """How often events came that a task has once."""


class Stage:
    """All processes, with a task that is sliced.

    Args:
        stack: in which they run.
        directory: for their data.
        receiver: of webhooks.
    """

    def __init__(self, stack: AsyncExitStack, directory: Path, receiver: WebhookReceiver) -> None:
        self.receiver = receiver
        self.livekit = stack.enter_context(LivekitProcess(directory / "livekit", log_level="error"))
        self.s3 = VersityServer(directory / "s3")
        self.s3.start()
        stack.callback(self.s3.stop)
        self.s3.create_bucket(BUCKET)
        self.cluster = Cluster(
            stack,
            directory,
            receiver.url,
            app_settings=self.livekit.settings,
            more_settings=f'[storage.endpoints]\ns3 = "{self.s3.url}"\n',
        )

    async def start(self) -> tuple[Sdk, str]:
        """What takes calls, and the task."""
        api = await self.cluster.start_api()
        await asyncio.gather(*(self.cluster.start_worker(name) for name in ("one", "two")))
        sdk = Sdk(api)
        storage = {
            "Vendor": 1,
            "Region": self.s3.region,
            "Bucket": BUCKET,
            "AccessKey": self.s3.access_key,
            "SecretKey": self.s3.secret_key,
        }
        task_id = await asyncio.to_thread(sdk.create, create_parameters(ROOM, "robot", storage))
        await self.receiver.wait_for(lambda r: slice_files(r, task_id, 2), _SLICING_S)
        return sdk, task_id

    async def kill_owner(self) -> float:
        """Kill it, and start it again; the seconds until the other one slices the task."""
        workers = self.cluster.workers
        (owner,) = await asyncio.to_thread(self.cluster.owners)
        (other,) = workers.keys() - {owner}
        await asyncio.to_thread(workers[owner].kill)
        killed_at = time.monotonic()
        while not await asyncio.to_thread(
            workers[other].metric, "cloudslice_tasks", status="InProgress"
        ):
            if time.monotonic() - killed_at > _SLICING_S:
                raise RuntimeError("the task does not go on")
            await asyncio.sleep(_POLL_S)
        took_s = time.monotonic() - killed_at
        await asyncio.to_thread(workers[owner].start)
        await workers[other].wait_for_metric(2, "cloudslice_cluster_nodes", state="open")
        return took_s


async def run(kills: int, directory: Path) -> Outcome:
    """Kill so many times."""
    chance = random.Random(kills)  # noqa: S311 - not a secret
    async with WebhookReceiver(CALLBACK_KEY) as receiver, AsyncExitStack() as stack:
        stage = Stage(stack, directory, receiver)
        url, token = stage.livekit.url, stage.livekit.token(ROOM, "alice")
        await stack.enter_async_context(livekit_anchor(url, token, "alice", AnchorSpec()))
        sdk, task_id = await stage.start()
        failovers_s = []
        for number in range(kills):
            await asyncio.sleep(_LEAST_RUN_S + chance.random() * _LEASE_S)
            failovers_s.append(await stage.kill_owner())
            print(f"kill {number + 1}: {failovers_s[-1]:.1f} s", flush=True)
        last = len(slice_files(receiver, task_id, 1))
        await receiver.wait_for(lambda r: len(slice_files(r, task_id, 1)) > last, _SLICING_S)
        await asyncio.to_thread(sdk.delete, task_id)
        await receiver.wait_for_type(1005, within_s=_SLICING_S)
        for worker in stage.cluster.workers.values():
            await worker.wait_for_metric(0, "cloudslice_waiting", at_most=0, what="slices")
            await worker.wait_for_metric(0, "cloudslice_waiting", at_most=0, what="events")
        return evaluate(receiver.of_task(task_id), stage.s3.keys(BUCKET), failovers_s)


def evaluate(events: list[dict[str, Any]], keys: list[str], failovers_s: list[float]) -> Outcome:
    """Compare what was told with what is there."""
    files = [each["EventInfo"]["Payload"] for each in events if each["EventType"] == 1004]
    told = [each["FileName"] for each in files]
    audio = sorted(
        (each["StartTimeStamp"], each["EndTimeStamp"]) for each in files if each["MediaType"] == 1
    )
    steps_s = [(other[0] - one[1]) / 1000 for one, other in pairwise(audio)]
    types = [each["EventType"] for each in events]
    return Outcome(
        failovers_s,
        [each for each in steps_s if each > 0],
        len(keys),
        len(told) - len(set(told)) + sum(each < 0 for each in steps_s),
        len(set(told) ^ set(keys)),
        {str(each): types.count(each) for each in (1001, 1002, 1003, 1005, 1006)},
    )


def print_outcome(outcome: Outcome) -> None:
    """As a table."""
    rows = [
        [what, len(values), *(f"{each:.1f}" for each in _centiles(values))]
        for what, values in (
            ("until the task goes on, s", outcome.failovers_s),
            ("audio missing, s", outcome.missing_s),
        )
    ]
    print(table(["", "times", "p50", "p99", "most"], rows))
    print(
        f"{outcome.objects} objects, {outcome.doubled} doubled, {outcome.events_lost} events lost; "
        f"events of the task: {outcome.repeated}"
    )


def _centiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return (*values, *values, *values) if values else (0, 0, 0)
    return median(values), quantiles(values, n=100, method="inclusive")[98], max(values)


async def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        outcome = await run(options.kills, Path(directory))
    print_outcome(outcome)
    if options.json is not None:
        report = {"machine": describe_machine(), "outcome": asdict(outcome)}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if outcome.doubled or outcome.events_lost:
        raise SystemExit("objects are doubled, or events lost")


if __name__ == "__main__":
    asyncio.run(main())
