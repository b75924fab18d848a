"""One stream of an anchor: what its loop has due, as packets."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cloudslice.codecs.codec import ORIENTATION_URI
from cloudslice.ids import TrackKind
from cloudslice.webrtc.negotiation import NegotiatedSection
from cloudslice_publisher.media import AudioLoop
from cloudslice_publisher.playback import (
    AUDIO_CLOCK_RATE,
    VIDEO_CLOCK_RATE,
    AudioPlayback,
    VideoPlayback,
)
from cloudslice_publisher.sections import PlannedStream
from cloudslice_publisher.stream import RtpStream


@dataclass(slots=True)
class SendStats:
    """What was sent and what the receiver said of it, since the publisher began."""

    packets_sent: int = 0
    """RTP, with those retransmitted."""
    bytes_sent: int = 0
    """SRTP packets, without UDP and IP headers."""
    packets_lost: int = 0
    """RTP packets that were dropped here: by a simulated loss, or by a full send buffer."""
    packets_nacked: int = 0
    keyframes_wanted: int = 0
    """PLI and FIR received."""
    feedback_refused: int = 0
    """RTCP received that was malformed."""
    remb_kbps: int | None = None
    """The bitrate that the receiver wants at most; replayed media cannot follow it."""
    round_trip_s: float | None = None
    fraction_lost: float = 0
    """What the receiver missed lately, 0..1."""


class Sender(ABC):
    """Makes the packets of one stream, when they are due."""

    def __init__(self, kind: TrackKind, stream: RtpStream) -> None:
        self.kind = kind
        self._stream = stream

    @property
    def ssrc(self) -> int:
        return self._stream.ssrc

    @property
    @abstractmethod
    def is_muted(self) -> bool:
        """While set, nothing is sent; time goes on."""

    @is_muted.setter
    @abstractmethod
    def is_muted(self, value: bool) -> None: ...

    @abstractmethod
    def due(self, now: float) -> Iterator[bytes]:
        """The SRTP packets that are due at monotonic second `now`."""

    @abstractmethod
    def request_keyframe(self) -> None:
        """Continue with a key frame; means nothing to audio."""

    def sent_before(self, sequence: int) -> bytes | None:
        """The SRTP packet of that sequence number, if it was not sent too long ago."""
        return self._stream.sent_before(sequence)

    def report(self, now: float, utc_ms: float) -> bytes | None:
        """A sender report, or None before the first packet. See RtpStream.report."""
        return self._stream.report(now, utc_ms)


class AudioSender(Sender):
    """Plays Opus; the marker bit is set where sound begins (RFC 7587, 4.2)."""

    def __init__(self, stream: RtpStream, playback: AudioPlayback) -> None:
        super().__init__(TrackKind.AUDIO, stream)
        self._playback = playback

    @property
    def is_muted(self) -> bool:
        return self._playback.is_muted

    @is_muted.setter
    def is_muted(self, value: bool) -> None:
        self._playback.is_muted = value

    def due(self, now: float) -> Iterator[bytes]:
        for packet, ticks, is_talkspurt in self._playback.due(now):
            yield self._stream.packet(packet, ticks, marker=is_talkspurt)

    def request_keyframe(self) -> None:
        pass


class VideoSender(Sender):
    """Plays video; key frames carry the rotation on their last packet, as browsers do."""

    def __init__(
        self, kind: TrackKind, stream: RtpStream, playback: VideoPlayback, orientation: bytes
    ) -> None:
        super().__init__(kind, stream)
        self._playback = playback
        self._orientation = orientation

    @property
    def is_muted(self) -> bool:
        return self._playback.is_muted

    @is_muted.setter
    def is_muted(self, value: bool) -> None:
        self._playback.is_muted = value

    def due(self, now: float) -> Iterator[bytes]:
        for frame, ticks in self._playback.due(now):
            last = len(frame.payloads) - 1
            for index, payload in enumerate(frame.payloads):
                extension = self._orientation if frame.is_keyframe and index == last else b""
                yield self._stream.packet(payload, ticks, marker=index == last, extension=extension)

    def request_keyframe(self) -> None:
        self._playback.request_keyframe()


def make_sender(
    planned: PlannedStream,
    agreed: NegotiatedSection,
    *,
    start: float,
    offset_s: float,
    rotation: int = 0,
    protect: Callable[[bytes], bytes],
) -> Sender:
    """The sender of one stream that the server takes.

    Args:
        planned: what was offered.
        agreed: what the answer has left of it.
        start: monotonic second of the first packet.
        offset_s: where in the loop to begin.
        rotation: clockwise degrees that receivers must turn video by.
        protect: RTP to SRTP.
    """
    loop = planned.loop
    [ssrc] = planned.section.ssrcs
    stream = RtpStream(
        payload_type=agreed.formats[0].payload_type,
        ssrc=ssrc.number,
        clock_rate=AUDIO_CLOCK_RATE if isinstance(loop, AudioLoop) else VIDEO_CLOCK_RATE,
        start=start,
        cname=ssrc.cname,
        protect=protect,
    )
    if isinstance(loop, AudioLoop):
        return AudioSender(stream, AudioPlayback(loop, start=start, offset_s=offset_s))
    identifier = agreed.extension_id(ORIENTATION_URI)
    orientation = b""
    if rotation and identifier is not None:
        orientation = orientation_extension(identifier, rotation)
    playback = VideoPlayback(loop, start=start, offset_s=offset_s)
    return VideoSender(planned.kind, stream, playback, orientation)


def orientation_extension(identifier: int, rotation: int) -> bytes:
    """The header extension (RFC 8285, 4.2) with a video orientation (3GPP TS 26.114, 7.4.5).

    Args:
        identifier: 1..14.
        rotation: 0, 90, 180 or 270 degrees.
    """
    element = bytes([identifier << 4, rotation // 90])
    return b"\xbe\xde" + (1).to_bytes(2) + element + b"\x00\x00"
