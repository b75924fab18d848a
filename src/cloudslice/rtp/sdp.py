"""What an SDP offer (RFC 8866, RFC 9429) sends, and which of it we can receive."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiortc.rtcdtlstransport import RTCDtlsParameters
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import MediaDescription, SessionDescription, grouplines

from cloudslice.media.tracks import TrackKind, VideoCodec
from cloudslice.rtp.dtls import Fingerprint
from cloudslice.rtp.ice import IceCredentials

MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"
ORIENTATION_URI = "urn:3gpp:video-orientation"

_MAX_LINES = 1000
"""Chromium's longest, of camera, screen and all codecs, has half of that; the parser's time can
grow with the square."""
_VIDEO_FEEDBACK = (("goog-remb", None), ("nack", None), ("nack", "pli"))
_AUDIO_FEEDBACK = (("nack", None),)


class SdpError(Exception):
    """An offer that cannot be read."""


class UnusableOfferError(SdpError):
    """An offer that can be read, but of which we can receive nothing."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec of the offer that we take; `feedback` is what both sides know of RFC 4585."""

    payload_type: int
    name: str
    clock_rate: int
    channels: int | None
    parameters: tuple[tuple[str, str | int | None], ...]
    feedback: tuple[tuple[str, str | None], ...]
    video: VideoCodec | None

    def parameter(self, name: str) -> str:
        """A format parameter (``a=fmtp``) as text, empty if it is not there."""
        value = dict(self.parameters).get(name)
        return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class MediaPlan:
    """A media section that we receive."""

    kind: TrackKind
    mid: str
    codecs: tuple[Codec, ...]
    extensions: tuple[tuple[int, str], ...]
    ssrcs: tuple[int, ...]

    def extension_id(self, uri: str) -> int | None:
        """The negotiated id of a header extension (RFC 8285), or None."""
        return next((identifier for identifier, each in self.extensions if each == uri), None)


@dataclass(frozen=True, slots=True)
class Section:
    """What the answer must repeat of a media section of the offer, taken or refused."""

    kind: str
    mid: str
    protocol: str
    first_format: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What an anchor offers, and which of it we take."""

    ice: IceCredentials
    fingerprints: tuple[Fingerprint, ...]
    we_are_dtls_server: bool
    media: tuple[MediaPlan, ...]
    """At least one; the first is that whose transport all use (RFC 8843, 7.3.1)."""
    is_bundled: bool
    """Whether `media` is part of a BUNDLE group."""
    sections: tuple[Section, ...] = field(repr=False)
    """Every media section, in the offer's order."""


def parse_offer(text: str) -> Offer:
    """Read an offer.

    Raises:
        SdpError: it is not an SDP offer for WebRTC.
        UnusableOfferError: it sends neither Opus nor a video that we know, or not bundled, or
            without a transport of what we take, or leaves checking connectivity to us.
    """
    lines = [line.strip() for line in text.splitlines()]
    if len(lines) > _MAX_LINES:
        raise SdpError(f"the offer has more than {_MAX_LINES} lines")
    text = "\n".join(lines)
    try:
        description = SessionDescription.parse(text)
    except (AssertionError, AttributeError, LookupError, StopIteration, TypeError, ValueError):
        # aiortc's parser meets malformed lines with whatever its expressions raise.
        raise SdpError("the offer is not valid SDP") from None
    if not description.media:
        raise SdpError("the offer has no media section")
    bundle_only = ["a=bundle-only" in section for section in grouplines(text)[1]]
    plans = _plan(description.media, bundle_only)
    if not plans:
        raise UnusableOfferError(
            "the offer sends nothing that can be received: audio must be Opus, video H.264 or VP8, "
            "with a=sendonly or a=sendrecv and a=rtcp-mux"
        )
    mids, is_bundled = _bundle(description, plans)
    tagged = _tagged_section(description.media, mids)
    mids.sort(key=lambda mid: mid != tagged.rtp.muxId)  # only this one moves
    ice, dtls = _transport(tagged)
    return Offer(
        ice=ice,
        fingerprints=tuple(
            Fingerprint(each.algorithm.lower(), each.value) for each in dtls.fingerprints
        ),
        we_are_dtls_server=dtls.role != "server",
        media=tuple(sorted(plans, key=lambda plan: mids.index(plan.mid))),
        is_bundled=is_bundled,
        sections=tuple(
            Section(each.kind, each.rtp.muxId, each.profile, str(each.fmt[0]))
            for each in description.media
        ),
    )


