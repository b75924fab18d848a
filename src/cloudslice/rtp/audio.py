"""Receives an anchor's Opus: in order, each packet once, missing ones asked for."""

from cloudslice.rooms.base import AudioSink
from cloudslice.rtp.feedback import SenderReport, nack
from cloudslice.rtp.packet import RtpPacket, parse_rtp
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.reception import NackSchedule, extend_timestamp
from cloudslice.rtp.srtp import SrtpContext

OPUS_CLOCK_RATE = 48000


class AudioReceiver(Receiver):
    """An AudioTrack: hands Opus packets to its sinks.

    Args:
        srtp: opens the packets.
        payload_types: those negotiated for Opus; packets of others are counted and dropped.
        can_nack: whether the sender negotiated retransmission.
    """

    REORDER_WINDOW_S = 0.2
    """How long later packets wait for a missing one."""

    def __init__(self, srtp: SrtpContext, payload_types: frozenset[int], *, can_nack: bool) -> None:
        super().__init__(srtp, OPUS_CLOCK_RATE)
        self._payload_types = payload_types
        self._can_nack = can_nack
        self._nacks = NackSchedule(attempts=3, interval=0.06)
        self._sinks: tuple[AudioSink, ...] = ()
        self._waiting: dict[int, tuple[RtpPacket, float]] = {}
        self._next = -1
        self._timestamp: int | None = None
        self.late = 0
        """Packets that came twice, or after their place was given up."""
        self.lost = 0
        """Packets whose place was given up."""
        self.foreign = 0
        """Packets of a payload type that is not Opus."""

    def add_sink(self, sink: AudioSink) -> None:
        self._sinks = (*self._sinks, sink)

    def remove_sink(self, sink: AudioSink) -> None:
        self._sinks = tuple(each for each in self._sinks if each is not sink)

    def receive(self, packet: bytes, arrival: float) -> None:
        self.receive_clear(parse_rtp(self._srtp.unprotect(packet)), arrival)

    def receive_clear(self, packet: RtpPacket, arrival: float) -> None:
        self.last_arrival = self.last_authentic = arrival
        sequence = self._reception.on_packet(packet.sequence, packet.timestamp, arrival)
        if packet.payload_type not in self._payload_types:
            self.foreign += 1
            packet = packet._replace(payload=b"")  # keeps its place in the order
        expected = self._next
        if sequence == expected or expected < 0:
            self._next = sequence + 1
            self._deliver(packet, arrival)
            if self._waiting:
                self._nacks.discard(sequence)
                self._deliver_consecutive()
        elif sequence < expected or sequence in self._waiting:
            self.late += 1
        else:
            self._hold(sequence, packet, arrival)

    def give_up_missing(self, now: float) -> None:
        """Deliver what has waited for the reorder window; call at least every 100 ms."""
        while self._waiting:
            first = min(self._waiting)
            if now - self._waiting[first][1] < self.REORDER_WINDOW_S:
                return
            self.lost += first - self._next
            self._next = first
            self._nacks.discard_before(first)
            self._deliver_consecutive()

    def on_sender_report(self, report: SenderReport, now: float) -> None:
        super().on_sender_report(report, now)
        if self._timestamp is not None:
            timestamp = extend_timestamp(report.timestamp, self._timestamp)
            for sink in self._sinks:
                sink.on_sender_time(timestamp, report.utc_ms)

    def feedback(self, sender_ssrc: int, now: float) -> list[bytes]:
        self.give_up_missing(now)
        due = self._nacks.due(now)
        return [nack(sender_ssrc, self.ssrc, due)] if due and self.ssrc is not None else []

    @property
    def needs_attention(self) -> bool:
        return bool(self._waiting)

    def _hold(self, sequence: int, packet: RtpPacket, arrival: float) -> None:
        if self._can_nack:
            known = max(self._waiting, default=self._next - 1)
            self._nacks.add(known + 1, sequence, arrival)
        self._nacks.discard(sequence)
        self._waiting[sequence] = (packet, arrival)
        self.give_up_missing(arrival)

    def _deliver_consecutive(self) -> None:
        while (held := self._waiting.pop(self._next, None)) is not None:
            self._next += 1
            self._deliver(*held)

    def _deliver(self, packet: RtpPacket, arrival: float) -> None:
        if self._timestamp is None:
            self._timestamp = packet.timestamp
        else:
            self._timestamp = extend_timestamp(packet.timestamp, self._timestamp)
        if packet.payload:
            for sink in self._sinks:
                sink.on_opus(packet.payload, self._timestamp, arrival)

    def _restarted(self) -> None:
        while self._waiting:
            self._next = min(self._waiting)
            self._deliver_consecutive()
        self._nacks.clear()
        self._next = -1
        if self._timestamp is not None:
            self._timestamp = None
            for sink in self._sinks:
                sink.on_restart()
