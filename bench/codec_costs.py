"""What a picture costs by the codec that it was sent in: key frames of the same pictures.

The pictures are a camera-like scene, encoded by FFmpeg's encoders at the same bitrate, as a
real-time sender sets them up. CPU time on one thread, in turns.

    python bench/codec_costs.py [--rounds 10] [--size 1280x720] [--kbps 1500]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import av
from av.video.frame import PictureType

from cloudslice.codecs.av1 import AV1
from cloudslice.codecs.catalog import CATALOG
from cloudslice.codecs.codec import VideoCodec
from cloudslice.media.tracks import Keyframe
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.colors import ColorConverter
from cloudslice.slicing.pictures.decoding import decode
from cloudslice.slicing.pictures.picture_files import encode_picture
from cloudslice_publisher.encode import VideoSpec
from harness.report import describe_machine, table
from harness.scene import camera_pictures
from helpers.encoders import begin, open_encoder

_SECONDS = 2
_FPS = 30
_AV1_CBR = {"svtav1-params": "pred-struct=1:lookahead=0:lp=1:rc=2"}


def make_keyframes(codec: VideoCodec, size: str, kbps: int) -> list[Keyframe]:
    """One for each second."""
    width, height = map(int, size.split("x"))
    spec = VideoSpec(width=width, height=height, fps=_FPS)
    encoder = open_encoder(codec, width, height, _rate_control(codec, kbps))
    encoder.bit_rate = kbps * 1000
    begin(encoder)
    keyframes: list[Keyframe] = []
    for number, picture in enumerate(camera_pictures(spec, _SECONDS)):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, encoder.time_base
        frame.pict_type = PictureType.NONE if number % _FPS else PictureType.I
        keyframes += [
            Keyframe(codec.decoding, bytes(packet), 0, 0)
            for packet in encoder.encode(frame)
            if packet.is_keyframe
        ]
    return keyframes


def _rate_control(codec: VideoCodec, kbps: int) -> dict[str, str]:
    """A constant bitrate, with half a second of buffer: a key frame must not be a burst."""
    if codec is AV1:
        return _AV1_CBR
    return {"minrate": f"{kbps}k", "maxrate": f"{kbps}k", "bufsize": f"{kbps // 2}k"}


def cpu_ms(work: Callable[[], object]) -> float:
    """What it takes of this process."""
    before = time.process_time()
    work()
    return (time.process_time() - before) * 1000


def measure(codecs: dict[VideoCodec, list[Keyframe]], rounds: int) -> list[tuple[object, ...]]:
    """A row for each codec, the cheapest first: name, kB of a key frame, ms to decode it, ms of a
    JPEG."""
    converter = ColorConverter()
    decoding: dict[VideoCodec, list[float]] = {each: [] for each in codecs}
    jpeg: dict[VideoCodec, list[float]] = {each: [] for each in codecs}
    for _ in range(rounds):
        for codec, keyframes in codecs.items():
            for each in keyframes:
                decoding[codec].append(cpu_ms(lambda: decode(each)))  # noqa: B023 - called at once
                jpeg[codec].append(
                    cpu_ms(lambda: encode_picture(each, ImageFormat.JPG, converter))  # noqa: B023
                )
    rows = [
        (
            codec.name,
            f"{statistics.mean(len(each.data) for each in keyframes) / 1000:.0f}",
            f"{statistics.median(decoding[codec]):.1f}",
            f"{statistics.median(jpeg[codec]):.1f}",
        )
        for codec, keyframes in codecs.items()
    ]
    return sorted(rows, key=lambda row: float(row[-1]))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--kbps", type=int, default=1500)
    options = parser.parse_args()
    codecs = {codec: make_keyframes(codec, options.size, options.kbps) for codec in CATALOG.video}
    print(describe_machine())
    head = ("codec", "kB of a key frame", "ms to decode", "ms of a JPEG")
    print(table(head, measure(codecs, options.rounds)))


if __name__ == "__main__":
    main()
