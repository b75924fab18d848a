"""The media time of an audio track: where each packet belongs, and when that was.

Media time is counted in samples of 48 kHz from the track's first packet. It follows the sender's
RTP clock as long as that runs like a clock, and the packets' arrival where it jumps or stands
still. Synchronous and without a clock of its own, so that its tests need no waiting.
"""

from math import inf

from cloudslice.codecs.opus import GRID, SAMPLE_RATE
from cloudslice.media.tracks import OpusRun

LATE_S = 2.0
"""How much later or earlier than its time a packet may come before it is asked whether the sender's
clock stood still or jumped: longer than the stalls a call survives, and short enough that a slice
whose packets stop can be held open for late ones."""

_WINDOW_S = 10.0
"""Sender clocks drift by 0.1 ms a second at most, network delay has its minimum often: the
quickest packet of two windows ties media time to ours within a millisecond or two of that."""

_CAUGHT_UP_S = 0.1
"""Later than the quickest packet, nothing is held back any more."""

_MAX_AHEAD_S = 60.0
"""A network that held packets back may deliver a minute of them at once; more is a sender that
does not send in real time, and would make files faster than time passes."""


class Timeline:
    """Places packets one after the other; positions are multiples of `GRID`.

    Attributes:
        end: the position after the last placed packet.
        last_arrival: monotonic second at which that packet arrived.
    """

    __slots__ = (
        "_earliest_origin",
        "_late_origin",
        "_offset",
        "_origin",
        "_previous_origin",
        "_window_end",
        "end",
        "last_arrival",
    )

    def __init__(self) -> None:
        self.end = 0
        self.last_arrival = -inf
        self._offset: int | None = None
        """Media position minus RTP timestamp; None until the next packet tells."""
        self._origin = inf
        """The earliest that position 0 can have been, by the packets of this window..."""
        self._previous_origin = inf
        """...and by those of the window before."""
        self._late_origin = -inf
        """The earliest that position 0 can have been by the packets that were held back, while the
        network has not caught up."""
        self._window_end = -inf
        self._earliest_origin = -inf
        """A packet that puts position 0 before this is too far ahead of real time."""

    def late_s(self, run: OpusRun, samples: int) -> float:
        """How late packets are that come after a pause of more than `LATE_S`, by the timestamp of
        the first one; 0 if by less than `LATE_S`, or if their timestamp makes no sense.

        The network may have held them back, or the sender's clock may have stood still.
        """
        if self._offset is None or run.arrival - self.last_arrival <= LATE_S:
            return 0.0
        start = run.timestamp + self._offset
        late_s = run.arrival - self.monotonic(start + samples)
        return late_s if late_s > LATE_S and start > self.end - GRID else 0.0

    def place(self, run: OpusRun, samples: int, *, was_held: bool = False) -> int | None:
        """Place the next packets and return the gap before the first one, in samples, a multiple
        of `GRID`. Between them there is none.

        A remainder of less than `GRID` is not filled but kept in mind for the next gap.

        Args:
            run: what has come.
            samples: the duration of each packet.
            was_held: whether the network held it back, so that its timestamp is right however late
                it is.

        Returns:
            The gap; None if all of them are to be dropped, as they are more than a minute ahead of
            real time.
        """
        arrival = run.arrival
        if self._offset is None:
            gap = self._gap_by_arrival(samples, arrival)
            self._offset = self.end + gap - run.timestamp
        else:
            gap = run.timestamp + self._offset - self.end
            if was_held:
                self._late_origin = inf
                gap = max(0, gap // GRID * GRID)
            elif gap or arrival - self.last_arrival > LATE_S:
                gap = self._checked_gap(gap, run.timestamp, samples, arrival)
        start = self.end + gap
        origin = run.earliest - (start + samples) / SAMPLE_RATE
        if origin < self._origin:
            if origin < self._earliest_origin:
                return None
            self._origin = origin
        if origin < self._late_origin:
            self._catch_up(origin, arrival)
        if arrival >= self._window_end:
            self._turn_window(origin, arrival)
        self.end = start + samples * len(run.sizes)
        self.last_arrival = run.last_arrival
        return gap

    def restart(self) -> None:
        """The next packet's timestamp has no relation to the ones before: go by its arrival."""
        self._offset = None

    def position(self, timestamp: int) -> int | None:
        """The media position of an RTP timestamp, or None before the first packet tells."""
        return None if self._offset is None else timestamp + self._offset

    def monotonic(self, position: int) -> float:
        """The monotonic second at which a media position was, or will be.

        As early as the arrivals allow, so that it errs by the network's least delay only, not by
        its jitter nor by the drift of the sender's clock.
        """
        return min(self._origin, self._previous_origin) + position / SAMPLE_RATE

    def _gap_by_arrival(self, samples: int, arrival: float) -> int:
        """The gap before a packet whose place only its arrival tells; never an overlap."""
        if self._origin == inf:
            return 0
        start = int((arrival - self.monotonic(0)) * SAMPLE_RATE) - samples
        return max(0, (start - self.end) // GRID * GRID)

    def _checked_gap(self, gap: int, timestamp: int, samples: int, arrival: float) -> int:
        """The gap that a timestamp tells, unless the sender's clock jumped or stood still."""
        late_s = arrival - self.monotonic(self.end + gap + samples)
        stood_still = late_s > LATE_S and arrival - self.last_arrival > LATE_S
        jumped = gap <= -GRID or (gap > 0 and late_s < -LATE_S)
        if stood_still or jumped:
            gap = self._gap_by_arrival(samples, arrival)
            self._offset = self.end + gap - timestamp
        return gap // GRID * GRID if gap > 0 else 0

    def _catch_up(self, origin: float, arrival: float) -> None:
        """What the packets before a pause told of the clocks is the best there is, as long as those
        that were held back come quicker and quicker."""
        self._window_end = arrival + _WINDOW_S
        has_caught_up = origin - self.monotonic(0) < _CAUGHT_UP_S
        self._late_origin = -inf if has_caught_up else origin

    def _turn_window(self, origin: float, arrival: float) -> None:
        is_stale = arrival >= self._window_end + _WINDOW_S
        self._previous_origin = origin if is_stale else self._origin
        self._origin = origin
        self._window_end = arrival + _WINDOW_S
        self._earliest_origin = self.monotonic(0) - _MAX_AHEAD_S
