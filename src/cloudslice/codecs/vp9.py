"""VP9 in RTP (RFC 9628), as far as key frames need it.

1. A picture is one frame, or one for each spatial layer, all of one timestamp. A key picture begins
   with a key frame, which is its lowest layer; each further layer is predicted from those below.
2. A key picture is made of its lowest layer and of all above that are there without a gap and need
   no earlier picture. A server may leave out the upper ones.
"""

from collections.abc import Sequence

from cloudslice.codecs.codec import (
    COLOR_SPACE_URI,
    ORIENTATION_URI,
    Format,
    MediaKind,
    Parameters,
    PayloadKind,
)
from cloudslice.codecs.vp9_units import (
    BEGINS,
    ENDS,
    Descriptor,
    coded_size,
    read_descriptor,
    read_frame_header,
    split_superframe,
    superframe,
)
from cloudslice.media.tracks import Colors, Decoding

_NOTHING = PayloadKind()
_OF_PICTURE = PayloadKind(has_picture=True)
_BEGINS_PICTURE = PayloadKind(opens=True, has_picture=True)
_BEGINS_KEYFRAME = PayloadKind(opens=True, has_picture=True, begins_keyframe=True)
_PROFILES = ("0", "1", "2", "3")


class Vp9Depacketizer:
    """Recognises and assembles VP9 key pictures. They stand alone: there is nothing to learn."""

    is_ready = True

    def take(self, payload: bytes, _sequence: int) -> PayloadKind:
        """What a packet is, by its descriptor alone: what follows may be encrypted."""
        descriptor = read_descriptor(payload)
        if descriptor is None:
            return _NOTHING
        if not descriptor.begins or descriptor.spatial:
            return _OF_PICTURE
        return _BEGINS_PICTURE if descriptor.is_predicted else _BEGINS_KEYFRAME

    def assemble(
        self, payloads: Sequence[bytes], first: int, *, is_first_known: bool
    ) -> bytes | None:
        """The key picture of all usable layers, as a superframe if they are several."""
        layers = _key_layers(payloads)
        header = read_frame_header(layers[0]) if layers else None
        if header is None or not header.is_key:
            return None
        if len(layers) > 1 and len(split_superframe(b"".join(layers))) == len(layers):
            return b"".join(layers)  # the encoder has put an index behind its last layer
        return superframe(layers)

    def join(self, payloads: Sequence[bytes]) -> bytes | None:
        """See `Depacketizer`."""
        read = [read_descriptor(payload) for payload in payloads]
        parts = [p[each.length :] for p, each in zip(payloads, read, strict=True) if each]
        return b"".join(parts) if len(parts) == len(payloads) else None

    def split(self, frame: bytes) -> list[bytes]:
        """See `Depacketizer`."""
        return [bytes([BEGINS | ENDS]) + frame]


def _key_layers(payloads: Sequence[bytes]) -> list[bytes]:
    """The frames of a key picture's layers that can be decoded, from the lowest on; none if there
    is no key picture whose lowest layer is whole, or a payload is malformed."""
    layers: list[bytes] = []
    parts: list[bytes] | None = None
    for payload in payloads:
        descriptor = read_descriptor(payload)
        if descriptor is None or descriptor.begins is not (parts is None):
            return []
        if descriptor.begins:
            if not _is_usable(descriptor, len(layers)):
                break
            parts = []
        if parts is None or descriptor.spatial != len(layers):
            return []
        parts.append(payload[descriptor.length :])
        if descriptor.ends:
            layers.append(b"".join(parts))
            parts = None
    return layers


def _is_usable(descriptor: Descriptor, layers: int) -> bool:
    """Whether a frame that begins so can be decoded by what so many layers below it show."""
    return descriptor.spatial == layers and not descriptor.is_predicted


class _Vp9:
    """See `VP9`."""

    kind: MediaKind = "video"
    name = "VP9"
    clock_rate = 90_000
    channels = None
    feedback = ("goog-remb", "nack", "nack pli")
    extensions = (ORIENTATION_URI, COLOR_SPACE_URI)
    variants: tuple[Parameters, ...] = ((("profile-id", "0"),), (("profile-id", "2"),))
    decoding = Decoding(
        "vp9", Colors(matrix=6, is_full_range=False), bitstream_tells_colors=True, has_layers=True
    )
    sample = bytes.fromhex("824983420000f000f60638241c184a00002040003780")

    def answer_parameters(self, offered: Format) -> Parameters | None:
        """The profile as it was offered (RFC 9628, 7.2): all four are decoded."""
        profile = offered.parameter("profile-id")
        if profile not in ("", *_PROFILES):
            return None
        return (("profile-id", profile),) if profile else ()

    def depacketizer(self, _negotiated: Format) -> Vp9Depacketizer:
        """A new one."""
        return Vp9Depacketizer()

    def coded_size(self, keyframe: bytes) -> tuple[int, int] | None:
        """See `VideoCodec`."""
        return coded_size(keyframe)


VP9 = _Vp9()
"""VP9 of any profile, of one or several layers."""
