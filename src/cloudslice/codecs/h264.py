"""H.264 in RTP (RFC 6184), as far as key frames need it."""

import base64
import re
from collections.abc import Sequence

from cloudslice.codecs.codec import ORIENTATION_URI, Colors, Format, MediaKind, Parameters

_IDR, _SPS, _PPS = 5, 7, 8
_STAP_A, _FU_A = 24, 28
_START_CODE = b"\x00\x00\x00\x01"

_PROFILE_LEVEL_ID = re.compile("[0-9A-Fa-f]{6}")
_ANSWERED = ("level-asymmetry-allowed", "packetization-mode", "profile-level-id")
_CONSTRAINED_BASELINE_31, _HIGH_31 = "42e01f", "64001f"


class H264Depacketizer:
    """Recognises and assembles H.264 key frames; remembers the parameter sets.

    Args:
        sprop_parameter_sets: the offer's parameter of that name (RFC 6184, 8.1), for senders that
            do not repeat the sets in the stream; a malformed one is ignored.
    """

    def __init__(self, sprop_parameter_sets: str = "") -> None:
        self._sets: dict[int, bytes] = {}
        for text in sprop_parameter_sets.split(","):
            try:
                self._remember(base64.b64decode(text, validate=True))
            except ValueError:
                continue

    @property
    def is_ready(self) -> bool:
        """Whether both parameter sets are known, so that a bare IDR picture can be decoded."""
        return len(self._sets) == 2

    def learn(self, payload: bytes) -> None:
        """Remember the parameter sets in `payload`, if it holds any."""
        if payload and payload[0] & 0x1F in (_SPS, _PPS, _STAP_A):
            for unit in _whole_units(payload):
                self._remember(unit)

    def starts_access_unit(self, payload: bytes) -> bool:
        """Whether this is certainly the first packet of a key frame: it brings an SPS."""
        return any(unit[0] & 0x1F == _SPS for unit in _whole_units(payload))

    def starts_keyframe(self, payload: bytes) -> bool:
        """Whether this is where a key frame's picture data starts: an IDR's first slice."""
        # After the NAL unit's type comes the slice header, whose first bit is set if
        # first_mb_in_slice, an Exp-Golomb number, is 0.
        if payload and payload[0] & 0x1F == _FU_A:
            return len(payload) > 2 and payload[1] & 0x9F == 0x80 | _IDR and payload[2] >= 0x80
        return any(
            len(unit) > 1 and unit[0] & 0x1F == _IDR and unit[1] >= 0x80
            for unit in _whole_units(payload)
        )

    def assemble(self, payloads: Sequence[bytes]) -> bytes | None:
        """The Annex B access unit of a key frame's payloads, all of them and in order.

        Parameter sets that it does not bring are put in front. None if it is no IDR picture, the
        sets are not known, or a payload is malformed.
        """
        units = _units(payloads)
        if units is None:
            return None
        for unit in units:
            self._remember(unit)
        kinds = {unit[0] & 0x1F for unit in units}
        if _IDR not in kinds or not self.is_ready:
            return None
        missing = [self._sets[kind] for kind in (_SPS, _PPS) if kind not in kinds]
        return b"".join(_START_CODE + unit for unit in [*missing, *units])

    def _remember(self, unit: bytes) -> None:
        if unit and unit[0] & 0x1F in (_SPS, _PPS):
            self._sets[unit[0] & 0x1F] = unit


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
    extensions = (ORIENTATION_URI,)
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
    decoder = "h264"
    default_colors = Colors(matrix=6, is_full_range=False)
    bitstream_tells_colors = True

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


H264 = _H264()
"""H.264 in whole NAL units, aggregates and fragments, of any profile that FFmpeg decodes."""
