"""What a slice costs from slicing's hand to bucket and webhook: spool, uploads and webhooks alone.

Anchors append a second of audio each second and finish a slice every 15 s; pictures are put in
between, evenly. An S3 endpoint that drops what it gets and a webhook receiver run in a process of
their own. In turns with it run, at the same pace: the driver alone, which is taken off, and the
bare work: each slice written, flushed and renamed, put by obstore and told by aiohttp, with no
record of anything. CPU is that of all threads, per slice (per append where nothing is finished).

Then it counts what is made durable for anchors with a picture every 5 s, and times the start of a
server that finds tasks and slices of a former process.

    python bench/delivery.py [--modes appends audio jpg png] [--seconds 4] [--turns 2] [--json FILE]
        [--flushes 20 500] [--starts 500:0 500:25]
"""

import argparse
import asyncio
import contextlib
import io
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import aiohttp
import uvloop

from cloudslice.config import LogSettings
from cloudslice.logs import set_up_logging
from cloudslice.process import keep_freed_memory
from cloudslice.slices import Bucket, SliceKind, SliceOrigin, TaskRef, Vendor
from cloudslice.slicing.slice_store import GrowingSlice, SliceStore
from cloudslice.uploads.upload_pace import UploadPace
from cloudslice.webhooks.callback_pace import CallbackPace
from harness.bare_delivery import WEBHOOK, Bare, Nowhere
from harness.buckets import open_bucket
from harness.flushes import Flushes, counted_flushes
from harness.large_start import Start, measure_start
from harness.report import describe_machine, table
from harness.slices import AUDIO_SLICE_S, PICTURE_INTERVAL_S
from harness.threads import ThreadMeter
from helpers.delivery import APP, CALLBACK_KEY, Delivery, Site
from helpers.left_behind import LeftBehind
from helpers.waiting import eventually
from helpers.webhooks import WebhookReceiver

BEAT_S = 0.01
BEATS_PER_S = round(1 / BEAT_S)
LATE_S = 1.5
"""After a turn, for what is still under way."""
ROOM_SIZE = 20
SECOND_OF_AUDIO = os.urandom(3000)


@dataclass(frozen=True, slots=True)
class Mode:
    """What is handed in; pictures per second."""

    name: str
    anchors: int
    finishes: bool = True
    pictures: int = 0
    picture_bytes: int = 0


MODES = {
    mode.name: mode
    for mode in (
        Mode("appends", 200, finishes=False),
        Mode("audio", 200),
        Mode("jpg", 100, pictures=20, picture_bytes=90_000),
        Mode("png", 100, pictures=20, picture_bytes=700_000),
    )
}


@dataclass(frozen=True, slots=True)
class Result:
    """Of a mode; CPU in microseconds for each slice, or for each append if nothing is finished."""

    mode: str
    slices: int
    appends: int
    us: int
    bare_us: int
    picture_ms: tuple[int, int]
    """From `put` to the bucket: median and 99th percentile."""
    threads_us: dict[str, float]
    """The event loop is `MainThread`."""
    wakeups_per_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class Durability:
    """What was made durable for so many slices."""

    anchors: int
    slices: int
    seconds: float
    flushes: Flushes


class Driver:
    """Stands for slicing: hands in what is due, beat by beat; its time stands still in between."""

    def __init__(self, mode: Mode) -> None:
        self.slices = self.appends = 0
        self._mode = mode
        self._beats = itertools.count()
        self._growing: dict[int, GrowingSlice] = {}
        self._pictures = itertools.count()
        self._picture = os.urandom(mode.picture_bytes)

    async def run(self, store: SliceStore, seconds: float) -> None:
        started, beats = time.monotonic(), 0
        while beats < seconds * BEATS_PER_S:
            await asyncio.sleep(BEAT_S)
            while beats * BEAT_S < time.monotonic() - started:
                self._hand_in(store, *divmod(next(self._beats), BEATS_PER_S))
                beats += 1

    def _hand_in(self, store: SliceStore, second: int, phase: int) -> None:
        mode, now_ms = self._mode, round(time.time() * 1000)
        for anchor in range(phase, mode.anchors, BEATS_PER_S):
            growing = self._growing.get(anchor)
            if growing is None:
                origin = make_origin(anchor, SliceKind.AUDIO, "ogg")
                growing = self._growing[anchor] = store.grow(origin, now_ms)
            growing.append(SECOND_OF_AUDIO)
            self.appends += 1
            if mode.finishes and (second + anchor) % AUDIO_SLICE_S == 0:
                growing.finish(now_ms, 15000, {"channels": "2"}, head=SECOND_OF_AUDIO[:100])
                del self._growing[anchor]
                self.slices += 1
        if mode.pictures and phase * mode.pictures % BEATS_PER_S < mode.pictures:
            origin = make_origin(next(self._pictures) % mode.anchors, SliceKind.IMAGE, "png")
            data = bytes(memoryview(self._picture))  # memory of its own, as each picture has it
            store.put(origin, now_ms, data, {"width": "1280", "due-ms": str(now_ms)})
            self.slices += 1


