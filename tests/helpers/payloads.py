"""Encoded frames cut into RTP payloads as browsers do it, and payloads that browsers have sent."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

_VP9_PICTURE_ID, _VP9_PREDICTED, _VP9_LAYERS, _VP9_BEGINS, _VP9_ENDS = 0x80, 0x40, 0x20, 0x08, 0x04
_VP9_STRUCTURE = 0x02


def vp9_payloads(
    layers: Sequence[bytes],
    *,
    is_key: bool,
    picture_id: int = 0,
    sizes: Sequence[tuple[int, int]] = (),
    limit: int = 1100,
) -> list[bytes]:
    """The payloads of one picture (RFC 9628, 4.2), in non-flexible mode.

    Args:
        layers: the picture's frame of each spatial layer.
        is_key: whether it is a key picture, of which the first packet brings the scalability
            structure if there are `sizes`.
        picture_id: at most 15 bits.
        sizes: width and height of each layer; none: descriptors do not speak of layers.
        limit: bytes of a frame in a payload.
    """
    payloads = []
    for spatial, frame in enumerate(layers):
        pieces = list(_pieces(frame, limit))
        for index, piece in enumerate(pieces):
            flags = _VP9_PICTURE_ID
            flags |= 0 if is_key else _VP9_PREDICTED
            flags |= _VP9_BEGINS if index == 0 else 0
            flags |= _VP9_ENDS if index == len(pieces) - 1 else 0
            descriptor = (0x8000 | picture_id).to_bytes(2)
            if sizes:
                flags |= _VP9_LAYERS
                descriptor += bytes([spatial << 1 | (spatial > 0), picture_id & 0xFF])
            if sizes and is_key and spatial == index == 0:
                flags |= _VP9_STRUCTURE
                descriptor += _vp9_structure(sizes)
            payloads.append(bytes([flags]) + descriptor + piece)
    return payloads


def _vp9_structure(sizes: Sequence[tuple[int, int]]) -> bytes:
    """With a picture group of one picture that refers to the one before it."""
    widths = b"".join(width.to_bytes(2) + height.to_bytes(2) for width, height in sizes)
    return bytes([(len(sizes) - 1) << 5 | 0x18]) + widths + b"\x01\x04\x01"


def _pieces(data: bytes, limit: int) -> Iterator[bytes]:
    return (data[start : start + limit] for start in range(0, len(data), limit))


def av1_payloads(temporal_unit: bytes, *, is_key: bool, limit: int = 1100) -> list[bytes]:
    """The payloads of one temporal unit of OBUs with sizes (AV1 RTP payload format, 4), two
    elements in a packet at most, without sizes of their own and without delimiters.

    Args:
        temporal_unit: as an encoder gives it.
        is_key: whether a coded video sequence begins with it.
        limit: bytes of elements in a payload.
    """
    elements, at = [], 0
    while at < len(temporal_unit):
        header_end = at + (2 if temporal_unit[at] & 4 else 1)
        size = shift = 0
        start = header_end
        while True:
            byte = temporal_unit[start]
            size |= (byte & 0x7F) << shift
            start, shift = start + 1, shift + 7
            if byte < 0x80:
                break
        header = bytes([temporal_unit[at] & ~2]) + temporal_unit[at + 1 : header_end]
        if temporal_unit[at] >> 3 != 2:
            elements.append(header + temporal_unit[start : start + size])
        at = start + size
    packets: list[list[tuple[bytes, bool, bool]]] = [[]]
    for element in elements:
        pieces = list(_pieces(element, limit))
        for index, piece in enumerate(pieces):
            used = sum(len(each) for each, _, _ in packets[-1])
            if len(packets[-1]) == 2 or used + len(piece) > limit:
                packets.append([])
            packets[-1].append((piece, index > 0, index < len(pieces) - 1))
    payloads = []
    for index, packet in enumerate(packets):
        flags = packet[0][1] << 7 | packet[-1][2] << 6 | len(packet) << 4
        flags |= (is_key and index == 0) << 3
        *others, last = [piece for piece, _, _ in packet]
        sized = b"".join(_leb128(len(each)) + each for each in others)
        payloads.append(bytes([flags]) + sized + last)
    return payloads


def _leb128(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + _leb128(value >> 7)


def h265_payloads(access_unit: bytes, *, limit: int = 1100) -> list[bytes]:
    """The payloads of one Annex B access unit (RFC 7798, 4.4): small units together, large ones in
    fragments."""
    units = [each for each in re.split(rb"\0{2,}\x01", access_unit) if each]
    payloads: list[bytes] = []
    small: list[bytes] = []
    for unit in units:
        if len(unit) <= limit // 4:
            small.append(unit)
            continue
        if small:
            payloads.append(_h265_aggregate(small))
            small = []
        pieces = list(_pieces(unit[2:], limit))
        for index, piece in enumerate(pieces):
            flags = (index == 0) << 7 | (index == len(pieces) - 1) << 6 | unit[0] >> 1
            payloads.append(bytes([unit[0] & 0x81 | 49 << 1, unit[1], flags]) + piece)
        if len(pieces) == 1:
            payloads[-1] = unit
    return payloads + ([_h265_aggregate(small)] if small else [])


def _h265_aggregate(units: Sequence[bytes]) -> bytes:
    if len(units) == 1:
        return units[0]
    return b"\x60\x01" + b"".join(len(each).to_bytes(2) + each for each in units)


def captured_payloads(path: Path) -> list[bytes]:
    """Those of a file in which each stands behind its length in two bytes."""
    data, payloads = path.read_bytes(), []
    while data:
        end = 2 + int.from_bytes(data[:2])
        payloads.append(data[2:end])
        data = data[end:]
    return payloads
