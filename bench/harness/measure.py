"""One measurement: a server, its anchors, and what it took."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from harness.anchors import Anchors
from harness.buckets import Bucket, open_bucket
from harness.counts import Counts, count
from harness.process import Meter, memory_mb
from harness.slices import AUDIO_SLICE_S, PICTURE_INTERVAL_S, Arrival, Punctuality, judge
from harness.yardsticks import Yardsticks, running_yardsticks
from helpers.node import CALLBACK_KEY, Node, Sdk, create_parameters
from helpers.room_kinds import open_rooms
from helpers.webhooks import WebhookReceiver

_BENCH = Path(__file__).parents[1]
_GRACE_S = 3
"""After the window, for slices that were due at its end."""
_CREATE_INTERVAL_S = 1 / 15
"""The API takes 20 a second."""


class Mode(Enum):
    """What anchors send and tasks slice."""

    PNG = "png"
    JPG = "jpg"
    AUDIO = "audio"

    @property
    def slice_params(self) -> dict[str, int]:
        times = {
            "SliceAudio": AUDIO_SLICE_S,
            "SliceVideo": PICTURE_INTERVAL_S,
            "MaxIdleTime": 3600,  # the last room's anchors join late
        }
        if self is Mode.AUDIO:
            return times | {"SliceType": 1}
        return times | {"SliceType": 3, "SliceImageType": int(self is Mode.JPG)}


@dataclass(frozen=True, slots=True)
class Plan:
    """How measurements are made. Times in seconds.

    Attributes:
        media: the pickled `Media` that anchors send, by mode.
        loop_s: how long that is.
        bucket: one of `buckets.KINDS`.
        room_size: anchors in a room; each room has a task.
        join_s: anchors join evenly over so long.
        warm_up_s: from the last one's joining to the window that is measured.
        processes: those that send.
        beside: yardsticks that run, a process of each, in the same window: they tell what the
            machine was like meanwhile.
        profile: where py-spy puts its record of the server in the window, or None.
    """

    media: Mapping[Mode, Path]
    loop_s: float
    bucket: str
    room_size: int
    join_s: float
    warm_up_s: float
    window_s: float
    processes: int
    beside: Sequence[str]
    profile: Path | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a server with so many anchors took in a window. CPU in % of one core."""

    anchors: int
    mode: str
    window_s: float
    cpu: float
    """Of the server's process and those that make its pictures."""
    cpu_per_anchor: float
    base_mb: float
    """Memory (PSS) before the first task and anchor."""
    memory_mb: float
    memory_per_anchor_mb: float
    packets_per_s: float
    """RTP packets that the anchors sent."""
    packets_read_per_s: float
    """Datagrams that the server read."""
    us_per_packet: float
    """All of the server's CPU time, that of pictures and delivery too, by packets sent."""
    packets_dropped: int
    """By full socket buffers, whichever on the machine, as the kernel counts them together."""
    packets_nacked: int
    """That the server asked for again: it has lost them, or has taken them for lost."""
    pictures: Punctuality | None
    audio: Punctuality
    webhooks: int
    rejoined: int
    generator_cpu: float
    machine_cpu: float
    """Of everybody, in % of all cores."""
    beside: dict[str, float]
    """CPU of the yardsticks that ran in the same window."""
    rooms: str = "builtin"
    """One of `room_kinds.KINDS`."""


@dataclass(frozen=True, slots=True)
class _Window:
    """What is read off while all anchors are live."""

    seconds: float
    utc_ms: tuple[int, int]
    cpu: float
    generator_cpu: float
    machine_cpu: float
    memory_mb: float
    counts: Counts
    beside: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Run:
    """What there is to judge by when everything has ended."""

    base_mb: float
    window: _Window
    arrivals: Sequence[Arrival]
    user_ids: Sequence[str]
    webhooks: int
    rejoined: int


async def measure(anchors: int, mode: Mode, plan: Plan, directory: Path, rooms: str) -> Result:
    """Start everything, let it settle, measure for a window, end everything."""
    return _judge(await _run(anchors, mode, plan, directory, rooms), mode, rooms)


