"""H.264 in RTP (RFC 6184), as far as key frames need it.

1. A key frame is an access unit whose slices are all I slices, so that it needs no other picture:
   an IDR picture, or one in an open GOP or at a recovery point. FFmpeg takes the latter for a key
   frame by a recovery point SEI of 0 frames, which is put in front of it.
2. Parameter sets are kept by their ids. In front of a key frame stand those that its slices refer
   to, in the order that a decoder needs, whatever order they came in: those that came with it, else
   those that came before it.
"""

import re
from collections.abc import Sequence

from cloudslice.codecs.codec import (
    COLOR_SPACE_URI,
    ORIENTATION_URI,
    Format,
    MediaKind,
    Parameters,
    PayloadKind,
)
from cloudslice.codecs.h264_units import (
    HEADER_BYTES,
    NOTHING,
    PPS,
    SLICE,
    SPS,
    coded_size,
    keyframe_slices,
    kind_of,
    parameter_sets,
    rest_kind_of,
    sets_of,
)
from cloudslice.codecs.kept_sets import KeptSets
from cloudslice.codecs.nal_units import join_units, split_units
from cloudslice.media.tracks import Colors, Decoding

_STAP_A, _FU_A = 24, 28
_RECOVERY_POINT_SEI = b"\x06\x06\x01\xc4\x80"
"""recovery_frame_cnt 0 and exact_match_flag 1 (ITU-T H.264, D.1.8)."""

_PROFILE_LEVEL_ID = re.compile("[0-9A-Fa-f]{6}")
_ANSWERED = ("level-asymmetry-allowed", "packetization-mode", "profile-level-id")
_CONSTRAINED_BASELINE_31, _HIGH_31 = "42e01f", "64001f"


class H264Depacketizer:
    """Recognises and assembles H.264 key frames; remembers parameter sets.

    Args:
        sprop_parameter_sets: the offer's parameter of that name (RFC 6184, 8.1), for senders that
            do not repeat the sets in the stream; a malformed one is ignored.
    """

    def __init__(self, sprop_parameter_sets: str = "") -> None:
        self._sets = KeptSets(parameter_sets, sprop_parameter_sets)

    @property
    def is_ready(self) -> bool:
        """Whether parameter sets of both kinds are known, so that a bare picture can be decoded."""
        return self._sets.kinds == 2

    def take(self, payload: bytes, sequence: int) -> PayloadKind:
        """What a packet is; its parameter sets are remembered."""
        if payload[0] & 0x1F == _FU_A:
            return _fragment_kind(payload)
        units = _whole_units(payload)
        self._sets.keep(units, sequence)
        kinds = [kind_of(unit) for unit in units]
        if len(kinds) < 2:
            return kinds[0] if kinds else NOTHING
        return PayloadKind(
            kinds[0].opens, *map(any, zip(*(each[1:] for each in kinds), strict=True))
        )

    def join(self, payloads: Sequence[bytes]) -> bytes | None:
        """The Annex B access unit, of the units as they came."""
        units = _units(payloads)
        return None if units is None else join_units(units)

    def split(self, frame: bytes) -> list[bytes]:
        """The units of an Annex B access unit, which are payloads (RFC 6184, 5.6)."""
        return split_units(frame)

    def assemble(
        self, payloads: Sequence[bytes], first: int, *, is_first_known: bool
    ) -> bytes | None:
        """The Annex B access unit of a key frame's payloads.

        None if it is no key frame, a parameter set is not known, or a payload is malformed. If
        payloads may be missing in front, it must bring its parameter sets itself: what is missing
        may have brought others.
        """
        units = _units(payloads)
        if units is None:
            return None
        sets = self._sets.of_keyframe(units, first, is_first_known=is_first_known)
        slices = keyframe_slices(units)
        needed = sets_of(slices, sets)
        if not slices or needed is None:
            return None
        rest = [unit for unit in units if unit[0] & 0x1F not in (SPS, PPS)]
        if not slices[0].is_idr:
            start = next(i for i, unit in enumerate(rest) if unit[0] & 0x1F == SLICE)
            rest.insert(start, _RECOVERY_POINT_SEI)
        return join_units([*needed, *rest])


