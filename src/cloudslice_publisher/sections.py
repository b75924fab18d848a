"""The media sections that a publisher offers, one for each stream (RFC 9429)."""

import secrets
from dataclasses import dataclass

from cloudslice.codecs.codec import ORIENTATION_URI, Format
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.opus import OPUS
from cloudslice.codecs.vp8 import VP8
from cloudslice.ids import TrackKind
from cloudslice.webrtc.local_description import OfferedSection
from cloudslice.webrtc.media_attributes import Direction, HeaderExtension, Ssrc
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import AudioLoop, Media, VideoLoop

ORIENTATION_ID = 1
"""Of the header extension for rotation (RFC 8285)."""

# Different ones for both videos, as they may differ in codec and share a transport.
_PAYLOAD_TYPES = {TrackKind.AUDIO: 111, TrackKind.VIDEO: 96, TrackKind.AUX: 97}
_VIDEO_FEEDBACK = ("nack", "nack pli", "ccm fir", "goog-remb")
# H.264, table A-1: what level 3.1 ends at; 5.2 is enough for all else.
_LEVEL_31_MACROBLOCKS_PER_S = 108_000


@dataclass(frozen=True, slots=True)
class PlannedStream:
    """A stream, and the section that offers it."""

    kind: TrackKind
    loop: AudioLoop | VideoLoop
    section: OfferedSection


def plan_streams(media: Media, cname: str) -> tuple[PlannedStream, ...]:
    """The streams of `media`, with new random SSRCs, in sections 0, 1, 2."""
    loops: dict[TrackKind, AudioLoop | VideoLoop | None] = {
        TrackKind.AUDIO: media.audio,
        TrackKind.VIDEO: media.video,
        TrackKind.AUX: media.aux,
    }
    there = [(kind, loop) for kind, loop in loops.items() if loop is not None]
    return tuple(plan_stream(kind, loop, str(mid), cname) for mid, (kind, loop) in enumerate(there))


def plan_stream(
    kind: TrackKind, loop: AudioLoop | VideoLoop, mid: str, cname: str
) -> PlannedStream:
    """One stream in the section `mid`, with a new random SSRC. All of an anchor have one CNAME."""
    is_video = isinstance(loop, VideoLoop)
    section = OfferedSection(
        mid,
        "video" if is_video else "audio",
        Direction.SENDONLY,
        (_video_format(kind, loop.spec) if isinstance(loop, VideoLoop) else _audio_format(),),
        (HeaderExtension(ORIENTATION_ID, ORIENTATION_URI),) if is_video else (),
        (Ssrc(secrets.randbits(32), cname),),
        msid=f"{cname} {kind.value}",
    )
    return PlannedStream(kind, loop, section)


def _audio_format() -> Format:
    return Format(
        _PAYLOAD_TYPES[TrackKind.AUDIO],
        OPUS.name,
        OPUS.clock_rate,
        OPUS.channels,
        (("minptime", "10"), ("useinbandfec", "1")),
        ("nack",),
    )


def _video_format(kind: TrackKind, spec: VideoSpec) -> Format:
    number = _PAYLOAD_TYPES[kind]
    if spec.codec is VP8:
        return Format(number, VP8.name, VP8.clock_rate, feedback=_VIDEO_FEEDBACK)
    parameters = (
        ("level-asymmetry-allowed", "1"),
        ("profile-level-id", _profile_level_id(spec)),
        ("packetization-mode", "1"),
    )
    return Format(number, H264.name, H264.clock_rate, None, parameters, _VIDEO_FEEDBACK)


def _profile_level_id(spec: VideoSpec) -> str:
    """Constrained baseline at a level that allows the size (RFC 6184, 8.1)."""
    macroblocks_per_s = (spec.width + 15) // 16 * ((spec.height + 15) // 16) * spec.fps
    return "42e01f" if macroblocks_per_s <= _LEVEL_31_MACROBLOCKS_PER_S else "42e034"
