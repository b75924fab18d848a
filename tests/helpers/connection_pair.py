"""Two peer connections on loopback sockets, one of which sends many anchors' media.

Time is the test's: it is moved in steps of 20 ms, in each of which both sides read and send.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from cloudslice.codecs.vp8 import VP8
from cloudslice.ids import TrackKind
from cloudslice.media.tracks import Keyframe, OpusRun
from cloudslice.webrtc.accepting import ReceivePolicy
from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.connection_user import CloseReason, ConnectionOptions, ConnectionState
from cloudslice.webrtc.dtls import DtlsCertificate
from cloudslice.webrtc.local_description import OfferedSection
from cloudslice.webrtc.media_attributes import Direction
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.remote_description import parse_remote_description
from cloudslice.webrtc.udp.addresses import AddressRules
from cloudslice.webrtc.udp.port import PortOptions, UdpPort
from cloudslice.webrtc.video_receiver import VideoReceiver
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import AudioLoop, PacketizedFrame, VideoLoop
from cloudslice_publisher.packetizer import packetize
from cloudslice_publisher.sections import PlannedStream, plan_stream
from cloudslice_publisher.sender import Sender, SendStats, make_sender
from cloudslice_publisher.senders import Senders
from helpers.slice_store import ManualClock

STEP_S = 0.02
_CONNECT_STEPS = 250
_CERTIFICATE = DtlsCertificate()
_PORT = PortOptions(slots=1024, receive_buffer=4 << 20)
_CELT_20_MS = b"\xf8"
_VIDEO = VideoSpec(VP8, 320, 240, fps=30)


class _Port(UdpPort):
    """Its cable can be cut."""

    is_cut = False
    largest = 0
    """Bytes of the largest datagram that was sent."""

    def send(self, data: bytes, path: bytes) -> None:
        self.largest = max(self.largest, len(data))
        if not self.is_cut:
            super().send(data, path)


class End:
    """One side, and what its user heard."""

    def __init__(self, clock: ManualClock, *, is_lite: bool, is_controlling: bool) -> None:
        policy = ReceivePolicy(
            {"audio": 25, "video": 25},
            max_video_bitrate_kbps=2500,
            we_are_ice_lite=is_lite,
            needs_media=False,
        )
        options = ConnectionOptions(policy, consent_timeout_s=10, is_controlling=is_controlling)
        self.heard: list[str] = []
        self.failure = ""
        self.port = _Port(0, AddressRules(("127.0.0.1",)), clock, _PORT)
        self.connection = PeerConnection(self.port, _CERTIFICATE, options, self, clock)

    def on_connected(self) -> None:
        self.heard.append("connected")

    def on_closed(self, reason: CloseReason, failure: str) -> None:
        self.heard.append(reason.value)
        self.failure = failure


class Sink:
    """An AudioSink that keeps all packets."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.restarts = 0
        self.sender_times = 0

    def on_opus(self, run: OpusRun) -> None:
        self.packets += run.packets()

    def on_restart(self) -> None:
        self.restarts += 1

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        self.sender_times += 1


@dataclass
class Anchor:
    """Whose media is sent.

    Attributes:
        sent: the Opus packets that left, in order.
        sink: what came of them.
        keyframe: what each key frame of its is.
    """

    name: str
    streams: tuple[PlannedStream, PlannedStream]
    keyframe: bytes
    sent: list[bytes] = field(default_factory=list)
    sink: Sink = field(default_factory=Sink)
    senders: list[Sender] = field(default_factory=list)
    is_paused: bool = False
    is_removed: bool = False

    @property
    def sections(self) -> Iterator[OfferedSection]:
        for stream in self.streams:
            direction = Direction.INACTIVE if self.is_paused else Direction.SENDONLY
            yield replace(stream.section, direction=direction, is_removed=self.is_removed)

    @property
    def mids(self) -> tuple[str, str]:
        audio, video = self.streams
        return audio.section.mid, video.section.mid


def make_anchor(name: str, mids: Sequence[str]) -> Anchor:
    """An anchor whose audio and video are like nobody else's."""
    packets = tuple(_CELT_20_MS + f"{name} {number}".encode() for number in range(1000))
    keyframe = b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00" + name.encode() * 1500
    delta = b"\x11\x00\x00" + name.encode()
    frames = [PacketizedFrame(packetize(VP8, keyframe), True)]
    frames += [PacketizedFrame(packetize(VP8, delta), False)] * 29
    audio, video = mids
    return Anchor(
        name,
        (
            plan_stream(TrackKind.AUDIO, AudioLoop(packets), audio, name),
            plan_stream(TrackKind.VIDEO, VideoLoop(_VIDEO, tuple(frames)), video, name),
        ),
        keyframe,
    )