def _plan(
    sections: Sequence[MediaDescription], bundle_only: Sequence[bool]
) -> tuple[MediaPlan, ...]:
    plans: list[MediaPlan] = []
    free = {"audio": [TrackKind.AUDIO], "video": [TrackKind.VIDEO, TrackKind.AUX]}
    seen = set()
    for section, is_bundle_only in zip(sections, bundle_only, strict=True):
        if section.rtp.muxId in seen or not section.rtp.muxId:
            raise SdpError("each media section needs an a=mid of its own")
        seen.add(section.rtp.muxId)
        kinds = free.get(section.kind, [])
        codecs = tuple(codec for each in section.rtp.codecs if (codec := _usable(each)))
        sends = section.direction in (None, "sendonly", "sendrecv")
        # Port 0 means "not offered" but for bundle-only sections (RFC 8843, 6), which leave
        # transport attributes to others.
        has_transport = (section.port != 0 and section.rtcp_mux) or is_bundle_only
        if not kinds or not codecs or not sends or not has_transport:
            continue
        plans.append(
            MediaPlan(
                kind=kinds.pop(0),
                mid=section.rtp.muxId,
                codecs=codecs,
                extensions=tuple(
                    (each.id, each.uri)
                    for each in section.rtp.headerExtensions
                    if each.uri == MID_URI
                    or (each.uri == ORIENTATION_URI and section.kind == "video")
                ),
                ssrcs=tuple(each.ssrc for each in section.ssrc),
            )
        )
    return tuple(plans)


def _bundle(description: SessionDescription, plans: Sequence[MediaPlan]) -> tuple[list[str], bool]:
    """The mids of `plans` in the order of their BUNDLE group, and whether there is one."""
    mids = [plan.mid for plan in plans]
    for group in description.group:
        if group.semantic == "BUNDLE" and set(mids) <= set(group.items):
            return sorted(mids, key=group.items.index), True
    if len(mids) > 1:
        raise UnusableOfferError("the offer's media sections are not bundled (RFC 8843)")
    return mids, False


def _tagged_section(sections: Sequence[MediaDescription], mids: Sequence[str]) -> MediaDescription:
    """The section whose transport all use: the first of `mids`, which are taken, that has a port.

    A bundle-only section has no transport (RFC 8843, 7.3.1).
    """
    by_mid = {each.rtp.muxId: each for each in sections}
    for mid in mids:
        if by_mid[mid].port != 0:
            return by_mid[mid]
    raise UnusableOfferError(
        "the offer's media that can be received is bundle-only, and the section whose transport "
        "it needs cannot be received (RFC 8843, 7.3.1)"
    )


def _transport(section: MediaDescription) -> tuple[IceCredentials, RTCDtlsParameters]:
    ice, dtls = section.ice, section.dtls
    if ice is None or not ice.usernameFragment or not ice.password:
        raise SdpError("the offer has no a=ice-ufrag or no a=ice-pwd")
    if ice.iceLite:
        raise UnusableOfferError("the offer is ICE-lite, and so are we: one side must be full ICE")
    if dtls is None or not dtls.fingerprints:
        raise SdpError("the offer has no a=setup or no a=fingerprint")
    if not any(Fingerprint(each.algorithm.lower(), "").is_known for each in dtls.fingerprints):
        raise UnusableOfferError("the offer's a=fingerprint is none of sha-256, sha-384, sha-512")
    return IceCredentials(ice.usernameFragment, ice.password), dtls


def _usable(codec: RTCRtpCodecParameters) -> Codec | None:
    name = codec.mimeType.lower()
    parameters = {str(key).strip().lower(): value for key, value in codec.parameters.items()}
    video = None
    if name == "video/h264":
        # Mode 2 interleaves; 0 and 1 are what is in use (RFC 6184, 6.2).
        if str(parameters.get("packetization-mode", "0")) not in ("0", "1"):
            return None
        video = VideoCodec.H264
    elif name == "video/vp8":
        video = VideoCodec.VP8
    elif name != "audio/opus":
        return None
    if codec.payloadType is None:
        return None
    offered = {(each.type, each.parameter) for each in codec.rtcpFeedback}
    known = _AUDIO_FEEDBACK if video is None else _VIDEO_FEEDBACK
    return Codec(
        payload_type=codec.payloadType,
        name=codec.name,
        clock_rate=codec.clockRate,
        channels=codec.channels,
        parameters=tuple(parameters.items()),
        feedback=tuple(each for each in known if each in offered),
        video=video,
    )
