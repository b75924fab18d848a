"""What a codec is to the rest: how SDP names it, how its packets become frames, how it is decoded.

Each codec is an object of one file in this folder, named in `catalog.py`. Negotiation, tracks and
pictures know the protocols below and no codec by name, so that a further one touches nothing else:

- A video codec is a `VideoCodec`: which profiles it accepts (`answer_parameters`), a depacketiser,
  FFmpeg's name. What it wants beside its packets it names itself: RTCP feedback, and header
  extensions.
- RED (RFC 2198) and RTX (RFC 4588) are no codecs: they carry packets of others. A `Carrier` says of
  which payload types. Negotiation takes it where all of these are taken, with the parameters of the
  offer; a track has its packets turned into those that they carry before it counts them.
- Simulcast (RFC 8853) is several streams of one codec. Negotiation takes it where the catalogue
  says so, with the header extensions that name a stream's RID. A depacketiser is made for each
  stream, so that streams share nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from cloudslice.media.tracks import Decoding, Keyframe

MediaKind = Literal["audio", "video"]
"""The kinds of media sections that carry RTP which we know."""

Parameters = tuple[tuple[str, str], ...]
"""Format parameters in order. Names are in lower case; one without "=" has an empty value."""

AUDIO_LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
"""The header extension that says how loud a packet's audio is (RFC 6464)."""

ORIENTATION_URI = "urn:3gpp:video-orientation"
"""The header extension that says how far the camera is turned (3GPP TS 26.114, 7.4.5)."""

COLOR_SPACE_URI = "http://www.webrtc.org/experiments/rtp-hdrext/color-space"
"""The header extension that says what a frame's colours are, whatever its bitstream says."""


@dataclass(frozen=True, slots=True)
class Format:
    """An RTP payload format of a media section: its a=rtpmap, a=fmtp and a=rtcp-fb."""

    payload_type: int
    name: str
    """As the description spells it; to be compared without case."""
    clock_rate: int
    channels: int | None = None
    """None where the description does not say, as for video."""
    parameters: Parameters = ()
    feedback: tuple[str, ...] = ()
    """RTCP feedback (RFC 4585), such as "nack" and "nack pli"."""

    def parameter(self, name: str) -> str:
        """The value of a format parameter, empty where there is none."""
        return next((value for each, value in self.parameters if each == name), "")


class PayloadKind(NamedTuple):
    """What an RTP payload says of the frame that it belongs to."""

    opens: bool = False
    """It is of another frame than picture data before it."""
    has_picture: bool = False
    """It has picture data."""
    begins_keyframe: bool = False
    """The picture data of what may be a key frame begins in it."""
    refreshes: bool = False
    """From here on pictures get right by and by, without a key frame (H.264: a recovery point that
    some frames must pass to)."""


class Depacketizer(Protocol):
    """Makes key frames of the payloads of one stream, which is one SSRC.

    Which payloads are a frame, and whether all of them are there, is the assembler's business.
    """

    @property
    def is_ready(self) -> bool:
        """Whether nothing more is to be learnt, so that packets may go unread."""
        ...

    def take(self, payload: bytes, sequence: int) -> PayloadKind:
        """What a packet is, in any order; what later key frames cannot be decoded without is
        remembered.

        Args:
            payload: not empty.
            sequence: the packet's extended sequence number.
        """
        ...

    def join(self, payloads: Sequence[bytes]) -> bytes | None:
        """A frame as its sender had it when it cut it into these payloads; None if they are
        malformed."""
        ...

    def split(self, frame: bytes) -> list[bytes]:
        """Payloads of any length that carry a frame."""
        ...

    def assemble(
        self, payloads: Sequence[bytes], first: int, *, is_first_known: bool
    ) -> bytes | None:
        """The frame as a decoder takes it alone; None if it is malformed or no key frame.

        Args:
            payloads: all that there are from the first one to the frame's last, in order.
            first: the extended sequence number of the first one.
            is_first_known: whether it is the frame's first one for certain.
        """
        ...


