"""Receives an anchor's Opus: in order, each packet once, missing ones asked for."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from cloudslice.faults import Faults
from cloudslice.media.tracks import AudioSink, OpusRun
from cloudslice.rtp import native
from cloudslice.rtp.feedback import SenderReport, nack
from cloudslice.rtp.packet import RtpPacket
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.reception import MISSING_PATIENCE_S, NackSchedule, extend_timestamp

OPUS_CLOCK_RATE = 48000


class _Held(NamedTuple):
    timestamp: int
    payload: bytes
    arrival: float
    read: float
    """When it was read: much later than it came where we stood still."""


class AudioReceiver(Receiver):
    """An AudioTrack: hands Opus packets to its sinks.

    Packets in order come as runs, which the native library makes. From the first one that is
    missing until it has come, or is given up, they come one by one.

    Args:
        payload_types: those negotiated for Opus; packets of others are counted and dropped.
        can_nack: whether the sender negotiated retransmission.
        monotonic: the clock of `now`.
    """

    __slots__ = ("_guard", "_held", "_monotonic", "_nacks", "_sinks", "late", "lost")

    REORDER_WINDOW_S = 0.7
    """How long later packets wait for a missing one, from their being read: until it is missed in a
    beat, asked for over a round trip of 200 ms, and read in another beat."""
    _HELD_LIMIT = 320
    """And how many of them: 700 ms of the shortest packets (2.5 ms) are 280."""

    def __init__(
        self, payload_types: frozenset[int], *, can_nack: bool, monotonic: Callable[[], float]
    ) -> None:
        super().__init__(native.AUDIO, OPUS_CLOCK_RATE)
        self._monotonic = monotonic
        for each in payload_types:
            self.stream.payload_types[each // 8] |= 1 << each % 8
        self.stream.expected = -1
        self.stream.is_in_order = True
        self._nacks = NackSchedule(attempts=3 if can_nack else 0, interval=0.06)
        self._sinks: tuple[AudioSink, ...] = ()
        self._guard = Faults("audio sink")
        self._held: dict[int, _Held] = {}
        """Packets after a missing one, by extended sequence number."""
        self.late = 0
        """Packets that came twice, or after their place was given up."""
        self.lost = 0
        """Packets whose place was given up."""

    @property
    def foreign(self) -> int:
        """Packets of a payload type that is not Opus."""
        return self.stream.foreign

    def add_sink(self, sink: AudioSink) -> None:
        self._sinks = (*self._sinks, sink)

    def remove_sink(self, sink: AudioSink) -> None:
        if sink in self._sinks:
            self._deliver_waiting(sink)
        self._sinks = tuple(each for each in self._sinks if each is not sink)

    def receive(self, media: RtpPacket | OpusRun) -> None:
        if isinstance(media, OpusRun):
            self._deliver(media)
        else:
            self._take(media)

    def give_up_missing(self, now: float) -> None:
        """Deliver what has waited for the reorder window by monotonic second `now`."""
        while self._held:
            first = min(self._held)
            has_waited = now - self._held[first].read >= self.REORDER_WINDOW_S
            if not has_waited and len(self._held) < self._HELD_LIMIT:
                return
            self._skip_to(first)

    def on_sender_report(self, report: SenderReport, now: float) -> None:
        super().on_sender_report(report, now)
        if not self.stream.has_media_timestamp or report.utc_ms is None:
            return
        timestamp = extend_timestamp(report.timestamp, self.stream.media_timestamp)
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

    def _take(self, packet: RtpPacket) -> None:
        sequence, expected = packet.sequence, self.stream.expected
        held = _Held(packet.timestamp, packet.payload, packet.arrival, self._monotonic())
        if sequence < expected or sequence in self._held:
            self.late += 1
        elif sequence > expected:
            self._hold(sequence, held)
        else:
            self._held[sequence] = held
            self._nacks.discard(sequence)
        self._deliver_held()

    def _hold(self, sequence: int, packet: _Held) -> None:
        known = max(self._held, default=self.stream.expected - 1)
        self._nacks.add(known + 1, sequence, packet.arrival)
        self._nacks.discard(sequence)
        self._held[sequence] = packet
        self.give_up_missing(packet.read)

    def _skip_to(self, sequence: int) -> None:
        self.lost += sequence - self.stream.expected
        self.stream.expected = sequence
        self._nacks.discard_before(sequence)
        self._deliver_held()

    def _deliver_held(self) -> None:
        """Hand on what is held and has become due, and leave the rest to the native library when
        nothing else is held."""
        stream = self.stream
        while (held := self._held.pop(stream.expected, None)) is not None:
            stream.expected += 1
            timestamp = held.timestamp
            if stream.has_media_timestamp:
                timestamp = extend_timestamp(timestamp, stream.media_timestamp)
            stream.media_timestamp = timestamp
            stream.has_media_timestamp = True
            if held.payload:
                self._deliver(OpusRun.of_one(held.payload, timestamp, held.arrival))
        stream.is_in_order = not self._held

    def _deliver(self, run: OpusRun) -> None:
        for sink in self._sinks:
            try:
                sink.on_opus(run)
            except Exception as error:
                self._guard.caught(error)

    def _deliver_waiting(self, sink: AudioSink) -> None:
        """Hand on to `sink` alone what has come, and waits for something that is missing."""
        stream = self.stream
        for _sequence, held in sorted(self._held.items()):
            timestamp = held.timestamp
            if stream.has_media_timestamp:
                timestamp = extend_timestamp(timestamp, stream.media_timestamp)
            try:
                if held.payload:
                    sink.on_opus(OpusRun.of_one(held.payload, timestamp, held.arrival))
            except Exception as error:
                self._guard.caught(error)

    def finish(self) -> None:
        while self._held:
            self._skip_to(min(self._held))

    def _restarted(self) -> None:
        self.finish()
        self._nacks.clear()
        self.stream.expected = -1
        self.stream.is_in_order = True
        if not self.stream.has_media_timestamp:
            return
        self.stream.has_media_timestamp = False
        for sink in self._sinks:
            try:
                sink.on_restart()
            except Exception as error:
                self._guard.caught(error)
