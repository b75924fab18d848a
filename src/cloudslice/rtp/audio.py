"""Receives an anchor's Opus: in order, each packet once, missing ones asked for."""

from collections.abc import Mapping
from typing import NamedTuple

from cloudslice.rooms.base import AudioSink
from cloudslice.rtp.feedback import SenderReport, nack
from cloudslice.rtp.guard import Guard
from cloudslice.rtp.packet import (
    HEADER_LENGTH,
    PLAIN_HEADER,
    Datagram,
    Header,
    RtpPacket,
    parse_rtp,
)
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.reception import MISSING_PATIENCE_S, NackSchedule, extend_timestamp
from cloudslice.rtp.srtp import SrtpContext

OPUS_CLOCK_RATE = 48000


class _Held(NamedTuple):
    timestamp: int
    payload: bytes
    arrival: float


class AudioReceiver(Receiver):
    """An AudioTrack: hands Opus packets to its sinks.

    Args:
        srtp: opens the packets.
        payload_types: those negotiated for Opus; packets of others are counted and dropped.
        can_nack: whether the sender negotiated retransmission.
    """

    __slots__ = (
        "_guard",
        "_held",
        "_nacks",
        "_next",
        "_payload_types",
        "_sinks",
        "_timestamp",
        "foreign",
        "late",
        "lost",
    )

    REORDER_WINDOW_S = 0.5
    """How long later packets wait for a missing one: until it is missed in a beat, asked for over a
    round trip of 200 ms, and read in another beat."""
    _HELD_LIMIT = 256
    """And how many of them: 400 ms of the shortest packets (2.5 ms) are 160."""

    def __init__(self, srtp: SrtpContext, payload_types: frozenset[int], *, can_nack: bool) -> None:
        super().__init__(srtp, OPUS_CLOCK_RATE)
        self._payload_types = payload_types
        self._nacks = NackSchedule(attempts=3 if can_nack else 0, interval=0.06)
        self._sinks: tuple[AudioSink, ...] = ()
        self._guard = Guard("audio sink")
        self._held: dict[int, _Held] = {}
        """Packets after a missing one, by extended sequence number."""
        self._next = -1
        """Extended sequence number of the packet to deliver next; -1 before the first one."""
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

    def receive(self, header: Header, packet: Datagram, arrival: float) -> None:
        clear = self._unprotect(packet)
        flags, second, sequence, timestamp, _ssrc = header
        if flags == PLAIN_HEADER:
            self._take(second & 0x7F, sequence, timestamp, clear[HEADER_LENGTH:], arrival)
        else:
            self.receive_clear(parse_rtp(clear), arrival)

    def receive_clear(self, packet: RtpPacket, arrival: float) -> None:
        self._take(packet.payload_type, packet.sequence, packet.timestamp, packet.payload, arrival)

    def give_up_missing(self, now: float) -> None:
        """Deliver what has waited for the reorder window by monotonic second `now`."""
        while self._held:
            first = min(self._held)
            has_waited = now - self._held[first].arrival >= self.REORDER_WINDOW_S
            if not has_waited and len(self._held) < self._HELD_LIMIT:
                return
            self._skip_to(first)

    def on_sender_report(self, report: SenderReport, now: float) -> None:
        super().on_sender_report(report, now)
        if self._timestamp is None or report.utc_ms is None:
            return
        timestamp = extend_timestamp(report.timestamp, self._timestamp)
        for sink in self._sinks:
            try:
                sink.on_sender_time(timestamp, report.utc_ms)
            except Exception as error:
                self._guard.caught(error)

    def feedback(self, sender_ssrc: int, now: float) -> list[bytes]:
        self.give_up_missing(now)
        due = self._nacks.due(now)
        return [nack(sender_ssrc, self.ssrc, due)] if due and self.ssrc is not None else []

    def patience_s(self, now: float) -> float | None:
        return MISSING_PATIENCE_S if self._held else None

    @property
    def sink_errors(self) -> int:
        return self._guard.errors

    @property
    def counts(self) -> Mapping[str, int]:
        return {
            "audio_late": self.late,
            "audio_lost": self.lost,
            "audio_foreign": self.foreign,
            "sink_errors": self.sink_errors,
        }

    def _take(
        self, payload_type: int, sequence: int, timestamp: int, payload: bytes, arrival: float
    ) -> None:
        self.last_arrival = self.last_authentic = arrival
        sequence = self._reception.on_packet(sequence, timestamp, arrival)
        if payload_type not in self._payload_types:
            self.foreign += 1
            payload = b""  # keeps its place in the order
        expected = self._next
        if sequence == expected or expected < 0:
            self._next = sequence + 1
            self._deliver(timestamp, payload, arrival)
            if self._held:
                self._nacks.discard(sequence)
                self._deliver_consecutive()
        elif sequence < expected or sequence in self._held:
            self.late += 1
        else:
            self._hold(sequence, _Held(timestamp, payload, arrival))

    def _hold(self, sequence: int, packet: _Held) -> None:
        known = max(self._held, default=self._next - 1)
        self._nacks.add(known + 1, sequence, packet.arrival)
        self._nacks.discard(sequence)
        self._held[sequence] = packet
        self.give_up_missing(packet.arrival)

    def _skip_to(self, sequence: int) -> None:
        self.lost += sequence - self._next
        self._next = sequence
        self._nacks.discard_before(sequence)
        self._deliver_consecutive()

    def _deliver_consecutive(self) -> None:
        while (held := self._held.pop(self._next, None)) is not None:
            self._next += 1
            self._deliver(*held)

    def _deliver(self, timestamp: int, payload: bytes, arrival: float) -> None:
        if self._timestamp is not None:
            timestamp = extend_timestamp(timestamp, self._timestamp)
        self._timestamp = timestamp
        if not payload:
            return
        for sink in self._sinks:
            try:
                sink.on_opus(payload, timestamp, arrival)
            except Exception as error:
                self._guard.caught(error)

    def _restarted(self) -> None:
        while self._held:
            self._skip_to(min(self._held))
        self._nacks.clear()
        self._next = -1
        if self._timestamp is None:
            return
        self._timestamp = None
        for sink in self._sinks:
            try:
                sink.on_restart()
            except Exception as error:
                self._guard.caught(error)
