"""What a picture costs, from the key frame to the file: the image path alone.

First in this process, on one thread. Then through the pool, as the server makes it, in turns with
that: all CPU time, of both processes, and the picture process's memory.

The key frames are those of camera-like H.264 at 1.5 Mbit/s. The yardstick, in turns with it, is
FFmpeg's own way: its decoder, its conversion, and its PNG or MJPEG encoder as they are by default.
Decoding and the conversion of colours, which ours begins with, are measured in turns with it too.

    python bench/images.py [--pictures 60] [--size 1280x720] [--json FILE] [--profile]
"""

import argparse
import cProfile
import json
import pstats
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import av
import uvloop

from cloudslice.codecs.h264 import H264, H264Depacketizer
from cloudslice.media.tracks import Keyframe
from cloudslice.process import keep_freed_memory
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.colors import ColorConverter
from cloudslice.slicing.pictures.picture import Picture, PictureError
from cloudslice.slicing.pictures.picture_files import encode_picture
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice_publisher.encode import VideoSpec
from harness.process import memory_mb
from harness.report import describe_machine, table
from harness.scene import camera_media


@dataclass(frozen=True, slots=True)
class Result:
    """CPU time of a picture, in milliseconds."""

    name: str
    format: str
    median_ms: float
    least_ms: float
    kbytes: float
    page_faults: float


@dataclass(frozen=True, slots=True)
class PoolResult:
    """CPU time of a picture that a process makes, in milliseconds (medians of some rounds)."""

    format: str
    here_ms: float
    """In the process that measures, without a pool."""
    process_ms: float
    """Of the picture process..."""
    server_ms: float
    """...and of the one that gives it its work."""
    ratio: float
    """Through the pool, to here."""
    pss_mb: float
    """Of the picture process."""


def make_keyframes(size: str) -> list[Keyframe]:
    """Some seconds of a scene, as the packet path hands its key frames over."""
    width, height = map(int, size.split("x"))
    spec = VideoSpec(width=width, height=height, keyframe_interval_s=1)
    video = camera_media(spec, seconds=4).video
    assert video is not None
    depacketizer = H264Depacketizer("")
    frames = []
    first = 0
    for each in video.frames:
        for sequence, payload in enumerate(each.payloads, first):
            depacketizer.take(payload, sequence)
        if each.is_keyframe:
            frames.append(depacketizer.assemble(each.payloads, first, is_first_known=True))
        first += len(each.payloads)
    return [Keyframe(H264.decoding, data, 0, 0) for data in frames if data is not None]


def decode(keyframe: Keyframe) -> av.VideoFrame:
    """The key frame, by FFmpeg as it is by default, but in this thread."""
    decoder = av.VideoCodecContext.create("h264", "r")
    decoder.thread_count = 1
    [frame] = [*decoder.decode(av.Packet(keyframe.data)), *decoder.decode(None)]
    return frame


def by_ffmpeg(keyframe: Keyframe, image_format: ImageFormat) -> bytes:
    """The picture as ffmpeg would make it by default."""
    frame = decode(keyframe)
    is_png = image_format is ImageFormat.PNG
    encoder = av.VideoCodecContext.create("png" if is_png else "mjpeg", "w")
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt = "rgb24" if is_png else "yuvj420p"
    encoder.time_base = frame.time_base = Fraction(1)
    return b"".join(map(bytes, encoder.encode(frame.reformat(format=encoder.pix_fmt))))