def make_origin(anchor: int, kind: SliceKind, extension: str) -> SliceOrigin:
    """Of a slice of an anchor in the room where there is a place for it."""
    return SliceOrigin(task_id(anchor), f"anchor{anchor}", kind, extension)


def task_id(anchor: int) -> str:
    """The task of the anchor's room."""
    return f"task-{anchor // ROOM_SIZE}"


@dataclass(slots=True)
class Runner:
    """One of those that take turns, and what it has taken."""

    store: SliceStore
    driver: Driver
    meter: ThreadMeter = field(default_factory=ThreadMeter)
    slices: int = 0
    appends: int = 0

    async def run(self, seconds: float) -> None:
        before = self.driver.slices, self.driver.appends
        self.meter.start()
        await self.driver.run(self.store, seconds)
        await asyncio.sleep(LATE_S)
        self.meter.stop()
        self.slices += self.driver.slices - before[0]
        self.appends += self.driver.appends - before[1]


def far_side(pipe: Connection, directory: Path) -> None:
    """The process of bucket and receiver: tells where they are and, at the end, what came."""

    async def serve() -> None:
        async with (
            WebhookReceiver(CALLBACK_KEY) as receiver,
            open_bucket("sink", directory) as bucket,
        ):
            pipe.send((bucket.endpoint, receiver.url))
            await asyncio.to_thread(pipe.recv)
            arrivals = [each for each in bucket.arrivals([]) if each.user_id != "bare"]
            told = sum(each.body != WEBHOOK for each in receiver.requests if each.type == 1004)
            delays = [each.stored_ms - each.due_ms for each in arrivals if each.is_picture]
            pipe.send((len(arrivals), told, delays))

    uvloop.run(serve())


