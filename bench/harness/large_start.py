"""The start of a server that finds many tasks and slices of a former process."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from cloudslice.config import load_settings
from harness.buckets import open_bucket
from harness.process import memory_mb
from helpers.left_behind import LeftBehind, leave_behind
from helpers.node import CALLBACK_KEY, Node
from helpers.webhooks import WebhookReceiver

_LOOK_EVERY_S = 0.1
_WITHIN_S = 300


@dataclass(frozen=True, slots=True)
class Start:
    """What a start has taken; memory of the server and its processes (PSS) in MB."""

    tasks: int
    slices: int
    """Whole ones that waited, and one of each task that had grown."""
    ready_s: float
    """Until it answers requests."""
    delivered_s: float
    """Until all slices are in the bucket, since it was ready."""
    ready_mb: float
    peak_mb: float
    """While they are delivered."""


async def measure_start(amount: LeftBehind, directory: Path) -> Start:
    """Leave so much behind, start a server over it, and watch until all is delivered.

    Bucket and receiver are in this process, and on the same machine.
    """
    async with (
        WebhookReceiver(CALLBACK_KEY) as receiver,
        open_bucket("sink", directory) as bucket,
    ):
        endpoints = f'[storage.endpoints]\ns3 = "{bucket.endpoint}"\n'
        with Node(directory, receiver.url, more_settings=endpoints) as node:
            await leave_behind(load_settings(node.settings_path), amount)
            total = amount.tasks * (amount.waiting + 1)
            started = time.monotonic()
            await asyncio.to_thread(node.start)
            ready = time.monotonic()
            ready_mb = peak_mb = memory_mb(node.pid)
            while len(bucket.arrivals([])) < total:
                if time.monotonic() - ready > _WITHIN_S:
                    raise SystemExit(f"of {total} slices {len(bucket.arrivals([]))} came")
                await asyncio.sleep(_LOOK_EVERY_S)
                peak_mb = max(peak_mb, memory_mb(node.pid))
            delivered = time.monotonic()
            await asyncio.to_thread(node.stop)
    return Start(
        amount.tasks,
        total,
        round(ready - started, 1),
        round(delivered - ready, 1),
        round(ready_mb, 1),
        round(peak_mb, 1),
    )
