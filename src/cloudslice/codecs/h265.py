"""H.265 in RTP (RFC 7798), as far as key frames need it.

1. A key frame is an access unit of an IDR, CRA or BLA picture.
2. Parameter sets are kept by their ids. In front of a key frame stand those that its slices refer
   to, in the order that a decoder needs, whatever order they came in: those that came with it, else
   those that came before it.
3. Units come in decoding order: senders that interleave are not taken (sprop-max-don-diff).
"""

from collections.abc import Iterable, Sequence

from cloudslice.codecs.codec import (
    COLOR_SPACE_URI,
    ORIENTATION_URI,
    Format,
    MediaKind,
    Parameters,
    PayloadKind,
)
from cloudslice.codecs.h265_units import (
    HEADER_BYTES,
    NOTHING,
    PPS,
    SPS,
    VPS,
    coded_size,
    is_base_layer,
    keyframe_slices,
    kind_of,
    parameter_sets,
    rest_kind_of,
    sets_of,
    type_of,
)
from cloudslice.codecs.kept_sets import KeptSets
from cloudslice.codecs.nal_units import join_units, split_units
from cloudslice.media.tracks import Colors, Decoding

_AGGREGATE, _FRAGMENT = 48, 49
_FU_HEADER_BYTES = 3

_SPROPS = ("sprop-vps", "sprop-sps", "sprop-pps")
_NUMBERED = ("level-id", "profile-id", "tier-flag")
_ONE_STREAM = "SRST"
_INTERLEAVING = ("sprop-max-don-diff", "sprop-depack-buf-nalus")


class H265Depacketizer:
    """Recognises and assembles H.265 key frames; remembers parameter sets.

    Args:
        sprops: the offer's sprop-vps, sprop-sps and sprop-pps (RFC 7798, 7.1), for senders that do
            not repeat the sets in the stream; a malformed one is ignored.
    """

    def __init__(self, sprops: Iterable[str] = ()) -> None:
        self._sets = KeptSets(parameter_sets, ",".join(sprops))

    @property
    def is_ready(self) -> bool:
        """Whether parameter sets of all kinds are known, so that a bare picture can be decoded."""
        return self._sets.kinds == 3

    def take(self, payload: bytes, sequence: int) -> PayloadKind:
        """What a packet is; its parameter sets are remembered."""
        if type_of(payload) == _FRAGMENT:
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
        """The units of an Annex B access unit, which are payloads (RFC 7798, 4.4.1)."""
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
        units = [unit for unit in units if is_base_layer(unit)]
        sets = self._sets.of_keyframe(units, first, is_first_known=is_first_known)
        slices = keyframe_slices(units)
        needed = sets_of(slices, sets)
        if not slices or needed is None:
            return None
        rest = [unit for unit in units if type_of(unit) not in (VPS, SPS, PPS)]
        return join_units([*needed, *rest])


def _fragment_kind(payload: bytes) -> PayloadKind:
    """What a fragment of a NAL unit is (RFC 7798, 4.4.3)."""
    if len(payload) <= _FU_HEADER_BYTES:
        return NOTHING
    if payload[2] & 0x80:  # the first one
        return kind_of(_header_of_fragments(payload) + payload[_FU_HEADER_BYTES:])
    return rest_kind_of(payload[2] & 0x3F)


def _header_of_fragments(payload: bytes) -> bytes:
    return bytes([payload[0] & 0x81 | (payload[2] & 0x3F) << 1, payload[1]])


def _units(payloads: Sequence[bytes]) -> list[bytes] | None:
    """The NAL units in payloads that follow each other; None if they do not make sense."""
    units: list[bytes] = []
    fragments: list[bytes] = []
    for payload in payloads:
        if not payload or type_of(payload) != _FRAGMENT:
            whole = _whole_units(payload)
            if fragments or not whole:
                return None
            units += whole
            continue
        if len(payload) <= _FU_HEADER_BYTES or bool(payload[2] & 0x80) is bool(fragments):
            return None
        fragments.append(payload[_FU_HEADER_BYTES:])
        if len(fragments) == 1:
            fragments.insert(0, _header_of_fragments(payload))
        if payload[2] & 0x40:
            units.append(b"".join(fragments))
            fragments = []
    return None if fragments else units


def _whole_units(payload: bytes) -> list[bytes]:
    """The NAL units of a payload that is no fragment; none if it is malformed."""
    if len(payload) <= HEADER_BYTES or payload[0] & 0x80:
        return []
    if type_of(payload) != _AGGREGATE:
        return [payload] if type_of(payload) < _AGGREGATE else []
    units: list[bytes] = []
    at = HEADER_BYTES
    while at < len(payload):
        length = int.from_bytes(payload[at : at + 2])
        unit = payload[at + 2 : at + 2 + length]
        if len(unit) < max(length, HEADER_BYTES):
            return []
        units.append(unit)
        at += 2 + length
    return units


class _H265:
    """See `H265`."""

    kind: MediaKind = "video"
    name = "H265"
    clock_rate = 90_000
    channels = None
    feedback = ("goog-remb", "nack", "nack pli")
    extensions = (ORIENTATION_URI, COLOR_SPACE_URI)
    variants: tuple[Parameters, ...] = tuple(
        (("level-id", "180"), ("profile-id", profile), ("tier-flag", "0"), ("tx-mode", _ONE_STREAM))
        for profile in ("1", "2")
    )
    decoding = Decoding("hevc", Colors(matrix=6, is_full_range=False), bitstream_tells_colors=True)
    sample = bytes.fromhex(
        "0000000140010c01ffff01600000030090000003000003001e95940900000001420101016000000300900000"
        "03000003001ea08845965655bc2e6808000003000800000300f040000000014401c073c0890000012801ac21"
        "80148c"
    )

    def answer_parameters(self, offered: Format) -> Parameters | None:
        """Profile, tier and level as they were offered (RFC 7798, 7.2.2): all are decoded.

        None for units that are interleaved, or come by several streams.
        """
        tx_mode = offered.parameter("tx-mode")
        given = [(name, value) for name in _NUMBERED if (value := offered.parameter(name))]
        if tx_mode not in ("", _ONE_STREAM) or not all(value.isdecimal() for _, value in given):
            return None
        if any(offered.parameter(name) not in ("", "0") for name in _INTERLEAVING):
            return None
        return (*given, *([("tx-mode", tx_mode)] if tx_mode else []))

    def depacketizer(self, negotiated: Format) -> H265Depacketizer:
        """A new one, which knows the parameter sets that SDP brought."""
        return H265Depacketizer(map(negotiated.parameter, _SPROPS))

    def coded_size(self, keyframe: bytes) -> tuple[int, int] | None:
        """See `VideoCodec`."""
        found = next((each for each in split_units(keyframe) if type_of(each) == SPS), None)
        return None if found is None else coded_size(found)


H265 = _H265()
"""H.265 in whole NAL units, aggregates and fragments, of any profile that FFmpeg decodes."""