@contextlib.asynccontextmanager
async def far_away(directory: Path) -> AsyncIterator[tuple[Connection, str, str]]:
    """Run that process: the pipe to it, and where bucket and receiver are."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=far_side, args=(there, directory))
    process.start()
    try:
        yield here, *await asyncio.to_thread(here.recv)
    finally:
        process.terminate()
        process.join()


async def measure(mode: Mode, seconds: float, turns: int, directory: Path) -> Result:
    """Run driver, bare work and delivery in turns."""
    async with far_away(directory) as (here, endpoint, url):
        site = Site(directory / "data", endpoint, url, callback_pace=CallbackPace())
        async with (
            site.open(upload_pace=UploadPace()) as delivery,
            aiohttp.ClientSession() as session,
        ):
            await open_tasks(delivery, mode.anchors)
            stores = [Nowhere(), Bare(directory, endpoint, session, url), delivery]
            runners = [Runner(store, Driver(mode)) for store in stores]
            for runner in runners:  # warms up
                await runner.driver.run(runner.store, 1)
            for _ in range(turns):
                for runner in runners:
                    await runner.run(seconds)
        here.send(None)
        stored, told, delays = await asyncio.to_thread(here.recv)
    if not stored == told == runners[-1].driver.slices:
        raise SystemExit(f"of {runners[-1].driver.slices} slices {stored} came, {told} webhooks")
    return evaluate(mode, runners, delays)


async def open_tasks(delivery: Delivery, anchors: int) -> None:
    """A task for each room of so many anchors."""
    for anchor in range(0, anchors, ROOM_SIZE):
        task = TaskRef(task_id(anchor), APP, 150, "robot")
        await delivery.open(task, Bucket(Vendor.S3, "r", "sink", "AK", "SK"))


async def count_flushes(anchors: int, directory: Path) -> Durability:
    """What is made durable while each anchor's slice ends once, until all is told."""
    mode = Mode(str(anchors), anchors, pictures=anchors // PICTURE_INTERVAL_S, picture_bytes=90_000)
    async with far_away(directory) as (_, endpoint, url):
        site = Site(directory / "data", endpoint, url, callback_pace=CallbackPace())
        with counted_flushes() as flushes:
            async with site.open(upload_pace=UploadPace()) as delivery:
                await open_tasks(delivery, anchors)
                driver, before = Driver(mode), Flushes(**asdict(flushes))
                await driver.run(delivery, AUDIO_SLICE_S)
                counters, tasks = delivery.webhooks.counters, -(-anchors // ROOM_SIZE)
                # Of each task the start of its uploads is told, too.
                await eventually(lambda: counters.delivered >= driver.slices + tasks, 60)
                if delivery.losses.count:
                    raise SystemExit("the machine is too busy: slices were lost")
                taken = {name: n - getattr(before, name) for name, n in asdict(flushes).items()}
    return Durability(anchors, driver.slices, AUDIO_SLICE_S, Flushes(**taken))


def evaluate(mode: Mode, runners: Sequence[Runner], delays: list[int]) -> Result:
    """What delivery and the bare work take; delays in ms."""
    idle, bare, ours = (Counter(runner.meter.cpu_ns) for runner in runners)
    bare.subtract(idle)
    ours.subtract(idle)
    meter = runners[-1].meter
    count = runners[-1].slices or runners[-1].appends
    centiles = statistics.quantiles(delays, n=100) if len(delays) > 1 else [0] * 99
    return Result(
        mode=mode.name,
        slices=runners[-1].slices,
        appends=runners[-1].appends,
        us=round(ours.total() / count / 1000),
        bare_us=round(bare.total() / count / 1000),
        threads_us={name: round(ns / count / 1000, 1) for name, ns in ours.items() if ns > 1e6},
        wakeups_per_s={name: round(n / meter.seconds, 1) for name, n in meter.wakeups.items()},
        picture_ms=(round(centiles[49]), round(centiles[98])),
    )


async def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=MODES)
    parser.add_argument("--seconds", type=float, default=4, help="of each turn")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--flushes", nargs="*", type=int, default=[20, 500], metavar="ANCHORS")
    parser.add_argument(
        "--starts",
        nargs="*",
        type=read_amount,
        default=[LeftBehind(500, 0, 20_000), LeftBehind(500, 25, 20_000)],
        metavar="TASKS:SLICES",
        help="whole slices of each task that wait, besides one that grew",
    )
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    keep_freed_memory()
    results: list[Result] = []
    flushes: list[Durability] = []
    starts: list[Start] = []
    with contextlib.redirect_stderr(io.StringIO()):  # log lines are made, but not shown
        set_up_logging(LogSettings(format="json"))
        for name in options.modes:
            with tempfile.TemporaryDirectory() as directory:
                results.append(
                    await measure(MODES[name], options.seconds, options.turns, Path(directory))
                )
        for anchors in options.flushes:
            with tempfile.TemporaryDirectory() as directory:
                flushes.append(await count_flushes(anchors, Path(directory)))
        for amount in options.starts:
            with tempfile.TemporaryDirectory() as directory:
                starts.append(await measure_start(amount, Path(directory)))
    print_tables(results, flushes, starts)
    if options.json is not None:
        report = {
            "machine": describe_machine(),
            "results": [asdict(each) for each in results],
            "flushes": [asdict(each) for each in flushes],
            "starts": [asdict(each) for each in starts],
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def read_amount(text: str) -> LeftBehind:
    """What a start is to find; raises ValueError if the text does not say it."""
    tasks, _, slices = text.partition(":")
    return LeftBehind(int(tasks), int(slices), 20_000)


def print_tables(
    results: Sequence[Result], flushes: Sequence[Durability], starts: Sequence[Start]
) -> None:
    """Print what was measured."""
    rows = [
        [r.mode, r.slices, r.appends, r.us, r.bare_us, r.picture_ms, r.threads_us, r.wakeups_per_s]
        for r in results
    ]
    head = [
        "",
        "slices",
        "appends",
        "us",
        "bare us",
        "picture p50, p99 ms",
        "by thread",
        "wakeups/s",
    ]
    print(table(head, rows))
    head = ["anchors", "slices/s", "file fsyncs/slice", "directory fsyncs/slice", "syncfs/s",
            "transactions/slice", "transactions/s"]  # fmt: skip
    print(
        table(
            head,
            [
                [
                    each.anchors,
                    round(each.slices / each.seconds, 1),
                    round(each.flushes.files / each.slices, 2),
                    round(each.flushes.directories / each.slices, 2),
                    round(each.flushes.file_systems / each.seconds, 2),
                    round(each.flushes.transactions / each.slices, 2),
                    round(each.flushes.transactions / each.seconds, 1),
                ]
                for each in flushes
            ],
        )
    )
    head = ["tasks", "slices", "ready s", "then delivered s", "MB when ready", "MB at most"]
    print(table(head, [list(asdict(each).values()) for each in starts]))


if __name__ == "__main__":
    uvloop.run(main())
