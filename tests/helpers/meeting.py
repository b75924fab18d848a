"""A session and a peer that are connected in memory."""

from cloudslice.rtp.audio import AudioReceiver
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.dtls import DtlsCertificate
from cloudslice.rtp.ice import Address, parse_check
from cloudslice.rtp.sdp import parse_offer
from cloudslice.rtp.session import Session
from cloudslice.rtp.video import VideoReceiver

from cloudslice.media.tracks import TrackKind
from helpers.peer import ADDRESS, SERVER, Peer, shuttle
from helpers.rtp import RecordingSink, pack_source, refill
from helpers.slice_store import ManualClock

AUDIO, VIDEO = TrackKind.AUDIO, TrackKind.VIDEO
CERTIFICATE = DtlsCertificate()


class Meeting:
    """A session and its peer, with nothing but memory between them."""

    def __init__(self, peer: Peer | None = None, sink: RecordingSink | None = None) -> None:
        self.peer = peer or Peer()
        self.sink = sink
        self.clock = ManualClock()
        self.inbox: list[bytes] = []
        self.sent_to: list[Address] = []
        self.events: list[str] = []
        self._batch = Batch(1)
        self.session = Session(
            parse_offer(self.peer.offer),
            certificate=CERTIFICATE,
            send=self._send,
            wake=lambda session, at: None,
            clock=self.clock,
            max_video_bitrate_kbps=2500,
            consent_timeout_s=15,
            on_connected=self._on_connected,
            on_closed=lambda session, reason: self.events.append(reason.value),
        )
        self.peer.begin(self.session.answer([(SERVER[0], SERVER[1])]))

    def connect(self) -> "Meeting":
        shuttle(self.peer, self.deliver, self.inbox)
        assert self.peer.srtp is not None
        return self

    def deliver(self, *datagrams: bytes, source: Address = ADDRESS) -> None:
        """As the port would that reads them all at once."""
        batch = self._batch if len(datagrams) == 1 else Batch(len(datagrams))
        refill(batch, [(datagram, self.clock.now) for datagram in datagrams])
        for other in self.session.receive(batch, 0, pack_source(source)):
            if other[0] < 4:
                self.session.receive_check(parse_check(other), source)
            else:
                self.session.receive_dtls(other)

    def beat(self, seconds: float = 0.02) -> list[object]:
        """Let time pass, with beats; what the peer heard by RTCP."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += 0.02
            self.session.beat(self.clock.now)
        self.peer.rtcp.clear()
        shuttle(self.peer, self.deliver, self.inbox)
        return list(self.peer.rtcp)

    @property
    def audio(self) -> AudioReceiver:
        receiver = self.session.receivers[AUDIO]
        assert isinstance(receiver, AudioReceiver)
        return receiver

    @property
    def video(self) -> VideoReceiver:
        receiver = self.session.receivers[VIDEO]
        assert isinstance(receiver, VideoReceiver)
        return receiver

    def _on_connected(self, _session: Session) -> None:
        self.events.append("connected")
        if self.sink is not None:
            self.audio.add_sink(self.sink)

    def _send(self, datagram: bytes, address: Address) -> None:
        self.inbox.append(datagram)
        self.sent_to.append(address)
