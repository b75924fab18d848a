"""The offer of a publisher, and what it needs to know of the answer (RFC 9429)."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from aiortc.sdp import MediaDescription, SessionDescription

from cloudslice.media.tracks import TrackKind, VideoCodec
from cloudslice.rtp.dtls import Fingerprint
from cloudslice.rtp.ice import Address, IceCredentials
from cloudslice.rtp.sdp import ORIENTATION_URI
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import Media, VideoLoop

ORIENTATION_ID = 1
"""Of the header extension for rotation (RFC 8285)."""

# Different ones for both videos, as they may differ in codec and share a transport.
_PAYLOAD_TYPES = {TrackKind.AUDIO: 111, TrackKind.VIDEO: 96, TrackKind.AUX: 97}
_VIDEO_FEEDBACK = ("nack", "nack pli", "ccm fir", "goog-remb")
# H.264, table A-1: what level 3.1 ends at; 5.2 is enough for all else.
_LEVEL_31_MACROBLOCKS_PER_S = 108_000


class AnswerError(Exception):
    """An answer that cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class OfferedStream:
    """A media section of the offer."""

    kind: TrackKind
    mid: str
    payload_type: int
    ssrc: int
    codec_lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """How to reach the server, and which streams (by mid) it takes."""

    ice: IceCredentials
    fingerprints: tuple[Fingerprint, ...]
    we_are_dtls_server: bool
    candidates: tuple[Address, ...]
    accepted: frozenset[str]


def plan_streams(media: Media) -> tuple[OfferedStream, ...]:
    """The media sections for `media`, with new random SSRCs."""
    loops = {TrackKind.AUDIO: media.audio, TrackKind.VIDEO: media.video, TrackKind.AUX: media.aux}
    streams: list[OfferedStream] = []
    for kind, payload_type in _PAYLOAD_TYPES.items():
        loop = loops[kind]
        if loop is None:
            continue
        if isinstance(loop, VideoLoop):
            lines = _video_lines(loop.spec, payload_type)
        else:
            lines = _audio_lines(payload_type)
        mid = str(len(streams))
        streams.append(OfferedStream(kind, mid, payload_type, secrets.randbits(32), lines))
    return tuple(streams)


def make_offer(
    streams: Iterable[OfferedStream],
    *,
    ice: IceCredentials,
    fingerprint: Fingerprint,
    cname: str,
) -> str:
    """The offer that sends `streams`, all bundled on one transport."""
    streams = tuple(streams)
    lines = [
        "v=0",
        f"o=- {secrets.randbits(62)} 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE " + " ".join(stream.mid for stream in streams),
        "a=msid-semantic: WMS *",
    ]
    for stream in streams:
        media_kind = "audio" if stream.kind is TrackKind.AUDIO else "video"
        lines += [
            f"m={media_kind} 9 UDP/TLS/RTP/SAVPF {stream.payload_type}",
            "c=IN IP4 0.0.0.0",
            "a=sendonly",
            f"a=mid:{stream.mid}",
            f"a=msid:{cname} {stream.kind.value}",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            f"a=ice-ufrag:{ice.ufrag}",
            f"a=ice-pwd:{ice.password}",
            f"a=fingerprint:{fingerprint.algorithm} {fingerprint.value}",
            "a=setup:actpass",
            *stream.codec_lines,
            f"a=ssrc:{stream.ssrc} cname:{cname}",
        ]
    return "\r\n".join(lines) + "\r\n"


def parse_answer(text: str) -> Answer:
    """Read the server's answer.

    Raises:
        AnswerError: it is not SDP, takes nothing, or does not say how to reach the server by UDP.
    """
    try:
        description = SessionDescription.parse(text)
    except (AssertionError, AttributeError, LookupError, StopIteration, ValueError) as error:
        # aiortc's parser meets malformed lines with whatever its expressions raise.
        raise AnswerError("the answer is not valid SDP") from error
    taken = [section for section in description.media if _is_taken(section)]
    if not taken:
        raise AnswerError("the server takes none of the streams")
    first = taken[0]
    if first.ice is None or not first.ice.usernameFragment or not first.ice.password:
        raise AnswerError("the answer has no a=ice-ufrag or no a=ice-pwd")
    if first.dtls is None or not first.dtls.fingerprints:
        raise AnswerError("the answer has no a=setup or no a=fingerprint")
    candidates = tuple(
        (candidate.ip, candidate.port)
        for candidate in first.ice_candidates
        if candidate.protocol.lower() == "udp" and candidate.component == 1
    )
    if not candidates:
        raise AnswerError("the answer has no UDP candidate")
    return Answer(
        ice=IceCredentials(first.ice.usernameFragment, first.ice.password),
        fingerprints=tuple(
            Fingerprint(each.algorithm.lower(), each.value) for each in first.dtls.fingerprints
        ),
        we_are_dtls_server=first.dtls.role == "client",
        candidates=candidates,
        accepted=frozenset(section.rtp.muxId for section in taken),
    )


def _is_taken(section: MediaDescription) -> bool:
    return section.port != 0 and section.direction in (None, "recvonly", "sendrecv")


def _audio_lines(payload_type: int) -> tuple[str, ...]:
    return (
        f"a=rtpmap:{payload_type} opus/48000/2",
        f"a=fmtp:{payload_type} minptime=10;useinbandfec=1",
        f"a=rtcp-fb:{payload_type} nack",
    )


def _video_lines(spec: VideoSpec, payload_type: int) -> tuple[str, ...]:
    common = (
        f"a=extmap:{ORIENTATION_ID} {ORIENTATION_URI}",
        *(f"a=rtcp-fb:{payload_type} {name}" for name in _VIDEO_FEEDBACK),
    )
    if spec.codec is VideoCodec.VP8:
        return (f"a=rtpmap:{payload_type} VP8/90000", *common)
    parameters = f"profile-level-id={_profile_level_id(spec)};packetization-mode=1"
    return (
        f"a=rtpmap:{payload_type} H264/90000",
        f"a=fmtp:{payload_type} level-asymmetry-allowed=1;{parameters}",
        *common,
    )


def _profile_level_id(spec: VideoSpec) -> str:
    """Constrained baseline at a level that allows the size (RFC 6184, 8.1)."""
    macroblocks_per_s = (spec.width + 15) // 16 * ((spec.height + 15) // 16) * spec.fps
    return "42e01f" if macroblocks_per_s <= _LEVEL_31_MACROBLOCKS_PER_S else "42e034"
