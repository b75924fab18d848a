"""What two sides have agreed on: the outcome of offers and answers, whoever made the offer.

`accepting.py` decides what of an offer we take, `offering.py` has the way round in which we offer,
and `local_description.py` writes both down. All are pure functions from what held before to what
holds now:

1. The media sections of a `Negotiation` are those of the last offer, in its order. A section keeps
   its place for ever; once it is removed another one may take the place (RFC 9429, 5.2.2).
2. One connection has one transport. Sections that are not on it are refused.
3. Whose media a section carries is not decided here: its mid, msid and SSRCs are handed on.
"""

from dataclasses import dataclass, replace

from cloudslice.codecs.codec import Carrier, Codec, Format, Parameters
from cloudslice.webrtc.candidates import Candidate, IceCredentials
from cloudslice.webrtc.media_attributes import Direction, HeaderExtension, Ssrc, SsrcGroup
from cloudslice.webrtc.sdp import SdpError
from cloudslice.webrtc.transport_parameters import Fingerprint

MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID_URI = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID_URI = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"


class UnusableOfferError(SdpError):
    """An offer that can be read, but that we cannot make a connection of."""


class UnusableAnswerError(SdpError):
    """An answer that can be read, but that we cannot make a connection of."""


@dataclass(frozen=True, slots=True)
class NegotiatedFormat:
    """A payload type that both sides know."""

    offered: Format
    """As the other side describes it, with its parameters."""
    codec: Codec | None
    """None for a carrier."""
    carrier: Carrier | None
    parameters: Parameters
    """Ours."""
    feedback: tuple[str, ...]
    """The RTCP feedback that both sides know."""

    @property
    def payload_type(self) -> int:
        """The number in RTP's header."""
        return self.offered.payload_type

    @property
    def ours(self) -> Format:
        """As our descriptions say it."""
        return replace(self.offered, parameters=self.parameters, feedback=self.feedback)


@dataclass(frozen=True, slots=True)
class NegotiatedSection:
    """A media section, as both sides see it now."""

    index: int
    mid: str
    has_mid: bool
    """Whether the descriptions name it by a=mid."""
    kind: str
    media_line: tuple[str, str, str]
    """The media, protocol and first format of its m= line, as they were offered."""
    direction: Direction
    """Ours: what is paused is inactive, and may be active again."""
    refusal: str = ""
    """Why it is refused, or that it is removed; empty if it is neither."""
    formats: tuple[NegotiatedFormat, ...] = ()
    extensions: tuple[HeaderExtension, ...] = ()
    """Those that may come, or that we may send. Directions are ours."""
    ssrcs: tuple[Ssrc, ...] = ()
    """The streams that the other side announces; it may send others."""
    ssrc_groups: tuple[SsrcGroup, ...] = ()
    rids: tuple[str, ...] = ()
    """The simultaneous encodings that we receive; empty for one encoding without a name."""
    msid: str = ""
    """Whose media it is, in the other side's words."""

    @property
    def is_taken(self) -> bool:
        """Whether both sides use it, be it paused."""
        return not self.refusal

    def extension_id(self, uri: str) -> int | None:
        """The id of a header extension (RFC 8285), or None."""
        return next((each.identifier for each in self.extensions if each.uri == uri), None)


@dataclass(frozen=True, slots=True)
class Transport:
    """How to reach the other side."""

    mid: str
    """Of the section that describes it (RFC 8843's tagged one)."""
    ice: IceCredentials
    """Others than before are an ICE restart (RFC 8445, 9)."""
    is_ice_lite: bool
    """Whether the other side is."""
    candidates: tuple[Candidate, ...]
    end_of_candidates: bool
    fingerprints: tuple[Fingerprint, ...]
    """Others than before are a new DTLS association (RFC 8842, 4), as another role is."""
    we_are_dtls_server: bool


@dataclass(frozen=True, slots=True)
class Negotiation:
    """What is agreed on."""

    sections: tuple[NegotiatedSection, ...]
    transport: Transport | None
    """None if no section is taken."""
    bundle: tuple[str, ...] = ()
    """The mids of the BUNDLE group, the transport's first; empty if there is none."""

    @property
    def taken(self) -> tuple[NegotiatedSection, ...]:
        """The sections that are used, in the order of the description."""
        return tuple(section for section in self.sections if section.is_taken)