class ConnectionPair:
    """A sender that offers, full and controlling, and a receiver that answers.

    Args:
        is_lite: whether the receiver is ICE-lite.
    """

    def __init__(self, *, is_lite: bool) -> None:
        self.clock = ManualClock()
        self.sender = End(self.clock, is_lite=False, is_controlling=True)
        self.receiver = End(self.clock, is_lite=is_lite, is_controlling=False)
        self.stats = SendStats()
        self.anchors: list[Anchor] = []
        """In the places of their sections."""
        self.senders = Senders(self.sender.connection, self.stats, self.clock)

    def close(self) -> None:
        for end in (self.sender, self.receiver):
            end.port.close()

    def add(self, *names: str) -> list[Anchor]:
        """New anchors with new sections behind those that there are."""
        added = []
        for name in names:
            first = 2 * len(self.anchors)
            added.append(make_anchor(name, (str(first), str(first + 1))))
            self.anchors += added[-1:]
        return added

    def put_in_place_of(self, former: Anchor, name: str, *, mids: Sequence[str] = ()) -> Anchor:
        """Another anchor in the place of a former one, by its mids or others."""
        anchor = make_anchor(name, mids or former.mids)
        self.anchors[self.anchors.index(former)] = anchor
        self._silence(former)
        return anchor

    def negotiate(self, *, restarts_ice: bool = False) -> None:
        """Offer what there is now, and go by the answer."""
        sections = [each for anchor in self.anchors for each in anchor.sections]
        offer = parse_remote_description(
            self.sender.connection.offer(sections, restarts_ice=restarts_ice)
        )
        answer = parse_remote_description(self.receiver.connection.answer(offer))
        self.sender.connection.accept(answer)
        for anchor in self.anchors:
            if anchor.is_removed:
                self._silence(anchor)
            for sender in anchor.senders:
                sender.is_muted = anchor.is_paused
            receiver = self.receiver.connection.streams.receivers.get(anchor.mids[0])
            if isinstance(receiver, AudioReceiver):
                receiver.remove_sink(anchor.sink)
                receiver.add_sink(anchor.sink)
        if self.sender.connection.state is ConnectionState.CONNECTED:
            self._begin()

    def connect(self) -> None:
        """Negotiate, and let time pass until both sides are connected."""
        self.negotiate()
        for _ in range(_CONNECT_STEPS):
            if all(each.connection.state is ConnectionState.CONNECTED for each in self._ends):
                self._begin()
                return
            self._step()
        raise AssertionError(f"not connected: {self.sender.failure} {self.receiver.failure}")

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / STEP_S)):
            self._step()

    def hand_out(self) -> None:
        """Have all audio handed out that has come, waiting for nothing that is missing."""
        self.receiver.port.catch_up([self.receiver.connection.peer])

    def keyframes(self, anchors: Sequence[Anchor], within_s: float) -> list[Keyframe]:
        """One key frame of each anchor's video, asked for now."""
        found: dict[int, Keyframe] = {}
        for index, anchor in enumerate(anchors):
            receiver = self.receiver.connection.streams.receivers[anchor.mids[1]]
            assert isinstance(receiver, VideoReceiver)
            receiver.request_keyframe(
                lambda keyframe, index=index: found.setdefault(index, keyframe), self.clock.now
            )
        self.run(within_s)
        return [found[index] for index in range(len(anchors))]

    @property
    def _ends(self) -> tuple[End, End]:
        return self.sender, self.receiver

    def _step(self) -> None:
        self.clock.now += STEP_S
        now = self.clock.now
        self.sender.port.tick(now)
        if self.sender.connection.state is ConnectionState.CONNECTED:
            self.senders.send_due(now)
        self.receiver.port.tick(now)

    def _begin(self) -> None:
        """Send what is agreed on and not sent yet."""
        negotiation, srtp = (
            self.sender.connection.negotiation,
            self.sender.connection.transport.srtp,
        )
        assert negotiation is not None
        assert srtp is not None
        agreed = {each.mid: each for each in negotiation.taken if each.direction.sends}
        for anchor in self.anchors:
            if anchor.senders or anchor.mids[0] not in agreed:
                continue

            def protect(packet: bytes, anchor: Anchor = anchor) -> bytes:
                if packet[1] & 0x7F == 111:
                    anchor.sent.append(packet[12:])
                return srtp.protect(packet)

            anchor.senders = [
                make_sender(
                    stream,
                    agreed[stream.section.mid],
                    start=self.clock.now,
                    offset_s=0,
                    protect=protect,
                )
                for stream in anchor.streams
            ]
            self.senders.add(anchor.senders)

    def _silence(self, anchor: Anchor) -> None:
        for sender in anchor.senders:
            self.senders.remove(sender)
        anchor.senders = []
