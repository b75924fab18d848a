"""VP8 in RTP (RFC 7741), as far as key frames need it."""

from collections.abc import Sequence

from cloudslice.codecs.codec import (
    COLOR_SPACE_URI,
    ORIENTATION_URI,
    Format,
    MediaKind,
    Parameters,
    PayloadKind,
)
from cloudslice.media.tracks import Colors, Decoding

_KEYFRAME_START_CODE = b"\x9d\x01\x2a"
_DESCRIPTOR = b"\x10"
"""The payload descriptor of a frame's first packet, without extensions (RFC 7741, 4.2)."""
_NOTHING = PayloadKind()
_OF_PICTURE = PayloadKind(has_picture=True)
_BEGINS_PICTURE = PayloadKind(opens=True, has_picture=True)
_BEGINS_KEYFRAME = PayloadKind(opens=True, has_picture=True, begins_keyframe=True)


class Vp8Depacketizer:
    """Recognises and assembles VP8 key frames. They stand alone: there is nothing to learn."""

    is_ready = True

    def take(self, payload: bytes, _sequence: int) -> PayloadKind:
        """What a packet is."""
        start = _descriptor_length(payload)
        if start == 0:
            return _NOTHING
        if payload[0] & 0x17 != 0x10:  # S, the start of a partition, and its index, which is 0
            return _OF_PICTURE
        # The frame tag, whose lowest bit is clear on key frames; the start code (RFC 6386, 9.1).
        if payload[start] & 0x01 or payload[start + 3 : start + 6] != _KEYFRAME_START_CODE:
            return _BEGINS_PICTURE
        return _BEGINS_KEYFRAME

    def assemble(
        self, payloads: Sequence[bytes], first: int, *, is_first_known: bool
    ) -> bytes | None:
        """The frame of a key frame's payloads; its first one is known by itself."""
        if not payloads or not self.take(payloads[0], first).begins_keyframe:
            return None
        return self.join(payloads)

    def join(self, payloads: Sequence[bytes]) -> bytes | None:
        """See `Depacketizer`."""
        lengths = [_descriptor_length(payload) for payload in payloads]
        if not all(lengths):
            return None
        return b"".join(payload[n:] for payload, n in zip(payloads, lengths, strict=True))

    def split(self, frame: bytes) -> list[bytes]:
        """See `Depacketizer`."""
        return [_DESCRIPTOR + frame]


def _descriptor_length(payload: bytes) -> int:
    """Bytes of the VP8 payload descriptor (RFC 7741, 4.2), or 0 if it is cut off."""
    if not payload:
        return 0
    length = 1
    if payload[0] & 0x80:  # X: extensions
        if len(payload) < 2:
            return 0
        flags = payload[1]
        length = 2
        if flags & 0x80:  # I: picture id of one or two bytes
            if len(payload) < 3:
                return 0
            length += 2 if payload[2] & 0x80 else 1
        length += (flags >> 6 & 1) + (1 if flags & 0x30 else 0)  # L: TL0PICIDX; T or K
    return length if length < len(payload) else 0


class _Vp8:
    """See `VP8`."""

    kind: MediaKind = "video"
    name = "VP8"
    clock_rate = 90_000
    channels = None
    feedback = ("goog-remb", "nack", "nack pli")
    extensions = (ORIENTATION_URI, COLOR_SPACE_URI)
    variants: tuple[Parameters, ...] = ((),)
    # RFC 6386, 9.2. FFmpeg takes the clamping bit, which some encoders set, for full range.
    decoding = Decoding("vp8", Colors(matrix=6, is_full_range=False), bitstream_tells_colors=False)
    sample = bytes.fromhex("1002009d012a100010000047088585888584880202000619680000")

    def answer_parameters(self, _offered: Format) -> Parameters | None:
        """None are needed: those of RFC 7741, 6.1 limit what is sent to a weaker receiver."""
        return ()

    def depacketizer(self, _negotiated: Format) -> Vp8Depacketizer:
        """A new one."""
        return Vp8Depacketizer()

    def coded_size(self, keyframe: bytes) -> tuple[int, int] | None:
        """See `VideoCodec` (RFC 6386, 9.1)."""
        if len(keyframe) < 10:
            return None
        width, height = (int.from_bytes(keyframe[at : at + 2], "little") for at in (6, 8))
        return width & 0x3FFF, height & 0x3FFF


VP8 = _Vp8()
"""VP8, of one layer of quality."""
