"""A receiver of one media section on the real native library, and what it asks of its sender."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from aiortc.rtp import RtcpPacket, RtcpPsfbPacket, RtcpRtpfbPacket

from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.native.native_events import Missing, Packet, Run
from cloudslice.webrtc.native.native_port import StreamKind
from cloudslice.webrtc.receiver import Receiver, ReceiverHooks
from cloudslice.webrtc.rtcp import ReportBlock
from cloudslice.webrtc.video_receiver import VideoReceiver
from helpers.native_peer import Receiving
from helpers.slice_store import ManualClock

OUR_SSRC = 7
TICK_S = 0.08


class Nack(NamedTuple):
    ssrc: int
    sequences: list[int]


class Pli(NamedTuple):
    ssrc: int
    at: float


@dataclass
class ReceivedMedia:
    """What a peer connection does for a receiver: hands it what comes, and calls it on ticks."""

    make: Callable[[ReceiverHooks], Receiver]
    clock: ManualClock = field(default_factory=ManualClock)
    deadline: float = float("inf")
    feedback: list[Nack | Pli] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.receiving = Receiving()
        hooks = ReceiverHooks(self._send, self._wake, self.clock.monotonic)
        self.receiver = self.make(hooks)
        self._track = 0

    def close(self) -> None:
        self.receiving.close()

    def adopt(self, ssrc: int) -> None:
        """The receiver's SSRC is this one from now on."""
        self.process()
        self.take(self.receiving.flush())
        former = self.receiver.release()
        if former is not None:
            former.close()
        self._track += 1
        stream = self.receiving.peer.add_stream(
            ssrc,
            self._track,
            StreamKind.VIDEO if isinstance(self.receiver, VideoReceiver) else StreamKind.AUDIO,
            clock_rate=self.receiver.clock_rate,
            payload_types=self.receiver.payload_types,
            attempts=self.receiver.attempts,
            patience_s=self.receiver.patience_s,
            level_id=self.receiver.level_id,
        )
        self.receiver.adopt(stream)

    def put(self, *packets: bytes) -> None:
        """Have protected packets come now."""
        self.receiving.put(*packets, arrival=self.clock.now)

    def process(self) -> None:
        self.take(self.receiving.process(now=self.clock.now))

    def take(self, events: Iterable[object]) -> None:
        for event in events:
            if isinstance(event, Packet) and isinstance(self.receiver, VideoReceiver):
                self.receiver.on_packet(event.packet)
            elif isinstance(event, Run) and isinstance(self.receiver, AudioReceiver):
                self.receiver.on_run(event.run)
            elif isinstance(event, Missing):
                self.receiver.ask_again(event.sequences)

    def tick(self) -> None:
        """Read, and send what is due, as a connection does on each tick."""
        self.process()
        if self.clock.now >= self.deadline or self._is_report_due():
            self.receiver.send_due(self.clock.now)
            self.deadline = self.receiver.next_deadline

    def run(self, until: float, on_tick: Callable[[float], None] = lambda _now: None) -> None:
        """Ticks until that second."""
        while self.clock.now < until - 1e-9:
            on_tick(self.clock.now)
            self.tick()
            self.clock.now = round(self.clock.now + TICK_S, 6)

    @property
    def plis(self) -> list[float]:
        """When the sender was asked for key frames."""
        return [each.at for each in self.feedback if isinstance(each, Pli)]

    @property
    def nacked(self) -> list[int]:
        """16-bit sequence numbers that were asked for."""
        return [s for each in self.feedback if isinstance(each, Nack) for s in each.sequences]

    def _is_report_due(self) -> bool:
        """A connection calls its receivers with each report, too."""
        return round(self.clock.now / TICK_S) % round(1 / TICK_S) == 0

    def _wake(self, at: float) -> None:
        self.deadline = min(self.deadline, at)

    def _send(self, make: Callable[[int], bytes], _block: ReportBlock | None) -> None:
        for part in RtcpPacket.parse(make(OUR_SSRC)):
            if isinstance(part, RtcpRtpfbPacket):
                self.feedback.append(Nack(part.media_ssrc, part.lost))
            elif isinstance(part, RtcpPsfbPacket) and part.fmt == 1:
                self.feedback.append(Pli(part.media_ssrc, round(self.clock.now, 2)))
