"""A peer connection and a peer, with nothing but memory and a clock moved by hand between them."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from cloudslice.clock import Clock
from cloudslice.codecs.catalog import CATALOG
from cloudslice.codecs.codec import Catalog
from cloudslice.ids import TrackKind
from cloudslice.tick import PERIOD_S
from cloudslice.webrtc.accepting import ReceivePolicy
from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.connection_user import CloseReason, ConnectionOptions
from cloudslice.webrtc.dtls import DtlsCertificate
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.remote_description import parse_remote_description
from cloudslice.webrtc.udp.addresses import AddressRules
from cloudslice.webrtc.udp.paths import Path, make_path
from cloudslice.webrtc.udp.port import UdpPort
from cloudslice.webrtc.video_receiver import VideoReceiver
from helpers.peer import ADDRESS, Peer, shuttle
from helpers.rtp import RecordingSink
from helpers.slice_store import ManualClock

R = TypeVar("R", AudioReceiver, VideoReceiver)

AUDIO, VIDEO, AUX = TrackKind.AUDIO, TrackKind.VIDEO, TrackKind.AUX
CERTIFICATE = DtlsCertificate()
HOME = make_path(*ADDRESS)
"""The path of the peer."""
OPTIONS = ConnectionOptions(
    ReceivePolicy({"audio": 1, "video": 2}, max_video_bitrate_kbps=2500), consent_timeout_s=15
)


class MemoryPort(UdpPort):
    """A port whose datagrams come from the test, and stay here."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(0, AddressRules(("198.51.100.1",)), clock)
        self.sent: list[tuple[bytes, Path]] = []

    def send(self, data: bytes, path: Path) -> None:
        self.sent.append((data, path))

    def deliver(self, *datagrams: bytes, path: Path = HOME, arrival: float | None = None) -> None:
        """As if they had been read at once."""
        now = self._clock.monotonic()
        for each in datagrams:
            assert self._native.put(each, path, now if arrival is None else arrival)
        self._process(now)
        self._native.clear()


class Meeting:
    """A connection and its peer; the connection's user, too."""

    def __init__(self, peer: Peer | None = None, catalog: Catalog = CATALOG) -> None:
        self.peer = peer or Peer()
        self.clock = ManualClock()
        self.port = MemoryPort(self.clock)
        self.sink = RecordingSink()
        self.events: list[str] = []
        self.failures: list[str] = []
        options = replace(OPTIONS, policy=replace(OPTIONS.policy, catalog=catalog))
        self.connection = PeerConnection(self.port, CERTIFICATE, options, self, self.clock)
        self.peer.begin(self.connection.answer(parse_remote_description(self.peer.offer)))
        for each in self.connection.streams.receivers.values():
            if isinstance(each, AudioReceiver):
                each.add_sink(self.sink)

    def on_connected(self) -> None:
        self.events.append("connected")

    def on_closed(self, reason: CloseReason, failure: str) -> None:
        self.events.append(reason.value)
        self.failures.append(failure)

    def connect(self) -> "Meeting":
        self.exchange()
        assert self.peer.srtp is not None
        self.clock.now += 0.01
        return self

    def exchange(self, path: Path = HOME) -> None:
        """Carry datagrams to and fro until both sides are silent."""
        while self.peer.outbox or self.port.sent:
            inbox = [data for data, _path in self.port.sent]
            self.port.sent.clear()
            shuttle(self.peer, lambda data: self.port.deliver(data, path=path), inbox)

    def deliver(self, *datagrams: bytes, path: Path = HOME, arrival: float | None = None) -> None:
        """As the port would that reads them all at once."""
        self.port.deliver(*datagrams, path=path, arrival=arrival)

    def heard(self) -> list[bytes]:
        """The payloads of all Opus packets that have come so far."""
        self.port.flush(self.connection.peer)
        return self.sink.payloads

    def wait(self, seconds: float = PERIOD_S) -> list[object]:
        """Let time pass, with ticks; what the peer heard by RTCP."""
        self.peer.rtcp.clear()
        end = self.clock.now + seconds
        while self.clock.now < end - 1e-9:
            self.clock.now = min(end, self.clock.now + PERIOD_S)
            self.port.tick(self.clock.now)
        self.exchange()
        return list(self.peer.rtcp)

    @property
    def audio(self) -> AudioReceiver:
        return self._first(AudioReceiver)

    @property
    def video(self) -> VideoReceiver:
        return self._first(VideoReceiver)

    def _first(self, kind: type[R]) -> R:
        receivers = self.connection.streams.receivers.values()
        return next(each for each in receivers if isinstance(each, kind))


@contextlib.contextmanager
def meeting(peer: Peer | None = None, catalog: Catalog = CATALOG) -> Iterator[Meeting]:
    """Not connected yet; closed in the end."""
    made = Meeting(peer, catalog)
    with contextlib.closing(made.port):
        yield made
