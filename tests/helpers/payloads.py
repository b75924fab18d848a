"""Encoded frames cut into RTP payloads as browsers do it, and payloads that browsers have sent."""

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


def captured_payloads(path: Path) -> list[bytes]:
    """Those of a file in which each stands behind its length in two bytes."""
    data, payloads = path.read_bytes(), []
    while data:
        end = 2 + int.from_bytes(data[:2])
        payloads.append(data[2:end])
        data = data[end:]
    return payloads
