"""AV1 in RTP (AV1 RTP payload format of the Alliance for Open Media, 1.0), as far as key frames
need it.

1. A picture is a temporal unit: the frames of all its spatial layers, of one timestamp. It is a key
   picture if its first frame is a key frame that is shown. A server may leave out upper layers.
2. A sequence header stands in front of a key frame: the one that came with it, else the last one.
"""

from collections.abc import Iterator, Sequence

from cloudslice.codecs.av1_units import (
    FRAME,
    FRAME_HEADER,
    SEQUENCE_HEADER,
    TILE_GROUP,
    Unit,
    is_key,
    read_leb128,
    read_sequence,
    read_unit,
    split_units,
    temporal_unit,
    write_leb128,
)
from cloudslice.codecs.codec import (
    COLOR_SPACE_URI,
    ORIENTATION_URI,
    Format,
    MediaKind,
    Parameters,
    PayloadKind,
)
from cloudslice.media.tracks import Colors, Decoding

# The aggregation header (4.4).
_CONTINUES, _IS_CONTINUED, _BEGINS_SEQUENCE = 0x80, 0x40, 0x08
_NOTHING = PayloadKind()
_PICTURE = (FRAME, FRAME_HEADER, TILE_GROUP)
_MAX_SEQUENCE_BYTES = 1024
"""A longer sequence header is not kept for later."""
_NUMBERED = ("profile", "level-idx", "tier")


class Av1Depacketizer:
    """Recognises and assembles AV1 key pictures; remembers the sequence header."""

    def __init__(self) -> None:
        self._sequence: tuple[int, Unit] | None = None
        """The last sequence header, and the extended sequence number that it came with."""

    @property
    def is_ready(self) -> bool:
        """Whether a sequence header is known, so that a bare key frame can be decoded."""
        return self._sequence is not None

    def take(self, payload: bytes, sequence: int) -> PayloadKind:
        """What a packet is; a sequence header in it is remembered."""
        elements = list(_elements(payload))
        if not elements:
            return _NOTHING
        units = list(_begun(payload, elements))
        is_cut_off = bool(payload[0] & _IS_CONTINUED)
        headers = [unit for unit in units if unit.kind == SEQUENCE_HEADER]
        if headers and not (is_cut_off and headers[-1] is units[-1]):
            self._remember(headers[-1], sequence)
        begins_sequence = bool(payload[0] & _BEGINS_SEQUENCE)
        frames = [unit for unit in units if unit.kind in _PICTURE]
        begins_keyframe = any(
            unit.spatial == 0 and (begins_sequence or is_key(unit)) for unit in frames
        )
        return PayloadKind(
            opens=begins_keyframe or begins_sequence or bool(headers),
            has_picture=bool(frames) or bool(payload[0] & _CONTINUES),
            begins_keyframe=begins_keyframe,
        )

    def assemble(
        self, payloads: Sequence[bytes], first: int, *, is_first_known: bool
    ) -> bytes | None:
        """The temporal unit of a key picture's payloads, with a sequence header.

        None if it is no key picture, no sequence header is known, or a payload is malformed. If
        payloads may be missing in front, it must bring its sequence header itself: what is missing
        may have brought another one.
        """
        units = _units(payloads)
        if units is None:
            return None
        before = self._sequence if self._sequence and self._sequence[0] < first else None
        headers = [unit for unit in units if unit.kind == SEQUENCE_HEADER]
        if headers:
            self._remember(headers[-1], first)
        elif before and is_first_known:
            headers = [before[1]]
            units = [*headers, *units]
        return temporal_unit(units) if headers and _is_key_picture(headers[0], units) else None

    def join(self, payloads: Sequence[bytes]) -> bytes | None:
        """See `Depacketizer`."""
        units = _units(payloads)
        return None if units is None else temporal_unit(units)

    def split(self, frame: bytes) -> list[bytes]:
        """See `Depacketizer`."""
        elements = [unit.header + unit.payload for unit in split_units(frame) or ()]
        return [b"\x00" + b"".join(write_leb128(len(each)) + each for each in elements)]

    def _remember(self, header: Unit, sequence: int) -> None:
        is_newer = self._sequence is None or self._sequence[0] < sequence
        if is_newer and len(header.payload) <= _MAX_SEQUENCE_BYTES:
            self._sequence = sequence, header


