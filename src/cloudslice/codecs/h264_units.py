"""What H.264's NAL units say of themselves (ITU-T H.264, 7.3), as far as key frames need it.

Units are looked at as far as their first numbers. Nothing in them raises.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cloudslice.codecs.bit_reader import BitReader, MalformedBitsError
from cloudslice.codecs.codec import PayloadKind
from cloudslice.codecs.kept_sets import SetKey
from cloudslice.codecs.nal_units import unit_reader, without_escapes

SLICE, IDR, SEI, SPS, PPS = 1, 5, 6, 7, 8
HEADER_BYTES = 24
"""More than the first three numbers of a unit take."""

_PARTITIONS = (2, 3, 4)
_PICTURE = (SLICE, *_PARTITIONS, IDR)
_OPENERS = frozenset((SEI, SPS, PPS, 9, 14, 15, 16, 17, 18))
"""Types of units that stand in front of an access unit's slices only (7.4.1.2.3)."""
_RECOVERY_POINT = 6

NOTHING = PayloadKind()
_OF_PICTURE = PayloadKind(has_picture=True)
_OPENS = PayloadKind(opens=True)
_BEGINS_PICTURE = PayloadKind(opens=True, has_picture=True)
_BEGINS_KEYFRAME = PayloadKind(opens=True, has_picture=True, begins_keyframe=True)
_REFRESHES = PayloadKind(opens=True, refreshes=True)

_MAX_SPS_ID, _MAX_PPS_ID = 31, 255
_SIZE_BYTES = 64
"""More than all comes in that stands before the size."""
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
"""Their parameter sets say more (7.3.2.1.1)."""


class ParameterSet(NamedTuple):
    """A sequence or a picture parameter set (7.3.2.1 and 7.3.2.2)."""

    key: SetKey
    sps: int
    """The id of the sequence parameter set that it refers to; of one, its own."""
    unit: bytes
    sequence: int
    """The extended sequence number of the packet that it came with."""


ParameterSets = Mapping[SetKey, ParameterSet]
"""By their keys."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The first numbers of a slice header (7.3.3)."""

    is_idr: bool
    is_first: bool
    """Whether the picture begins with it."""
    is_intra: bool
    """Whether it needs no other picture."""
    pps: int
    """The id of its picture parameter set."""


def kind_of(unit: bytes) -> PayloadKind:
    """What a unit is, of which the end may be missing; not empty."""
    number = unit[0] & 0x1F
    if number in (SLICE, IDR):
        # first_mb_in_slice, an Exp-Golomb number, is 0 if its first bit is set.
        if len(unit) < 2 or unit[1] < 0x80:
            return _OF_PICTURE
        slice_ = read_slice(unit)
        is_keyframe = number == IDR or slice_ is None or slice_.is_intra
        return _BEGINS_KEYFRAME if is_keyframe else _BEGINS_PICTURE
    if number in _OPENERS:
        return _REFRESHES if number == SEI and _is_gradual_refresh(unit) else _OPENS
    return rest_kind_of(number)


def rest_kind_of(number: int) -> PayloadKind:
    """What is left of a unit of this type, without its beginning."""
    return _OF_PICTURE if number in _PICTURE else NOTHING


def read_slice(unit: bytes) -> Slice | None:
    """None if it is cut off."""
    reader = unit_reader(unit[1 : 1 + HEADER_BYTES])
    try:
        first_mb, slice_type, pps = reader.number(), reader.number(), reader.number()
    except MalformedBitsError:
        return None
    return Slice(unit[0] & 0x1F == IDR, first_mb == 0, slice_type in (2, 7), pps)


def keyframe_slices(units: Iterable[bytes]) -> list[Slice]:
    """The slices of an access unit, if it is a key frame; else none."""
    slices = [
        read_slice(unit) if unit[0] & 0x1F in (SLICE, IDR) else None
        for unit in units
        if unit[0] & 0x1F in _PICTURE
    ]
    found = [each for each in slices if each is not None and each.is_intra]
    is_whole = len(found) == len(slices) > 0 and found[0].is_first
    return found if is_whole and len({each.is_idr for each in found}) == 1 else []


def parameter_sets(units: Iterable[bytes], sequence: int) -> list[ParameterSet]:
    """Those among units, but for those that make no sense."""
    found = (_read_set(unit, sequence) for unit in units if unit and unit[0] & 0x1F in (SPS, PPS))
    return [each for each in found if each is not None]


def sets_of(slices: Iterable[Slice], sets: ParameterSets) -> list[bytes] | None:
    """The parameter sets that slices refer to, in a decoder's order; None if one is missing."""
    picture_sets = [sets.get((PPS, number)) for number in sorted({each.pps for each in slices})]
    numbers = sorted({each.sps for each in picture_sets if each is not None})
    found = [*(sets.get((SPS, number)) for number in numbers), *picture_sets]
    units = [each.unit for each in found if each is not None]
    return units if len(units) == len(found) else None


def coded_size(sps: bytes) -> tuple[int, int] | None:
    """Width and height in pixels that a sequence parameter set says (7.3.2.1.1), before cropping;
    None if it is malformed, or has what no real-time encoder uses."""
    reader = unit_reader(sps[1:_SIZE_BYTES])
    try:
        reader.skip(24)
        reader.number()
        if sps[1] in _HIGH_PROFILES:
            if reader.number() == 3:  # chroma_format_idc
                reader.skip(1)
            reader.number()
            reader.number()
            reader.skip(1)
            if reader.flag():  # scaling matrices
                return None
        reader.number()
        order = reader.number()  # pic_order_cnt_type
        if order == 0:
            reader.number()
        elif order == 1:
            return None
        reader.number()
        reader.skip(1)
        width, height = 16 * (reader.number() + 1), 16 * (reader.number() + 1)
        return width, height if reader.flag() else 2 * height
    except (MalformedBitsError, IndexError):
        return None


def _read_set(unit: bytes, sequence: int) -> ParameterSet | None:
    kind = unit[0] & 0x1F
    reader = unit_reader(unit[1 : 1 + HEADER_BYTES])
    try:
        if kind == SPS:
            reader.skip(24)  # profile_idc, constraints, level_idc
        number = reader.number()
        sps = reader.number() if kind == PPS else number
    except MalformedBitsError:
        return None
    if number > _MAX_PPS_ID or sps > _MAX_SPS_ID:
        return None
    return ParameterSet((kind, number), sps, unit, sequence)


def _is_gradual_refresh(unit: bytes) -> bool:
    """Whether an SEI unit says that some frames must pass until pictures are right (D.1.8)."""
    data = without_escapes(unit[1:])
    position = 0
    while position + 2 < len(data):
        kind, position = _sei_number(data, position)
        size, position = _sei_number(data, position)
        if kind == _RECOVERY_POINT:
            try:
                return BitReader(data[position : position + size]).number() > 0
            except MalformedBitsError:
                return False
        position += size
    return False


def _sei_number(data: bytes, position: int) -> tuple[int, int]:
    """A payload's type or size (7.3.2.3.1), and where the next byte is."""
    value = 0
    while data[position : position + 1] == b"\xff":
        value += 0xFF
        position += 1
    return value + int.from_bytes(data[position : position + 1]), position + 1