def _fragment_kind(payload: bytes) -> PayloadKind:
    """What a fragment of a NAL unit is (RFC 6184, 5.8)."""
    if len(payload) < 3:
        return NOTHING
    number = payload[1] & 0x1F
    if payload[1] & 0x80:  # the first one
        return kind_of(bytes([number]) + payload[2 : 2 + HEADER_BYTES])
    return rest_kind_of(number)


def _units(payloads: Sequence[bytes]) -> list[bytes] | None:
    """The NAL units in payloads that follow each other; None if they do not make sense."""
    units: list[bytes] = []
    fragments: list[bytes] = []
    for payload in payloads:
        if payload[0] & 0x1F != _FU_A:
            whole = _whole_units(payload)
            if fragments or not whole:
                return None
            units += whole
            continue
        is_first = payload[1:2] >= b"\x80"
        if len(payload) < 3 or is_first is bool(fragments):
            return None
        if is_first:
            fragments.append(bytes([payload[0] & 0xE0 | payload[1] & 0x1F]))
        fragments.append(payload[2:])
        if payload[1] & 0x40:
            units.append(b"".join(fragments))
            fragments = []
    return None if fragments else units


def _whole_units(payload: bytes) -> list[bytes]:
    """The NAL units of a payload that is no fragment; none if it is malformed."""
    kind = payload[0] & 0x1F if payload else 0
    if kind != _STAP_A:
        return [payload] if 0 < kind < _STAP_A else []
    units: list[bytes] = []
    position = 1
    while position < len(payload):
        length = int.from_bytes(payload[position : position + 2])
        unit = payload[position + 2 : position + 2 + length]
        if not unit or len(unit) < length:
            return []
        units.append(unit)
        position += 2 + length
    return units


class _H264:
    """See `H264`."""

    kind: MediaKind = "video"
    name = "H264"
    clock_rate = 90_000
    channels = None
    feedback = ("goog-remb", "nack", "nack pli")
    extensions = (ORIENTATION_URI, COLOR_SPACE_URI)
    variants: tuple[Parameters, ...] = tuple(
        (
            ("level-asymmetry-allowed", "1"),
            ("packetization-mode", mode),
            ("profile-level-id", profile),
        )
        for profile, mode in (
            (_CONSTRAINED_BASELINE_31, "1"),
            (_CONSTRAINED_BASELINE_31, "0"),
            (_HIGH_31, "1"),
        )
    )
    decoding = Decoding("h264", Colors(matrix=6, is_full_range=False), bitstream_tells_colors=True)
    sample = bytes.fromhex(
        "0000016742c00ada7a6a04040c80000003008000001e4789135000000168ce0fc80000016588843a2780"
    )

    def answer_parameters(self, offered: Format) -> Parameters | None:
        """Those that must be the same on both sides (RFC 6184, 8.2.2), as they were offered.

        Mode 2 interleaves; only 0, which an offer without the parameter means, and 1 are in use.
        Every profile and level is decoded, so that what the sender has is what we want.
        """
        mode, profile = map(offered.parameter, ("packetization-mode", "profile-level-id"))
        if mode not in ("", "0", "1") or (profile and not _PROFILE_LEVEL_ID.fullmatch(profile)):
            return None
        return tuple((name, value) for name in _ANSWERED if (value := offered.parameter(name)))

    def depacketizer(self, negotiated: Format) -> H264Depacketizer:
        """A new one, which knows the parameter sets that SDP brought."""
        return H264Depacketizer(negotiated.parameter("sprop-parameter-sets"))

    def coded_size(self, keyframe: bytes) -> tuple[int, int] | None:
        """See `VideoCodec`."""
        found = next((each for each in split_units(keyframe) if each[0] & 0x1F == SPS), None)
        return None if found is None else coded_size(found)


H264 = _H264()
"""H.264 in whole NAL units, aggregates and fragments, of any profile that FFmpeg decodes."""