async def _run(anchors: int, mode: Mode, plan: Plan, directory: Path, rooms: str) -> _Run:
    async with (
        WebhookReceiver(CALLBACK_KEY) as receiver,
        open_bucket(plan.bucket, directory) as bucket,
        open_rooms(rooms, directory) as site,
    ):
        endpoints = f'[storage.endpoints]\ns3 = "{bucket.endpoint}"\n'
        with (
            Node(
                directory,
                receiver.url,
                app_settings=site.app_settings,
                more_settings=endpoints,
                cwd=_BENCH,
            ) as node,
        ):
            await asyncio.to_thread(node.start)
            base_mb = memory_mb(node.pid)
            places = [(f"{1 + i // plan.room_size}", f"anchor{i}") for i in range(anchors)]
            await asyncio.to_thread(_create_tasks, node, places, mode, bucket)
            async with (
                Anchors(
                    plan.media[mode],
                    [site.anchor(node, *place) for place in places],
                    join_s=plan.join_s,
                    loop_s=plan.loop_s,
                    processes=plan.processes,
                ) as load,
                running_yardsticks(
                    plan.beside, plan.media[Mode.PNG], directory / "beside", streams=1
                ) as yardsticks,
            ):
                await load.wait_live()
                await asyncio.sleep(plan.warm_up_s)
                window = await _observe(node, load, yardsticks, plan)
                await asyncio.sleep(_GRACE_S)
                events = receiver.events
                arrivals = bucket.arrivals(events)
                rejoined = (await load.count()).rejoined
                await load.stop()
            await asyncio.to_thread(node.stop)
    user_ids = [user_id for _, user_id in places]
    return _Run(base_mb, window, arrivals, user_ids, len(events), rejoined)


def _judge(run: _Run, mode: Mode, rooms: str) -> Result:
    window, user_ids, anchors = run.window, run.user_ids, len(run.user_ids)
    counts = window.counts
    cpu = window.cpu
    pictures = [each for each in run.arrivals if each.is_picture]
    sounds = [each for each in run.arrivals if not each.is_picture]
    return Result(
        anchors=anchors,
        mode=mode.value,
        window_s=round(window.seconds, 1),
        cpu=round(cpu, 2),
        cpu_per_anchor=round(cpu / anchors, 4),
        base_mb=round(run.base_mb, 1),
        memory_mb=round(window.memory_mb, 1),
        memory_per_anchor_mb=round((window.memory_mb - run.base_mb) / anchors, 3),
        packets_per_s=round(counts.sent / window.seconds),
        packets_read_per_s=round(counts.read / window.seconds),
        us_per_packet=round(cpu / 100 * window.seconds / counts.sent * 1e6, 2),
        packets_dropped=counts.overflows,
        packets_nacked=counts.nacked,
        pictures=None
        if mode is Mode.AUDIO
        else judge(pictures, user_ids, window.utc_ms, PICTURE_INTERVAL_S),
        audio=judge(sounds, user_ids, window.utc_ms, AUDIO_SLICE_S),
        webhooks=run.webhooks,
        rejoined=run.rejoined,
        generator_cpu=round(window.generator_cpu, 1),
        machine_cpu=round(window.machine_cpu, 1),
        beside=window.beside,
        rooms=rooms,
    )


def _create_tasks(
    node: Node, places: Sequence[tuple[str, str]], mode: Mode, bucket: Bucket
) -> None:
    sdk = Sdk(node)
    for room_id in dict.fromkeys(room_id for room_id, _ in places):
        parameters: dict[str, Any] = dict(bucket.parameters)
        sdk.create(create_parameters(room_id, f"robot{room_id}", parameters, **mode.slice_params))
        time.sleep(_CREATE_INTERVAL_S)


async def _observe(node: Node, load: Anchors, yardsticks: Yardsticks, plan: Plan) -> _Window:
    before = await count(node, load)
    meter = Meter(node.pid, load.pids, time.monotonic())
    start = time.monotonic()
    start_ms = round(time.time() * 1000)
    async with asyncio.TaskGroup() as group:
        if plan.profile is not None:
            group.create_task(_profile(node.pid, plan.profile, plan.window_s))
        others = await yardsticks.observe(plan.window_s)
    usage = meter.usage(time.monotonic())
    seconds = time.monotonic() - start
    counts = (await count(node, load)).since(before)
    return _Window(
        seconds=seconds,
        utc_ms=(start_ms, round(time.time() * 1000)),
        cpu=usage.process,
        generator_cpu=usage.others,
        machine_cpu=usage.machine,
        memory_mb=memory_mb(node.pid),
        counts=counts,
        beside={each.name: each.cpu_per_anchor for each in others},
    )


async def _profile(pid: int, path: Path, seconds: float) -> None:
    py_spy = await asyncio.create_subprocess_exec(
        "py-spy", "record", "--pid", str(pid), "--duration", f"{seconds:.0f}", "--nonblocking",
        "--threads", "--format", "raw", "--output", str(path),
    )  # fmt: skip
    await py_spy.wait()
