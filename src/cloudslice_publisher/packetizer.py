"""Encoded frames to RTP payloads: RFC 6184 for H.264, RFC 7741 for VP8; Opus needs nothing."""

import re
from collections.abc import Iterator

from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.h264 import H264

MAX_PAYLOAD = 1172
"""Bytes: 1200 less an RTP header (12) and extensions (up to 16). Browsers stop at 1200 too."""

_STAP_A = 24
_FU_A = 28
_FU_START = 0x80
_FU_END = 0x40
_START_CODE = re.compile(rb"\x00{2,}\x01")


def packetize(codec: VideoCodec, frame: bytes, max_payload: int = MAX_PAYLOAD) -> tuple[bytes, ...]:
    """The RTP payloads of one encoded frame, in order; the last one's packet has the marker bit.

    Args:
        codec: how `frame` is coded.
        frame: H.264: an access unit in Annex B; VP8: a frame.
        max_payload: in bytes.
    """
    if codec is H264:
        return tuple(_h264_payloads(split_annex_b(frame), max_payload))
    return tuple(_vp8_payloads(frame, max_payload))


def split_annex_b(access_unit: bytes) -> list[bytes]:
    """The NAL units between start codes (H.264, annex B), without trailing zero bytes."""
    # What precedes the first start code is empty.
    nals = [nal.rstrip(b"\x00") for nal in _START_CODE.split(access_unit)]
    return [nal for nal in nals if nal]


def _h264_payloads(nals: list[bytes], max_payload: int) -> Iterator[bytes]:
    waiting: list[bytes] = []  # small NAL units that may share a packet
    for nal in nals:
        if waiting and _aggregate_size([*waiting, nal]) > max_payload:
            yield _aggregate(waiting)
            waiting = []
        if len(nal) > max_payload:
            yield from _fragment_units(nal, max_payload)
        else:
            waiting.append(nal)
    if waiting:
        yield _aggregate(waiting)


def _aggregate_size(nals: list[bytes]) -> int:
    return 1 + sum(2 + len(nal) for nal in nals)


def _aggregate(nals: list[bytes]) -> bytes:
    """A single NAL unit packet (RFC 6184, 5.6) or a STAP-A (5.7.1)."""
    if len(nals) == 1:
        return nals[0]
    importance = max(nal[0] & 0x60 for nal in nals)
    return bytes([importance | _STAP_A]) + b"".join(len(nal).to_bytes(2) + nal for nal in nals)


def _fragment_units(nal: bytes, max_payload: int) -> Iterator[bytes]:
    """FU-A packets (RFC 6184, 5.8)."""
    indicator = nal[0] & 0xE0 | _FU_A
    pieces = _split_evenly(nal[1:], max_payload - 2)
    for index, piece in enumerate(pieces):
        flags = _FU_START if index == 0 else _FU_END if index == len(pieces) - 1 else 0
        yield bytes([indicator, flags | nal[0] & 0x1F]) + piece


def _vp8_payloads(frame: bytes, max_payload: int) -> Iterator[bytes]:
    """RFC 7741, 4.2: the one-byte descriptor; S marks the start of the first partition."""
    for index, piece in enumerate(_split_evenly(frame, max_payload - 1)):
        yield (b"\x10" if index == 0 else b"\x00") + piece


def _split_evenly(data: bytes, limit: int) -> list[bytes]:
    count = -(-len(data) // limit)
    size = -(-len(data) // count)
    return [data[start : start + size] for start in range(0, len(data), size)]
