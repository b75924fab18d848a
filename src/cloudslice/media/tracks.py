"""What every transport offers to slicing: an anchor's tracks.

A transport knows nothing of slicing: it pushes Opus packets into sinks and answers requests for
key frames. All calls are plain synchronous calls on the event loop, so that a packet goes from the
socket to its slice without a queue or a task on its way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol, Self


class Colors(NamedTuple):
    """How YUV stands for colours."""

    matrix: int
    """MatrixCoefficients of ITU-T H.273, table 4: 1 is BT.709, 6 is BT.601."""
    is_full_range: bool


class Decoding(NamedTuple):
    """How a codec's key frames become pictures: plain values, which a picture process gets."""

    decoder: str
    """FFmpeg's name of the decoder: ASCII, 16 characters at most."""
    default_colors: Colors
    """The colours where nothing says them."""
    bitstream_tells_colors: bool
    """Whether what the decoder says of colours holds; else `default_colors` do."""
    has_layers: bool = False
    """Whether the decoder may give a frame for each layer of a picture. The last one is the best,
    and needs those before it."""

    def of_colors(self, colors: Colors) -> Self:
        """The same of a key frame whose colours are told apart from its bitstream."""
        return self._replace(default_colors=colors, bitstream_tells_colors=False)


class Levels(NamedTuple):
    """What an anchor says of how loud some packets of it are (RFC 6464). They are of one length."""

    packets: int
    """How many it says it of; at least one."""
    voiced: int
    """How many of these it takes for voice."""
    peak: int
    """The loudest one's level, in -dBov: 0 is the loudest that there is, 127 silence."""
    energy: float
    """The sum of 10^(-level/10)."""


class OpusRun(NamedTuple):
    """Opus packets (RFC 6716) of one anchor that follow each other without a gap.

    Two and more of them have one frame each (code 0), the same TOC byte and so the same duration,
    timestamps that go on without a gap, and they were received about as regularly. One alone may
    be anything that is not empty.
    """

    data: bytes
    """The packets as the anchor's encoder made them, joined."""
    sizes: Sequence[int]
    """Bytes of each."""
    timestamp: int
    """Of the first packet: RTP ticks of 48 kHz, extended beyond 32 bits: it never wraps."""
    arrival: float
    """Monotonic second at which the first packet was received."""
    last_arrival: float
    """...and the last one."""
    earliest: float
    """When the first packet would have been received, had it been as quick as the quickest: the
    least of each packet's arrival less the audio between the first packet's start and its own."""
    lost: int = 0
    """Packets that were to come before it, and after the run before it, and never came."""
    levels: Levels | None = None
    """How loud the packets are, if the anchor says it."""

    @classmethod
    def of_one(cls, packet: bytes, timestamp: int, arrival: float) -> Self:
        """A run of a single packet."""
        return cls(packet, (len(packet),), timestamp, arrival, arrival, arrival)

    def packets(self) -> Iterator[bytes]:
        """Each of the packets."""
        start = 0
        for size in self.sizes:
            yield self.data[start : start + size]
            start += size


class AudioSink(Protocol):
    """Receives one anchor's audio. Called on the event loop; must not block or raise."""

    def on_opus(self, run: OpusRun) -> None:
        """The next Opus packets, in order, each at most once; missing ones never come.

        Timestamps may step in either direction between runs when the sender's clock jumps, and
        when its SSRC changes; then `on_restart` is called before the first packet.
        """
        ...

    def on_restart(self) -> None:
        """The next packet's timestamp has no relation to the ones before."""
        ...

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        """The sender says (RTCP sender report) that extended `timestamp` was at its `utc_ms`."""
        ...


@dataclass(frozen=True, slots=True)
class Keyframe:
    """One intact key frame: every packet of it arrived.

    Attributes:
        decoding: how `data` becomes a picture.
        data: as the decoder takes it alone. H.264 and H.265: an Annex B access unit with its
            parameter sets; VP8: the frame; VP9: the frame, or a superframe of a picture's layers;
            AV1: a temporal unit of OBUs with their sizes.
        arrival: monotonic second at which the frame's first packet was received.
        rotation: clockwise degrees to turn the picture by before showing it: 0, 90, 180, 270.
    """

    decoding: Decoding
    data: bytes
    arrival: float
    rotation: int


Description = Mapping[str, int | str]
"""What is told of a key frame with its picture: names as in the object's metadata."""

KeyframeReceiver = Callable[[Keyframe], None]
"""Called once, on the event loop, with the key frame that was asked for."""


class NoKeyframeReason(Enum):
    """Why a key frame that was asked for has not come."""

    SILENT = "silent"
    """The sender sends no video."""
    LOST = "lost"
    """Key frames come, but packets of them are missing for good."""
    INTRA_REFRESH = "intra refresh"
    """The sender renews its pictures piece by piece and makes no key frames."""
    NO_ANSWER = "no answer"
    """Video flows undamaged, and the sender does not answer."""


class KeyframeRequest(Protocol):
    """A request for one key frame, open until it is fulfilled or cancelled."""

    def cancel(self) -> None:
        """Withdraw the request; harmless when it is fulfilled already."""
        ...


class AudioTrack(Protocol):
    """An anchor's audio."""

    def add_sink(self, sink: AudioSink) -> None:
        """Send every packet from now on to `sink`, until `remove_sink`."""
        ...

    def remove_sink(self, sink: AudioSink) -> None:
        """Stop sending to `sink`; harmless when it is not there."""
        ...


class VideoTrack(Protocol):
    """An anchor's video: asked for single key frames, never listened to."""

    @property
    def flowing(self) -> bool:
        """Whether the anchor has sent video in the last two seconds."""
        ...

    def request_keyframe(
        self, receiver: KeyframeReceiver, due: float, *, max_age_s: float = 0
    ) -> KeyframeRequest:
        """Give `receiver` the first intact key frame that arrives from now on, or at once one that
        was kept, if it arrived less than `max_age_s` seconds before `due`.

        A key frame that comes on its own before `due` (monotonic second) is taken; from `due` on
        the sender is asked for one, again and again. Requests that are open at the same time share
        one key frame.
        """
        ...

    def describe(self, keyframe: Keyframe) -> Description:
        """What is known of a key frame that has just come, beside what it says itself."""
        ...
