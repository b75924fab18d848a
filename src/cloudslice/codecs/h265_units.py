"""What H.265's NAL units say of themselves (ITU-T H.265, 7.3), as far as key frames need it.

Units are looked at as far as their first numbers. Nothing in them raises.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cloudslice.codecs.bit_reader import BitReader, MalformedBitsError
from cloudslice.codecs.codec import PayloadKind
from cloudslice.codecs.kept_sets import SetKey
from cloudslice.codecs.nal_units import unit_reader

VPS, SPS, PPS = 32, 33, 34
_FIRST_IRAP, _LAST_IRAP = 16, 21
"""Types of pictures that need no other one: BLA, IDR and CRA."""
_LAST_SLICE = 31
_OPENERS = frozenset((VPS, SPS, PPS, 35, 39, *range(41, 45), *range(48, 56)))
"""Types of units that stand in front of an access unit's slices only (7.4.2.4.4)."""
HEADER_BYTES = 2
_SLICE_BYTES = 12
"""More than the first numbers of a slice take."""
_SET_BYTES = 128
"""More than a sequence parameter set takes as far as its size."""
_MAX_IDS = {VPS: 15, SPS: 15, PPS: 63}

NOTHING = PayloadKind()
_OF_PICTURE = PayloadKind(has_picture=True)
_OPENS = PayloadKind(opens=True)
_BEGINS_PICTURE = PayloadKind(opens=True, has_picture=True)
_BEGINS_KEYFRAME = PayloadKind(opens=True, has_picture=True, begins_keyframe=True)


class ParameterSet(NamedTuple):
    """A video, sequence or picture parameter set (7.3.2.1 to 7.3.2.3)."""

    key: SetKey
    needs: SetKey | None
    """The one that it refers to."""
    unit: bytes
    sequence: int
    """The extended sequence number of the packet that it came with."""


class Slice(NamedTuple):
    """The first numbers of a slice segment header of a picture that needs no other one (7.3.6)."""

    is_first: bool
    """Whether the picture begins with it."""
    pps: int


def type_of(unit: bytes) -> int:
    """A unit's type; not empty."""
    return unit[0] >> 1 & 0x3F


def is_base_layer(unit: bytes) -> bool:
    """Whether it is of what a decoder of one layer reads."""
    return len(unit) > HEADER_BYTES and not unit[0] & 0x01 and unit[1] < 0x08


def kind_of(unit: bytes) -> PayloadKind:
    """What a unit is, of which the end may be missing."""
    number = type_of(unit)
    if not is_base_layer(unit) or number > _LAST_SLICE:
        return _OPENS if number in _OPENERS else NOTHING
    if not unit[HEADER_BYTES] & 0x80:  # first_slice_segment_in_pic_flag
        return _OF_PICTURE
    return _BEGINS_KEYFRAME if is_irap(number) else _BEGINS_PICTURE


def rest_kind_of(number: int) -> PayloadKind:
    """What is left of a unit of this type, without its beginning."""
    return _OF_PICTURE if number <= _LAST_SLICE else NOTHING


def is_irap(number: int) -> bool:
    """Whether slices of this type are of a picture that needs no other one."""
    return _FIRST_IRAP <= number <= _LAST_IRAP


def keyframe_slices(units: Iterable[bytes]) -> list[Slice]:
    """The slices of an access unit, if it is a key frame; else none."""
    slices = [each for each in units if type_of(each) <= _LAST_SLICE]
    found = [slice_ for each in slices if (slice_ := _read_slice(each)) is not None]
    is_whole = len(found) == len(slices) > 0 and found[0].is_first
    return found if is_whole and len({type_of(each) for each in slices}) == 1 else []


def parameter_sets(units: Iterable[bytes], sequence: int) -> list[ParameterSet]:
    """Those among units, but for those that make no sense."""
    found = (_read_set(unit, sequence) for unit in units if is_base_layer(unit))
    return [each for each in found if each is not None]


def sets_of(slices: Iterable[Slice], sets: Mapping[SetKey, ParameterSet]) -> list[bytes] | None:
    """The parameter sets that slices refer to, in a decoder's order; None if one is missing."""
    needed: set[SetKey] = set()
    wanted: set[SetKey] = {(PPS, each.pps) for each in slices}
    while wanted:
        needed |= wanted
        found = [sets.get(key) for key in wanted]
        if None in found:
            return None
        wanted = {each.needs for each in found if each is not None and each.needs is not None}
    return [sets[key].unit for key in sorted(needed)]


def coded_size(sps: bytes) -> tuple[int, int] | None:
    """Width and height in pixels that a sequence parameter set says, before cropping; None if it is
    malformed."""
    reader = unit_reader(sps[HEADER_BYTES:_SET_BYTES])
    try:
        _skip_to_sps_id(reader)
        reader.number()
        if reader.number() == 3:  # chroma_format_idc
            reader.skip(1)
        return reader.number(), reader.number()
    except MalformedBitsError:
        return None


def _read_slice(unit: bytes) -> Slice | None:
    """None if it is cut off, or of a picture that needs another one."""
    if not is_base_layer(unit) or not is_irap(type_of(unit)):
        return None
    reader = unit_reader(unit[HEADER_BYTES : HEADER_BYTES + _SLICE_BYTES])
    try:
        is_first = reader.flag()
        reader.skip(1)  # no_output_of_prior_pics_flag
        return Slice(is_first, reader.number())
    except MalformedBitsError:
        return None


def _read_set(unit: bytes, sequence: int) -> ParameterSet | None:
    kind = type_of(unit)
    reader = unit_reader(unit[HEADER_BYTES:_SET_BYTES])
    needs: SetKey | None = None
    try:
        if kind == VPS:
            number = reader.bits(4)
        elif kind == SPS:
            needs = VPS, _skip_to_sps_id(reader)
            number = reader.number()
        elif kind == PPS:
            number = reader.number()
            needs = SPS, reader.number()
        else:
            return None
    except MalformedBitsError:
        return None
    if number > _MAX_IDS[kind] or (needs is not None and needs[1] > _MAX_IDS[needs[0]]):
        return None
    return ParameterSet((kind, number), needs, unit, sequence)


def _skip_to_sps_id(reader: BitReader) -> int:
    """Read a sequence parameter set up to its id; the id of its video parameter set."""
    vps = reader.bits(4)
    sub_layers = reader.bits(3)
    reader.skip(1 + 96)  # sps_temporal_id_nesting_flag, general profile, tier and level (7.3.3)
    present = [(reader.flag(), reader.flag()) for _ in range(sub_layers)]
    if sub_layers:
        reader.skip(2 * (8 - sub_layers))
    for has_profile, has_level in present:
        reader.skip(88 * has_profile + 8 * has_level)
    return vps
