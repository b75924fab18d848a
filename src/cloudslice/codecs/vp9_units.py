"""What VP9's packets and frames say of themselves (RFC 9628; VP9 bitstream specification 0.7).

Nothing in them raises: what is malformed is None.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cloudslice.codecs.bit_reader import BitReader, MalformedBitsError

# Flags of a payload descriptor's first byte (RFC 9628, 4.2).
PICTURE_ID, PREDICTED, LAYERS, FLEXIBLE, BEGINS, ENDS, STRUCTURE = (0x80 >> n for n in range(7))

_SYNC_CODE = 0x498342
_RGB = 7
_HEADER_BYTES = 32
"""More than an uncompressed header takes as far as its size."""
_MAX_FRAMES = 8
"""In a superframe."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A payload descriptor (RFC 9628, 4.2)."""

    length: int
    begins: bool
    """A frame, which is one spatial layer of a picture."""
    ends: bool
    is_predicted: bool
    """From an earlier picture."""
    spatial: int
    """Of the lowest layer it is 0."""


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The beginning of an uncompressed header (VP9, 6.2)."""

    is_key: bool
    size: tuple[int, int] | None
    """Width and height in pixels; None: that of a frame before."""


def read_descriptor(payload: bytes) -> Descriptor | None:
    """None if it is cut off, or nothing follows it."""
    flags = payload[0] if payload else 0
    spatial, at = 0, 1
    try:
        if flags & PICTURE_ID:
            at += 2 if payload[at] & 0x80 else 1
        if flags & LAYERS:
            spatial = payload[at] >> 1 & 0x07
            at += 1 if flags & FLEXIBLE else 2
        if flags & FLEXIBLE and flags & PREDICTED:
            at = _behind_references(payload, at)
        if flags & STRUCTURE:
            at = _behind_structure(payload, at)
    except IndexError:
        return None
    if at >= len(payload):
        return None
    is_predicted = bool(flags & PREDICTED)
    return Descriptor(at, bool(flags & BEGINS), bool(flags & ENDS), is_predicted, spatial)


def superframe(frames: Sequence[bytes]) -> bytes:
    """Frames of one picture as a decoder takes them together (VP9, annex B)."""
    if len(frames) == 1:
        return frames[0]
    size_bytes = (max(map(len, frames)).bit_length() + 7) // 8
    marker = bytes([0xC0 | (size_bytes - 1) << 3 | len(frames) - 1])
    sizes = b"".join(len(each).to_bytes(size_bytes, "little") for each in frames)
    return b"".join((*frames, marker, sizes, marker))


def split_superframe(data: bytes) -> list[bytes]:
    """The frames in it; itself, if it is one frame."""
    marker = data[-1] if data else 0
    if marker & 0xE0 != 0xC0:
        return [data]
    size_bytes, count = (marker >> 3 & 3) + 1, (marker & 7) + 1
    index = data[-2 - size_bytes * count :]
    if len(index) != 2 + size_bytes * count or index[0] != marker:
        return [data]
    frames, start = [], 0
    for number in range(count):
        at = 1 + number * size_bytes
        end = start + int.from_bytes(index[at : at + size_bytes], "little")
        frames.append(data[start:end])
        start = end
    return frames if start <= len(data) - len(index) else [data]


def read_frame_header(frame: bytes) -> FrameHeader | None:
    """None if it is no VP9, or shows a frame that was decoded before."""
    reader = BitReader(frame[:_HEADER_BYTES])
    try:
        return _read_header(reader)
    except MalformedBitsError:
        return None


def coded_size(data: bytes) -> tuple[int, int] | None:
    """That of the last frame in a superframe that begins with a key frame."""
    size: tuple[int, int] | None = None
    for frame in split_superframe(data)[:_MAX_FRAMES]:
        header = read_frame_header(frame)
        if header is None:
            return None
        size = header.size or size
    return size


def _behind_references(payload: bytes, at: int) -> int:
    """Where P_DIFFs end, of which there are three at most."""
    for _ in range(3):
        at += 1
        if not payload[at - 1] & 0x01:
            break
    return at


def _behind_structure(payload: bytes, at: int) -> int:
    """Where the scalability structure ends."""
    flags = payload[at]
    at += 1
    if flags & 0x10:  # Y: widths and heights of N_S + 1 layers
        at += 4 * ((flags >> 5) + 1)
    if flags & 0x08:  # G: a picture group
        pictures = payload[at]
        at += 1
        for _ in range(pictures):
            at += 1 + (payload[at] >> 2 & 0x03)
    return at


def _read_header(reader: BitReader) -> FrameHeader | None:
    marker, low, high = reader.bits(2), reader.bits(1), reader.bits(1)
    profile = 2 * high + low
    if profile == 3:
        reader.skip(1)
    if marker != 2 or reader.flag():  # show_existing_frame
        return None
    is_key = not reader.flag()
    is_shown, is_resilient = reader.flag(), reader.flag()
    if is_key:
        return _read_intra_size(reader, profile, is_key=True)
    is_intra = not is_shown and reader.flag()
    if not is_resilient:
        reader.skip(2)
    if is_intra:
        return _read_intra_size(reader, profile, is_key=False)
    reader.skip(8 + 3 * 4)
    if any(reader.flag() for _ in range(3)):  # the size of a reference
        return FrameHeader(False, None)
    return FrameHeader(False, _read_size(reader))


def _read_intra_size(reader: BitReader, profile: int, *, is_key: bool) -> FrameHeader | None:
    if reader.bits(24) != _SYNC_CODE:
        return None
    if is_key or profile > 0:
        _skip_colors(reader, profile)
    if not is_key:
        reader.skip(8)
    return FrameHeader(is_key, _read_size(reader))


def _skip_colors(reader: BitReader, profile: int) -> None:
    if profile >= 2:
        reader.skip(1)
    if reader.bits(3) != _RGB:
        reader.skip(1)
        if profile in (1, 3):
            reader.skip(3)
    elif profile in (1, 3):
        reader.skip(1)


def _read_size(reader: BitReader) -> tuple[int, int]:
    return reader.bits(16) + 1, reader.bits(16) + 1
