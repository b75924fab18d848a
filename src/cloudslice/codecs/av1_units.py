"""AV1's open bitstream units (AV1 bitstream specification, 5.3 to 5.9), as far as key frames need
them. What is malformed is None, or nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from cloudslice.codecs.bit_reader import BitReader, MalformedBitsError

SEQUENCE_HEADER, FRAME_HEADER, TILE_GROUP, FRAME = 1, 3, 4, 6
_TEMPORAL_DELIMITER, _TILE_LIST, _PADDING = 2, 8, 15
_LEFT_OUT = (_TEMPORAL_DELIMITER, _TILE_LIST, _PADDING)
"""What RTP leaves out, or no decoder needs."""
_HAS_EXTENSION, _HAS_SIZE = 0x04, 0x02
_DELIMITER = b"\x12\x00"
_SEQUENCE_BYTES = 512
"""More than a sequence header takes as far as its size: 32 operating points of 12 bytes."""
_LEB128_BYTES = 5
"""Of a number below 2^32, as all sizes are."""


class Unit(NamedTuple):
    """An OBU."""

    kind: int
    spatial: int
    """Its spatial layer; the lowest one is 0."""
    header: bytes
    """Its header and extension, without the flag for a size."""
    payload: bytes


@dataclass(frozen=True, slots=True)
class Sequence:
    """What a sequence header says (5.5.1)."""

    is_reduced: bool
    """Whether it is of a single picture, whose frame header says less."""
    layers: int
    """Spatial layers of the first operating point."""
    size: tuple[int, int]
    """The largest width and height in pixels."""


def read_unit(data: bytes, *, is_cut_off: bool = False) -> Unit | None:
    """The OBU that `data` is, with its size or without; or of which `data` is the beginning."""
    header_bytes = 2 if data and data[0] & _HAS_EXTENSION else 1
    if len(data) < header_bytes or data[0] & 0x80:
        return None
    payload = data[header_bytes:]
    if data[0] & _HAS_SIZE:
        found = read_leb128(payload, 0)
        if found is None or (found[0] > len(payload) - found[1] and not is_cut_off):
            return None
        payload = payload[found[1] : found[1] + found[0]]
    header = bytes([data[0] & ~_HAS_SIZE]) + data[1:header_bytes]
    spatial = data[1] >> 3 & 0x03 if header_bytes == 2 else 0
    return Unit(data[0] >> 3 & 0x0F, spatial, header, payload)


def split_units(stream: bytes) -> list[Unit] | None:
    """The OBUs of a stream in which each has its size (5.2)."""
    units, at = [], 0
    while at < len(stream):
        if not stream[at] & _HAS_SIZE:
            return None
        size_at = at + (2 if stream[at] & _HAS_EXTENSION else 1)
        found = read_leb128(stream, size_at)
        if found is None:
            return None
        end = found[1] + found[0]
        unit = read_unit(stream[at:end]) if end <= len(stream) else None
        if unit is None:
            return None
        units.append(unit)
        at = end
    return units


def temporal_unit(units: Iterable[Unit]) -> bytes:
    """The units as a decoder takes them, each with its size, behind a delimiter (7.5)."""
    parts = [_DELIMITER]
    for unit in units:
        if unit.kind not in _LEFT_OUT:
            size = write_leb128(len(unit.payload))
            parts += bytes([unit.header[0] | _HAS_SIZE]) + unit.header[1:], size, unit.payload
    return b"".join(parts)


def read_leb128(data: bytes, at: int) -> tuple[int, int] | None:
    """A number (4.10.5), and where the next byte is."""
    value = 0
    for index, byte in enumerate(data[at : at + _LEB128_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, at + index + 1
    return None


def write_leb128(value: int) -> bytes:
    """The same the other way round."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def is_key(unit: Unit) -> bool:
    """Whether a frame that begins so is a key frame that is shown (5.9.2); its end may be missing.

    The header of a sequence of one picture does not say so.
    """
    # show_existing_frame 0, frame_type KEY_FRAME, which is 0, and show_frame.
    is_frame = unit.kind in (FRAME, FRAME_HEADER) and len(unit.payload) > 0
    return is_frame and unit.payload[0] >> 4 == 1


def read_sequence(header: bytes) -> Sequence | None:
    """What a sequence header says."""
    try:
        return _read_sequence(BitReader(header[:_SEQUENCE_BYTES]))
    except MalformedBitsError:
        return None


def _read_sequence(reader: BitReader) -> Sequence:
    reader.skip(4)  # seq_profile, still_picture
    is_reduced = reader.flag()
    layers = 1
    if is_reduced:
        reader.skip(5)
    else:
        layers = _read_operating_points(reader)
    width_bits, height_bits = reader.bits(4) + 1, reader.bits(4) + 1
    size = reader.bits(width_bits) + 1, reader.bits(height_bits) + 1
    return Sequence(is_reduced, layers, size)


def _read_operating_points(reader: BitReader) -> int:
    """How many spatial layers the first one has."""
    delay_bits = 0
    if reader.flag():  # timing_info_present_flag
        reader.skip(64)
        if reader.flag():
            reader.number()
        if reader.flag():  # decoder_model_info_present_flag
            delay_bits = reader.bits(5) + 1
            reader.skip(32 + 5 + 5)
    has_display_delay = reader.flag()
    spatial_layers = []
    for _ in range(reader.bits(5) + 1):
        spatial_layers.append((reader.bits(12) >> 8).bit_length())
        if reader.bits(5) > 7:  # seq_level_idx
            reader.skip(1)
        if delay_bits and reader.flag():
            reader.skip(2 * delay_bits + 1)
        if has_display_delay and reader.flag():
            reader.skip(4)
    return max(spatial_layers[0], 1)
