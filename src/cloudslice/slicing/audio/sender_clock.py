"""What a sender's reports (RTCP SR, RFC 3550 section 6.4.1) say of its clock."""

from cloudslice.codecs.opus import SAMPLE_RATE


class SenderClock:
    """Ties media positions to the sender's own wall clock.

    If a sender stood still while its timestamps went on without a gap, its reports say so at once:
    by its wall clock its media is late then. If the network has held packets back, nothing changes
    between its two clocks.
    """

    __slots__ = ("_is_fresh", "_position", "_reference_ms", "_zero_ms")

    def __init__(self) -> None:
        self._zero_ms: float | None = None
        """UTC of position 0 by the last report..."""
        self._reference_ms: float | None = None
        """...and by the last one of which all packets before it were on time."""
        self._position: int | None = None
        """Of the last report, while it is not known whether they were."""
        self._is_fresh = False
        """Whether the last report came after what it is asked about."""

    def report(self, position: int, utc_ms: float) -> None:
        """The sender says that `position` was at its `utc_ms`."""
        self._zero_ms = utc_ms - position * 1000 / SAMPLE_RATE
        self._position = position
        self._is_fresh = True

    def shift(self, samples: int) -> None:
        """All timestamps are at later positions by `samples` from now on: also that of the last
        report, if it came with packets that were late."""
        if self._position is not None and self._zero_ms is not None:
            self._position += samples
            self._zero_ms -= samples * 1000 / SAMPLE_RATE

    def restart(self) -> None:
        """Its reports are of other timestamps from now on."""
        self._zero_ms = self._reference_ms = self._position = None

    def utc_ms(self, position: int) -> float | None:
        """The sender's UTC at a position, if it has told."""
        return None if self._zero_ms is None else self._zero_ms + position * 1000 / SAMPLE_RATE

    def on_time(self, end: int) -> None:
        """Packets up to the position `end` were on time."""
        self._is_fresh = False
        if self._position is not None and self._position <= end:
            self._reference_ms, self._position = self._zero_ms, None

    def expire(self) -> None:
        """Packets are late now. What has been reported says nothing of them: a report that is sent
        during a stall tells a time that goes on."""
        self._is_fresh = False
        self._position = None

    def stood_still(self, late_s: float) -> bool | None:
        """Whether packets are late by `late_s` because the sender stood still; None if no report
        has said it since `expire`, or if its wall clock was set."""
        if not self._is_fresh or self._zero_ms is None or self._reference_ms is None:
            return None
        told_s = (self._zero_ms - self._reference_ms) / 1000
        if not -0.5 * late_s < told_s < 1.5 * late_s:
            return None
        return told_s >= late_s / 2
