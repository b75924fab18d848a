"""Streams of a real H.264 encoder: as units, as RTP payloads, and as the pictures of a decoder."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import pairwise

import av
import numpy as np
from numpy.typing import NDArray

from cloudslice.codecs.h264 import H264
from cloudslice.media.tracks import Keyframe
from cloudslice.slicing.pictures.decoding import decode
from helpers.encoded_video import HEIGHT, WIDTH, numbered_picture

SPS, PPS, SEI, AUD = 7, 8, 6, 9
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One frame: its NAL units in the order in which they are sent."""

    number: int
    """By this its picture is found in `H264Stream.pictures`."""
    timestamp: int
    units: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class H264Stream:
    """A stream in sending order, and its pictures as a decoder of all of it shows them."""

    frames: tuple[AccessUnit, ...]
    pictures: dict[int, bytes]

    def with_units(self, change: Callable[[Sequence[bytes]], Iterable[bytes]]) -> "H264Stream":
        """The same with each frame's units changed."""
        frames = tuple(replace(each, units=tuple(change(each.units))) for each in self.frames)
        return H264Stream(frames, self.pictures)


@dataclass(frozen=True, slots=True)
class Sent:
    """An RTP packet."""

    frame: int
    """The number of its frame."""
    timestamp: int
    payload: bytes
    ends_unit: bool
    ends_frame: bool
    is_slice: bool


def unit_type(unit: bytes) -> int:
    return unit[0] & 0x1F


def is_slice(unit: bytes) -> bool:
    return unit_type(unit) in (1, 5)


@cache
def x264_stream(parameters: str, *, frames: int = 12, bitrate: int = 600_000) -> H264Stream:
    """What libx264 makes of numbered pictures, 30 a second."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.bit_rate, encoder.thread_count = Fraction(1, 30), bitrate, 1
    encoder.options = {"preset": "veryfast", "x264-params": f"scenecut=0:{parameters}"}
    packets = []
    for number in range(frames):
        picture = numbered_picture(number)
        picture.pts, picture.time_base = number, Fraction(1, 30)
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    units = [
        AccessUnit(packet.pts or 0, 3000 * (packet.pts or 0), _split(bytes(packet)))
        for packet in packets
    ]
    return H264Stream(tuple(units), _decoded(packets))


def joined(*streams: H264Stream) -> H264Stream:
    """One stream after the other, of one sender."""
    frames: list[AccessUnit] = []
    pictures: dict[int, bytes] = {}
    for index, stream in enumerate(streams):
        offset = 1000 * index
        frames += (
            AccessUnit(each.number + offset, each.timestamp + 3000 * offset, each.units)
            for each in stream.frames
        )
        pictures |= {number + offset: pixels for number, pixels in stream.pictures.items()}
    return H264Stream(tuple(frames), pictures)


def packetise(stream: H264Stream, *, size: int = 400, aggregates: bool = False) -> list[Sent]:
    """Its packets (RFC 6184): single units and FU-A; if wanted, STAP-A of what is not a slice."""
    return [sent for frame in stream.frames for sent in _packets(frame, size, aggregates)]


def decoded(data: bytes) -> bytes:
    """The picture that our decoder makes of a key frame.

    Raises:
        UndecodableKeyframeError
    """
    return _pixels(decode(Keyframe(H264.decoding, data, 0.0, 0)))


def fu_a(unit: bytes, *cuts: int) -> list[bytes]:
    """The fragments of a unit, cut at these bytes."""
    pieces = [unit[a:b] for a, b in pairwise([1, *cuts, len(unit)])]
    return [
        bytes([unit[0] & 0xE0 | 28])
        + bytes([(index == 0) << 7 | (index == len(pieces) - 1) << 6 | unit[0] & 0x1F])
        + piece
        for index, piece in enumerate(pieces)
    ]


def stap_a(*units: bytes) -> bytes:
    """An aggregate of units."""
    return b"\x78" + b"".join(len(unit).to_bytes(2) + unit for unit in units)


def _split(data: bytes) -> tuple[bytes, ...]:
    return tuple(unit for unit in re.split(rb"\0?\0\0\x01", data) if unit)


def _pixels(frame: av.VideoFrame) -> bytes:
    return frame.to_ndarray(format="yuv420p").tobytes()


def _decoded(packets: Sequence[av.Packet]) -> dict[int, bytes]:
    decoder = av.VideoCodecContext.create("h264", "r")
    decoder.thread_count = 1
    found = {}
    for packet in [*packets, None]:
        for frame in decoder.decode(packet):
            found[frame.pts or 0] = _pixels(frame)
    return found


def _packets(frame: AccessUnit, size: int, aggregates: bool) -> list[Sent]:
    payloads: list[tuple[bytes, bool, bool]] = []
    units = frame.units
    if aggregates:
        small = [unit for unit in units if not is_slice(unit)]
        units = tuple(unit for unit in units if is_slice(unit))
        payloads += [(stap_a(*small), True, False)] if small else []
    for unit in units:
        cuts = range(1 + size, len(unit), size)
        pieces = fu_a(unit, *cuts) if cuts else [unit]
        payloads += [
            (piece, index == len(pieces) - 1, is_slice(unit)) for index, piece in enumerate(pieces)
        ]
    return [
        Sent(
            frame.number, frame.timestamp, payload, ends_unit, index == len(payloads) - 1, of_slice
        )
        for index, (payload, ends_unit, of_slice) in enumerate(payloads)
    ]
