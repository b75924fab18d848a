"""What a receiver keeps of one SSRC: order, losses, and what its reports say (RFC 3550)."""

from dataclasses import dataclass

from cloudslice.rtp import native
from cloudslice.rtp.native import StreamStruct

_EXTENDED_SEQUENCES = 1 << 32
_TIMESTAMPS = 1 << 32


MISSING_PATIENCE_S = 0.05
"""While a packet is missing, to see in time that it has come, or to ask for it again."""


def extend_timestamp(timestamp: int, reference: int) -> int:
    """The extended timestamp nearest to the extended `reference`, of which `timestamp` is the
    low 32 bits."""
    return (
        reference
        + ((timestamp - reference + (_TIMESTAMPS >> 1)) & (_TIMESTAMPS - 1))
        - (_TIMESTAMPS >> 1)
    )


@dataclass(frozen=True, slots=True)
class ReceptionReport:
    """The figures of a report block (RFC 3550, 6.4.1); jitter in RTP ticks."""

    fraction_lost: int
    packets_lost: int
    highest_sequence: int
    jitter: int


class Reception:
    """Extends sequence numbers and keeps the statistics of one SSRC (RFC 3550, A.1, A.3, A.8).

    By the clear header, so that it holds for packets that are never decrypted. The native library
    counts in `stream`.

    Args:
        kind: `native.AUDIO` or `native.VIDEO`.
        clock_rate: of the RTP timestamps.
        counted_in: losses are told by the packets whose sequence number is a multiple of this, a
            power of two: the others may have been dropped before they came here.
    """

    __slots__ = ("_counted_before", "_expected_before", "stream")

    def __init__(self, kind: int, clock_rate: int, counted_in: int = 1) -> None:
        self.stream = StreamStruct(kind=kind, clock_rate=clock_rate, counted_in=counted_in)
        self.restart(0)

    def restart(self, ssrc: int) -> None:
        """Count `ssrc` from now on, and anew."""
        stream = self.stream
        stream.ssrc = ssrc
        stream.base = stream.highest = stream.timestamp = stream.authentic = -1
        stream.counted = stream.refused = 0
        stream.jitter = 0.0
        self._expected_before = self._counted_before = 0

    def count(self, sequence: int, timestamp: int, arrival: float) -> int:
        """Count a packet, as `native.receive` does with each; its extended sequence number.

        Args:
            sequence: 16 bits of the header.
            timestamp: 32 bits of the header.
            arrival: monotonic second.
        """
        extended: int = native.count_packet(self.stream, sequence, timestamp, arrival)
        return extended

    @property
    def highest(self) -> int:
        """Highest extended sequence number seen; the first packet's is within 0..65535. -1 before
        it."""
        return self.stream.highest

    def report(self) -> ReceptionReport:
        """The figures since the last report, and since the start."""
        stream = self.stream
        first = -(-stream.base // stream.counted_in)
        expected = stream.highest // stream.counted_in - first + 1 if stream.highest >= 0 else 0
        expected_now = expected - self._expected_before
        lost_now = expected_now - (stream.counted - self._counted_before)
        self._expected_before, self._counted_before = expected, stream.counted
        fraction = min(255, lost_now * 256 // expected_now) if lost_now > 0 else 0
        lost = (expected - stream.counted) * stream.counted_in
        return ReceptionReport(
            fraction_lost=fraction,
            packets_lost=max(-(1 << 23), min((1 << 23) - 1, lost)),
            highest_sequence=max(stream.highest, 0) % _EXTENDED_SEQUENCES,
            jitter=int(stream.jitter),
        )


class NackSchedule:
    """Which missing packets to ask for again, and when (RFC 4585, 6.2.1).

    Args:
        attempts: how often a packet is asked for; 0: never, only give it up.
        interval: seconds to wait for a packet that was asked for.
    """

    LIMIT = 64
    """More packets than this missing at once are an outage, perhaps of ours under too much load:
    nothing of it is asked for. A whole key frame costs little more than so much of it again."""

    def __init__(self, *, attempts: int, interval: float) -> None:
        self._attempts = attempts
        self._interval = interval
        self._missing: dict[int, tuple[float, int]] = {}
        self.given_up = 0
        """Packets that did not come, however often they were asked for."""

    def add(self, first: int, end: int, now: float) -> None:
        """Extended sequence numbers first..end-1 were jumped over at `now`."""
        if end - first > self.LIMIT - len(self._missing):
            self.given_up += end - first + len(self._missing)
            self._missing.clear()
            return
        for sequence in range(first, end):
            self._missing[sequence] = (now, 0)

    def discard(self, sequence: int) -> None:
        """It has come, late."""
        self._missing.pop(sequence, None)

    def discard_before(self, sequence: int) -> None:
        """Everything before `sequence` is of no use any more."""
        for each in [each for each in self._missing if each < sequence]:
            del self._missing[each]

    def __bool__(self) -> bool:
        """Whether a packet is missing."""
        return bool(self._missing)

    def clear(self) -> None:
        """Ask for nothing more."""
        self._missing.clear()

    def due(self, now: float) -> list[int]:
        """The sequence numbers (extended, ascending) to ask for at `now`."""
        asked = []
        for sequence, (when, count) in list(self._missing.items()):
            if when > now:
                continue
            if count < self._attempts:
                asked.append(sequence)
                self._missing[sequence] = (now + self._interval, count + 1)
            else:
                self.given_up += 1
                del self._missing[sequence]
        return sorted(asked)
