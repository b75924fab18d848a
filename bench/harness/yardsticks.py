"""Other programs that do the same to one stream each, from plain RTP, as whole processes."""

import asyncio
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from harness.measure import AUDIO_SLICE_S, PICTURE_INTERVAL_S
from harness.process import cpu_seconds, machine_cpu_seconds, memory_mb
from harness.rtp import AUDIO_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE

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


async def run_yardsticks(
    names: list[str], media_path: Path, directory: Path, *, streams: int, window_s: float
) -> list[YardstickResult]:
    """Run all side by side, `streams` processes of each, each with a stream of its own."""
    async with AsyncExitStack() as stack:
        ports = [(_free_port(), _free_port()) for _ in range(streams * len(names))]
        processes: dict[str, list[Process]] = {name: [] for name in names}
        outputs: dict[str, list[Path]] = {name: [] for name in names}
        for index, (video, audio) in enumerate(ports):
            name = names[index % len(names)]
            output = directory / f"{name}{index}"
            output.mkdir(parents=True)
            process = await asyncio.create_subprocess_exec(*command(name, video, audio, output))
            stack.push_async_callback(_end, process)
            processes[name].append(process)
            outputs[name].append(output)
        sender = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "harness.rtp", str(media_path),
            *(f"{video}:{audio}" for video, audio in ports),
            stdin=PIPE, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        stack.push_async_callback(_end, sender)
        await asyncio.sleep(_WARM_UP_S)
        return await _observe(processes, outputs, window_s)


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


async def _observe(
    processes: dict[str, list[Process]], outputs: dict[str, list[Path]], window_s: float
) -> list[YardstickResult]:
    cpu = {name: sum(cpu_seconds(each.pid) for each in processes[name]) for name in processes}
    pictures = {name: _count(outputs[name]) for name in outputs}
    busy, total = machine_cpu_seconds()
    started = time.monotonic()
    await asyncio.sleep(window_s)
    seconds = time.monotonic() - started
    busy_now, total_now = machine_cpu_seconds()
    return [
        YardstickResult(
            name=name,
            streams=len(group),
            cpu_per_anchor=round(
                (sum(cpu_seconds(each.pid) for each in group) - cpu[name])
                / seconds / len(group) * 100, 3,
            ),
            memory_per_anchor_mb=round(fmean(memory_mb(each.pid) for each in group), 1),
            pictures_due=int(seconds / PICTURE_INTERVAL_S) * len(group),
            pictures_made=_count(outputs[name]) - pictures[name],
            machine_cpu=round(100 * (busy_now - busy) / (total_now - total), 1),
        )
        for name, group in processes.items()
    ]  # fmt: skip


def _count(directories: list[Path]) -> int:
    return sum(1 for each in directories for _ in each.glob("*.png"))


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
