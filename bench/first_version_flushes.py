"""What the first version makes durable for a slice, counted as `bench/delivery.py --flushes` does.

git worktree add /tmp/first 3dc3403 && make -C /tmp/first venv
export PYTHONPATH=/tmp/first/src:/tmp/first/tests:/tmp/first/bench
/tmp/first/.venv/bin/python -P bench/first_version_flushes.py 20 500
"""

import asyncio
import multiprocessing
import os
import sqlite3
import stat
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import uvloop
from cloudslice.delivery.model import Bucket, Consignor, Vendor
from cloudslice.delivery.retries import CallbackPace, UploadPace

import delivery as bench
from helpers.delivery import APP, Site
from helpers.waiting import eventually

SECONDS = 15
counts: Counter[str] = Counter()
fsync, connect = os.fsync, sqlite3.connect


def count_fsync(descriptor: int) -> None:
    """Count it, and do it."""
    counts["directories" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "files"] += 1
    fsync(descriptor)


def connect_counted(*args: Any, **options: Any) -> sqlite3.Connection:
    """A connection whose commits are counted."""
    connection = connect(*args, **options)
    connection.set_trace_callback(lambda text: counts.update(transactions=text == "COMMIT"))
    return connection


async def measure(anchors: int, directory: Path) -> None:
    """Print what is made durable while each anchor's audio slice ends once."""
    mode = bench.Mode(str(anchors), anchors, pictures=anchors // 5, picture_bytes=90_000)
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=bench.far_side, args=(there, directory)
    )
    process.start()
    try:
        endpoint, url = await asyncio.to_thread(here.recv)
        site = Site(directory / "data", endpoint, url)
        paces = {"upload_pace": UploadPace(), "callback_pace": CallbackPace()}
        async with site.open(**paces) as delivery:
            for anchor in range(0, anchors, bench.ROOM_SIZE):
                task = Consignor(bench.task_id(anchor), APP, 150, "robot")
                await delivery.open(task, Bucket(Vendor.S3, "r", "sink", "AK", "SK"))
            driver, before = bench.Driver(mode), counts.copy()
            await driver.run(delivery, SECONDS)
            tasks = -(-anchors // bench.ROOM_SIZE)
            counters = delivery.callbacks
            await eventually(lambda: counters.delivered >= driver.slices + tasks, 60)
            taken = counts - before
    finally:
        process.terminate()
        process.join()
    each = {name: round(count / driver.slices, 2) for name, count in taken.items()}
    print(anchors, "anchors,", round(driver.slices / SECONDS, 1), "slices a second:", each)


if __name__ == "__main__":
    os.fsync, sqlite3.connect = count_fsync, connect_counted
    for anchors in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as directory:
            uvloop.run(measure(anchors, Path(directory)))
