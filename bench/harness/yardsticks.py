"""Other programs that do the same to one stream each, from plain RTP, as whole processes."""

import asyncio
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from harness.process import cpu_seconds, machine_cpu_seconds, memory_mb
from harness.rtp import AUDIO_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE
from harness.slices import AUDIO_SLICE_S, PICTURE_INTERVAL_S

_WARM_UP_S = 8

NAMES = {
    "ffmpeg": "ffmpeg, decoding all",
    "ffmpeg-keyframes": "ffmpeg, key frames only",
    "gstreamer": "GStreamer, decoding all",
}


@dataclass(frozen=True, slots=True)
class YardstickResult:
    """What a program took for a stream; CPU in % of one core."""

    name: str
    streams: int
    cpu_per_anchor: float
    memory_per_anchor_mb: float
    pictures_due: int
    pictures_made: int
    machine_cpu: float


class Yardsticks:
    """Programs at work, side by side, each process with a stream of its own."""

    def __init__(self) -> None:
        self._processes: dict[str, list[Process]] = {}
        self._outputs: dict[str, list[Path]] = {}

    async def start(self, name: str, ports: tuple[int, int], directory: Path) -> Process:
        """Start one more process; `ports` are those of its video and audio."""
        output = directory / f"{name}{len(self._processes.get(name, []))}"
        output.mkdir(parents=True)
        process = await asyncio.create_subprocess_exec(*command(name, *ports, output))
        self._processes.setdefault(name, []).append(process)
        self._outputs.setdefault(name, []).append(output)
        return process

    async def observe(self, window_s: float) -> list[YardstickResult]:
        """What each takes from now on, for `window_s`."""
        cpu = {name: self._cpu_s(name) for name in self._processes}
        pictures = {name: self._count(name) for name in self._processes}
        busy, total = machine_cpu_seconds()
        started = time.monotonic()
        await asyncio.sleep(window_s)
        seconds = time.monotonic() - started
        busy_now, total_now = machine_cpu_seconds()
        machine_cpu = 100 * (busy_now - busy) / (total_now - total)
        return [
            YardstickResult(
                name=name,
                streams=len(group),
                cpu_per_anchor=round(
                    (self._cpu_s(name) - cpu[name]) / seconds / len(group) * 100, 3
                ),
                memory_per_anchor_mb=round(fmean(memory_mb(each.pid) for each in group), 1),
                pictures_due=int(seconds / PICTURE_INTERVAL_S) * len(group),
                pictures_made=self._count(name) - pictures[name],
                machine_cpu=round(machine_cpu, 1),
            )
            for name, group in self._processes.items()
        ]

    def _cpu_s(self, name: str) -> float:
        return sum(cpu_seconds(each.pid) for each in self._processes[name])

    def _count(self, name: str) -> int:
        return sum(1 for each in self._outputs[name] for _ in each.glob("*.png"))


@asynccontextmanager
async def running_yardsticks(
    names: Sequence[str], media_path: Path, directory: Path, *, streams: int
) -> AsyncIterator[Yardsticks]:
    """`streams` processes of each, warmed up."""
    async with AsyncExitStack() as stack:
        yardsticks = Yardsticks()
        receivers = []
        for name in [*names] * streams:
            ports = _free_port(), _free_port()
            receivers.append(f"{ports[0]}:{ports[1]}")
            process = await yardsticks.start(name, ports, directory)
            stack.push_async_callback(_end, process)
        if receivers:
            sender = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "harness.rtp", str(media_path), *receivers,
                stdin=PIPE, cwd=Path(__file__).parents[1],
            )  # fmt: skip
            stack.push_async_callback(_end, sender)
            await asyncio.sleep(_WARM_UP_S)
        yield yardsticks


def command(name: str, video_port: int, audio_port: int, output: Path) -> list[str]:
    """How a yardstick is run: a PNG every 5 s, audio copied; one thread, which costs least."""
    if name == "gstreamer":
        caps = "caps=application/x-rtp,media={},clock-rate={},encoding-name={},payload={}"
        return [
            "gst-launch-1.0", "-q",
            "udpsrc", f"port={video_port}", "buffer-size=4000000",
            caps.format("video", 90000, "H264", VIDEO_PAYLOAD_TYPE),
            "!", "rtph264depay", "!", "h264parse", "!", "avdec_h264", "max-threads=1",
            "!", "videorate", "!", f"video/x-raw,framerate=1/{PICTURE_INTERVAL_S}",
            "!", "videoconvert", "!", "pngenc",
            "!", "multifilesink", f"location={output}/%05d.png",
            "udpsrc", f"port={audio_port}",
            caps.format("audio", 48000, "OPUS", AUDIO_PAYLOAD_TYPE),
            "!", "rtpopusdepay", "!", "filesink", f"location={output}/audio.opus",
        ]  # fmt: skip
    description = output / "stream.sdp"
    description.write_text(_sdp(video_port, audio_port))
    selection = ["-skip_frame", "nokey"] if name == "ffmpeg-keyframes" else []
    return [
        "ffmpeg", "-nostdin", "-loglevel", "fatal", "-threads", "1", *selection,
        "-protocol_whitelist", "file,udp,rtp", "-i", str(description),
        "-map", "0:v", "-vf", f"fps=1/{PICTURE_INTERVAL_S}", f"{output}/%05d.png",
        "-map", "0:a", "-c:a", "copy", "-f", "segment", "-segment_time", str(AUDIO_SLICE_S),
        f"{output}/%03d.ogg",
    ]  # fmt: skip


def _sdp(video_port: int, audio_port: int) -> str:
    return f"""\
v=0
o=- 0 0 IN IP4 127.0.0.1
s=bench
c=IN IP4 127.0.0.1
t=0 0
m=video {video_port} RTP/AVP {VIDEO_PAYLOAD_TYPE}
a=rtpmap:{VIDEO_PAYLOAD_TYPE} H264/90000
a=fmtp:{VIDEO_PAYLOAD_TYPE} packetization-mode=1
m=audio {audio_port} RTP/AVP {AUDIO_PAYLOAD_TYPE}
a=rtpmap:{AUDIO_PAYLOAD_TYPE} opus/48000/2
"""


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _free_port() -> int:
    """An even port, with the odd one after it free for RTCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port % 2 == 0:
            return port