class Codec(Protocol):
    """A codec as SDP sees it."""

    @property
    def kind(self) -> MediaKind: ...

    @property
    def name(self) -> str:
        """Its encoding name in SDP."""
        ...

    @property
    def clock_rate(self) -> int:
        """RTP ticks a second."""
        ...

    @property
    def channels(self) -> int | None:
        """As our offers say it; None for video."""
        ...

    @property
    def feedback(self) -> tuple[str, ...]:
        """The RTCP feedback that we want of it, where the other side knows it, too."""
        ...

    @property
    def extensions(self) -> tuple[str, ...]:
        """URIs of the RTP header extensions that we want of it (RFC 8285)."""
        ...

    @property
    def variants(self) -> tuple[Parameters, ...]:
        """The format parameters under which an offer of ours lists it, the best ones first."""
        ...

    def answer_parameters(self, offered: Format) -> Parameters | None:
        """The answer's format parameters; None if it cannot be received as it is offered.

        Args:
            offered: of this codec's name and clock rate.
        """
        ...


class VideoCodec(Codec, Protocol):
    """A codec whose key frames become pictures."""

    @property
    def decoding(self) -> Decoding:
        """How its key frames become pictures."""
        ...

    @property
    def sample(self) -> bytes:
        """A key frame of 16x16 pixels: whatever its decoder loads late is loaded with it."""
        ...

    def depacketizer(self, negotiated: Format) -> Depacketizer:
        """A new one, for one stream."""
        ...

    def coded_size(self, keyframe: bytes) -> tuple[int, int] | None:
        """Width and height of a key frame in pixels, as it is coded: up to 15 more than are shown;
        None if that is not known."""
        ...


class Carrier(Protocol):
    """A payload format whose packets carry those of other payload types."""

    @property
    def kind(self) -> MediaKind: ...

    @property
    def name(self) -> str:
        """Its encoding name in SDP."""
        ...

    @property
    def feedback(self) -> tuple[str, ...]:
        """As of a codec."""
        ...

    def carried(self, offered: Format) -> tuple[int, ...]:
        """The payload types that it may carry; empty if the parameters do not say."""
        ...


@dataclass(frozen=True, slots=True)
class Catalog:
    """What is known. Of a section's payload formats all are taken that are in it."""

    audio: tuple[Codec, ...] = ()
    video: tuple[VideoCodec, ...] = ()
    carriers: tuple[Carrier, ...] = ()
    simulcast: bool = False
    """Whether several simultaneous encodings of a video are taken, or one."""
    _codecs: dict[tuple[str, str, int], Codec] = field(init=False, repr=False, compare=False)
    _carriers: dict[tuple[str, str], Carrier] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        codecs: tuple[Codec, ...] = (*self.audio, *self.video)
        by_name = {(each.kind, each.name.lower(), each.clock_rate): each for each in codecs}
        carriers = {(each.kind, each.name.lower()): each for each in self.carriers}
        object.__setattr__(self, "_codecs", by_name)
        object.__setattr__(self, "_carriers", carriers)

    def codec(self, kind: str, offered: Format) -> Codec | None:
        """The codec of a payload format in a media section of that kind."""
        return self._codecs.get((kind, offered.name.lower(), offered.clock_rate))

    def carrier(self, kind: str, offered: Format) -> Carrier | None:
        """The carrier that a payload format is."""
        return self._carriers.get((kind, offered.name.lower()))

    def coded_size(self, keyframe: Keyframe) -> tuple[int, int] | None:
        """See `VideoCodec`."""
        decoder = keyframe.decoding.decoder
        codec = next((each for each in self.video if each.decoding.decoder == decoder), None)
        return None if codec is None else codec.coded_size(keyframe.data)

    def name_of(self, decoding: Decoding) -> str:
        """The encoding name, in small letters, of the codec that is decoded so; else that of the
        decoder."""
        decoder = decoding.decoder
        names = (each.name.lower() for each in self.video if each.decoding.decoder == decoder)
        return next(names, decoder)

    def of_kind(self, kind: MediaKind) -> tuple[Codec, ...]:
        """All codecs of a kind, the best one first."""
        return self.audio if kind == "audio" else self.video
