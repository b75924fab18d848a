"""SDP offer and answer (RFC 8866, RFC 9429) of a session in which we only receive."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import MediaDescription, SessionDescription

from cloudslice.rooms.base import TrackKind, VideoCodec
from cloudslice.rtp.dtls import Fingerprint
from cloudslice.rtp.ice import IceCredentials

MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"
ORIENTATION_URI = "urn:3gpp:video-orientation"

_VIDEO_FEEDBACK = (("goog-remb", None), ("ccm", "fir"), ("nack", None), ("nack", "pli"))
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
class Offer:
    """What an anchor offers, and which of it we take."""

    ice: IceCredentials
    fingerprints: tuple[Fingerprint, ...]
    we_are_dtls_server: bool
    media: tuple[MediaPlan, ...]
    sections: tuple[tuple[str, str, str], ...] = field(repr=False)
    """Kind, mid and first format of every media section, those that we refuse too, in order."""


def parse_offer(text: str) -> Offer:
    """Read an offer.

    Raises:
        SdpError: it is not an SDP offer for WebRTC.
        UnusableOfferError: it sends neither Opus nor a video that we know, or not bundled.
    """
    try:
        description = SessionDescription.parse(text)
    except (AssertionError, AttributeError, LookupError, StopIteration, ValueError) as error:
        # aiortc's parser meets malformed lines with whatever its expressions raise.
        raise SdpError("the offer is not valid SDP") from error
    if not description.media:
        raise SdpError("the offer has no media section")
    media = _plan(description.media)
    first = next(section for section in description.media if section.rtp.muxId == media[0].mid)
    if len(media) > 1:
        bundles = [group.items for group in description.group if group.semantic == "BUNDLE"]
        if not any({plan.mid for plan in media} <= set(bundle) for bundle in bundles):
            raise UnusableOfferError("the offer's media sections are not bundled (RFC 8843)")
    if first.dtls is None or not first.dtls.fingerprints:
        raise SdpError("the offer has no a=setup or no a=fingerprint")
    if first.ice is None or not first.ice.usernameFragment or not first.ice.password:
        raise SdpError("the offer has no a=ice-ufrag or no a=ice-pwd")
    return Offer(
        ice=IceCredentials(first.ice.usernameFragment, first.ice.password),
        fingerprints=tuple(
            Fingerprint(each.algorithm.lower(), each.value) for each in first.dtls.fingerprints
        ),
        we_are_dtls_server=first.dtls.role != "server",
        media=media,
        sections=tuple(
            (section.kind, section.rtp.muxId, str(section.fmt[0])) for section in description.media
        ),
    )


def _plan(sections: Sequence[MediaDescription]) -> tuple[MediaPlan, ...]:
    plans: list[MediaPlan] = []
    free = {"audio": [TrackKind.AUDIO], "video": [TrackKind.VIDEO, TrackKind.AUX]}
    seen = set()
    for section in sections:
        if section.rtp.muxId in seen or not section.rtp.muxId:
            raise SdpError("each media section needs an a=mid of its own")
        seen.add(section.rtp.muxId)
        kinds = free.get(section.kind, [])
        codecs = tuple(codec for each in section.rtp.codecs if (codec := _usable(each)))
        sends = section.direction in (None, "sendonly", "sendrecv")
        if not kinds or not codecs or not sends or section.port == 0 or not section.rtcp_mux:
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
    if not plans:
        raise UnusableOfferError(
            "the offer sends nothing that can be received: audio must be Opus, video H.264 or VP8, "
            "with a=sendonly or a=sendrecv and a=rtcp-mux"
        )
    return tuple(plans)


def _usable(codec: RTCRtpCodecParameters) -> Codec | None:
    name = codec.mimeType.lower()
    parameters = {str(key).lower(): value for key, value in codec.parameters.items()}
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


def make_answer(
    offer: Offer,
    *,
    ice: IceCredentials,
    fingerprint: Fingerprint,
    candidates: Sequence[tuple[str, int]],
) -> str:
    """The answer that takes what `offer.media` plans.

    Args:
        ice: our side's ufrag and password.
        fingerprint: our certificate's.
        candidates: the addresses and UDP ports that we are reached at, the best one first.
    """
    taken = {plan.mid: plan for plan in offer.media}
    lines = [
        "v=0",
        f"o=- {secrets.randbits(62)} 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE " + " ".join(taken),
        "a=ice-lite",
        "a=msid-semantic: WMS *",
    ]
    for kind, mid, first_format in offer.sections:
        plan = taken.get(mid)
        if plan is None:
            protocol = "UDP/DTLS/SCTP" if kind == "application" else "UDP/TLS/RTP/SAVPF"
            lines += [
                f"m={kind} 0 {protocol} {first_format}",
                "c=IN IP4 0.0.0.0",
                "a=inactive",
                f"a=mid:{mid}",
            ]
        else:
            lines += _taken_section(plan, offer, ice, fingerprint, candidates)
    return "\r\n".join(lines) + "\r\n"


def _taken_section(
    plan: MediaPlan,
    offer: Offer,
    ice: IceCredentials,
    fingerprint: Fingerprint,
    candidates: Sequence[tuple[str, int]],
) -> list[str]:
    kind = "audio" if plan.kind is TrackKind.AUDIO else "video"
    formats = " ".join(str(codec.payload_type) for codec in plan.codecs)
    lines = [
        f"m={kind} 9 UDP/TLS/RTP/SAVPF {formats}",
        "c=IN IP4 0.0.0.0",
        "a=recvonly",
        f"a=mid:{plan.mid}",
        "a=rtcp-mux",
        "a=rtcp-rsize",
    ]
    lines += [f"a=extmap:{identifier} {uri}" for identifier, uri in plan.extensions]
    for codec in plan.codecs:
        channels = f"/{codec.channels}" if codec.channels else ""
        lines.append(f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_rate}{channels}")
        if text := _answer_parameters(codec):
            lines.append(f"a=fmtp:{codec.payload_type} {text}")
        lines += [
            f"a=rtcp-fb:{codec.payload_type} {name}{f' {value}' if value else ''}"
            for name, value in codec.feedback
        ]
    lines += [
        f"a=ice-ufrag:{ice.ufrag}",
        f"a=ice-pwd:{ice.password}",
        f"a=fingerprint:{fingerprint.algorithm} {fingerprint.value}",
        f"a=setup:{'passive' if offer.we_are_dtls_server else 'active'}",
    ]
    lines += candidate_lines(candidates)
    return lines


def candidate_lines(candidates: Sequence[tuple[str, int]]) -> list[str]:
    """Our host candidates (RFC 8839, 5.1), the first with the highest priority."""
    lines = []
    for rank, (host, port) in enumerate(candidates, start=1):
        priority = (126 << 24) + ((65535 - rank) << 8) + 255  # RFC 8445, 5.1.2.1
        lines.append(f"a=candidate:{rank} 1 udp {priority} {host} {port} typ host")
    return [*lines, "a=end-of-candidates"]


def _answer_parameters(codec: Codec) -> str:
    if codec.video is VideoCodec.H264:
        names = ("level-asymmetry-allowed", "packetization-mode", "profile-level-id")
        return ";".join(f"{name}={value}" for name in names if (value := codec.parameter(name)))
    if codec.video is VideoCodec.VP8:
        return ""
    # What the sender says that it would send (sprop-stereo), it may.
    stereo = ";stereo=1" if codec.parameter("sprop-stereo") == "1" else ""
    return f"minptime=10;useinbandfec=1{stereo}"