def measure(keyframes: Sequence[Keyframe], pictures: int) -> list[Result]:
    """All ways to both formats, in turns."""
    frames = {keyframe: decode(keyframe) for keyframe in keyframes}
    converter = ColorConverter()

    def ours(keyframe: Keyframe, image_format: ImageFormat) -> bytes:
        return encode_picture(keyframe, image_format, converter).data

    def convert(keyframe: Keyframe, image_format: ImageFormat) -> None:
        is_png = image_format is ImageFormat.PNG
        (converter.to_rgb if is_png else converter.to_jfif)(frames[keyframe], keyframe.decoding)

    ways: list[tuple[str, Callable[[Keyframe, ImageFormat], bytes | None], ImageFormat]] = [
        (name, way, image_format)
        for image_format in ImageFormat
        for name, way in (
            ("cloudslice", ours),
            ("of it decoding", lambda keyframe, _: decode(keyframe) and None),
            ("of it colours", convert),
            ("FFmpeg's decoder and encoder", by_ffmpeg),
        )
    ]
    times: list[list[float]] = [[] for _ in ways]
    faults = [0] * len(ways)
    sizes = [0] * len(ways)
    for turn in range(-len(keyframes), pictures):  # the first ones warm up
        for index, (_, way, image_format) in enumerate(ways):
            before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
            started = time.thread_time()
            picture = way(keyframes[turn % len(keyframes)], image_format)
            spent = time.thread_time() - started
            if turn >= 0:
                times[index].append(spent * 1000)
                faults[index] += resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
                sizes[index] += len(picture or b"")
    return [
        Result(
            name,
            image_format.value,
            round(statistics.median(times[index]), 2),
            round(min(times[index]), 2),
            round(sizes[index] / pictures / 1000, 1),
            round(faults[index] / pictures, 1),
        )
        for index, (name, _, image_format) in enumerate(ways)
    ]


async def measure_pool(keyframes: Sequence[Keyframe], pictures: int) -> list[PoolResult]:
    """Both formats through one picture process, in rounds, in turns with making them here."""
    converter = ColorConverter()
    results = []
    with PicturePool(1) as pool:
        for image_format in ImageFormat:
            await make_all(pool, keyframes, image_format)
            [process] = pool.process_ids
            rounds = []
            for _ in range(max(1, pictures // len(keyframes))):
                started = time.thread_time()
                for each in keyframes:
                    encode_picture(each, image_format, converter)
                here = time.thread_time() - started
                started, process_started = time.process_time(), cpu_ns(process)
                await make_all(pool, keyframes, image_format)
                rounds.append(
                    (here, (cpu_ns(process) - process_started) / 1e9, time.process_time() - started)
                )
            here_ms, process_ms, server_ms = (
                statistics.median(each) / len(keyframes) * 1000
                for each in zip(*rounds, strict=True)
            )
            results.append(
                PoolResult(
                    image_format.value,
                    round(here_ms, 2),
                    round(process_ms, 2),
                    round(server_ms, 2),
                    round((process_ms + server_ms) / here_ms, 2),
                    round(memory_mb(process), 1),
                )
            )
    return results


async def make_all(
    pool: PicturePool, keyframes: Sequence[Keyframe], image_format: ImageFormat
) -> None:
    """All of them through the pool."""
    for each in keyframes:
        assert pool.encode(each, image_format, check)
    await pool.settle()


def check(result: Picture | PictureError) -> None:
    """Nobody wants the picture, but it must be one."""
    assert isinstance(result, Picture), result


def cpu_ns(process: int) -> int:
    """CPU time of a process of one thread so far (proc(5))."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0])


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    keep_freed_memory()  # as picture processes do
    keyframes = make_keyframes(options.size)
    results = measure(keyframes, options.pictures)
    rows = [
        [each.format, each.name, each.median_ms, each.least_ms, each.kbytes, each.page_faults]
        for each in results
    ]
    print(table(["", "", "ms (median)", "ms (least)", "kB", "page faults"], rows))
    through_pool = uvloop.run(measure_pool(keyframes, options.pictures))
    rows = [[*asdict(each).values()] for each in through_pool]
    print("Through the pool, CPU in ms:")
    print(table(["", "here", "process", "server", "ratio", "process, MB"], rows))
    if options.json is not None:
        report = {
            "machine": describe_machine(),
            "results": [asdict(each) for each in results],
            "pool": [asdict(each) for each in through_pool],
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.profile:
        converter = ColorConverter()
        with cProfile.Profile() as profile:
            for image_format in ImageFormat:
                for each in keyframes * 5:
                    encode_picture(each, image_format, converter)
        pstats.Stats(profile).sort_stats("tottime").print_stats(12)


if __name__ == "__main__":
    main()