def _is_key_picture(header: Unit, units: Sequence[Unit]) -> bool:
    sequence = read_sequence(header.payload)
    first = next((unit for unit in units if unit.kind in _PICTURE), None)
    if sequence is None or first is None or first.spatial:
        return False
    return sequence.is_reduced or is_key(first)


def _units(payloads: Sequence[bytes]) -> list[Unit] | None:
    """The OBUs in payloads that follow each other; None if they do not make sense."""
    units: list[Unit] = []
    fragments: list[bytes] = []
    for payload in payloads:
        elements = list(_elements(payload))
        if not elements or bool(payload[0] & _CONTINUES) is not bool(fragments):
            return None
        for index, element in enumerate(elements):
            fragments.append(element)
            if payload[0] & _IS_CONTINUED and index == len(elements) - 1:
                break
            unit = read_unit(b"".join(fragments))
            if unit is None:
                return None
            units.append(unit)
            fragments = []
    return None if fragments else units


def _begun(payload: bytes, elements: Sequence[bytes]) -> Iterator[Unit]:
    """The OBUs that begin in a payload; the end of the last one may be missing."""
    is_cut_off = bool(payload[0] & _IS_CONTINUED)
    for index, element in enumerate(elements):
        if index == 0 and payload[0] & _CONTINUES:
            continue
        unit = read_unit(element, is_cut_off=is_cut_off and index == len(elements) - 1)
        if unit is not None:
            yield unit


def _elements(payload: bytes) -> Iterator[bytes]:
    """The OBU elements of a payload (4.3); none if it is malformed."""
    count = payload[0] >> 4 & 0x03 if payload else 0
    elements: list[bytes] = []
    at = 1
    while at < len(payload):
        length = len(payload) - at
        if count == 0 or len(elements) < count - 1:
            found = read_leb128(payload, at)
            if found is None or found[0] > len(payload) - found[1]:
                return iter(())
            length, at = found
        if length:
            elements.append(payload[at : at + length])
        elif count:
            return iter(())
        at += length
    return iter(elements if count in (0, len(elements)) else ())


class _Av1:
    """See `AV1`."""

    kind: MediaKind = "video"
    name = "AV1"
    clock_rate = 90_000
    channels = None
    feedback = ("goog-remb", "nack", "nack pli")
    extensions = (ORIENTATION_URI, COLOR_SPACE_URI)
    variants: tuple[Parameters, ...] = ((("profile", "0"), ("level-idx", "5"), ("tier", "0")),)
    decoding = Decoding(
        "libdav1d",
        Colors(matrix=6, is_full_range=False),
        bitstream_tells_colors=True,
        has_layers=True,
    )
    sample = bytes.fromhex("12000a0a000000019ff895f20080320c1000968010408200000075c0")

    def answer_parameters(self, offered: Format) -> Parameters | None:
        """Profile, level and tier as they were offered (7.2.1): all are decoded."""
        given = [(name, value) for name in _NUMBERED if (value := offered.parameter(name))]
        if offered.parameter("profile") not in ("", "0", "1", "2"):
            return None
        return tuple(given) if all(value.isdecimal() for _name, value in given) else None

    def depacketizer(self, _negotiated: Format) -> Av1Depacketizer:
        """A new one."""
        return Av1Depacketizer()

    def coded_size(self, keyframe: bytes) -> tuple[int, int] | None:
        """See `VideoCodec`. A layer that is missing above halves the size of the highest one, as in
        all scalability modes whose names have no "h"."""
        units = split_units(keyframe) or []
        header = next((unit for unit in units if unit.kind == SEQUENCE_HEADER), None)
        sequence = read_sequence(header.payload) if header else None
        if sequence is None:
            return None
        highest = max((unit.spatial for unit in units if unit.kind in _PICTURE), default=0)
        missing = max(sequence.layers - 1 - highest, 0)
        return sequence.size[0] >> missing, sequence.size[1] >> missing


AV1 = _Av1()
"""AV1 of any profile, of one or several layers."""
