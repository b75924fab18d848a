"""When the positions of a track's media time were, by the arrival of its packets.

1. Position 0 was at `origin`. It is the earliest second that a recent packet allows: the quickest
   packets tell, so neither the network's jitter nor a stall of ours moves it.
2. `origin` follows the drift of a sender's clock: later by at most `_DRIFT` of the time passed.
   Packets that are later than that for longer are overdue: silence has to make up for them.
3. It moves earlier with the first packet that is quicker than all before, down to `_limit`. The
   limit is 5 s before the first packet's time for the first 5 s, as what a sender has queued while
   it connected comes at once, and 1 s before `origin` from then on.
"""

from math import inf

from cloudslice.codecs.opus import SAMPLE_RATE

_DRIFT = 300e-6
"""The part of real time by which a sender's clock may be off: 200 ppm, and a margin. A clock that
is off by more is slow or fast."""

_WINDOW_S = 5.0
"""Seconds within which some packet has hardly any network delay, mostly."""

_SLOW_WINDOW_S = 1.0
"""The same for a sender whose clock was found to be slow: silence makes up for it sooner."""

_BURST_S = 5.0
_AHEAD_S = 1.0
"""Seconds by which a network may become quicker. A sender that is further ahead does not send in
real time."""

_OVERDUE_S = 0.1

ON_TIME_S = 0.05
"""Less late than this is the network's jitter."""

PAUSE_S = 2.0
"""Seconds. A longer stretch without packets ends a slice, and is not filled. Of what the clocks did
meanwhile nothing is known but their greatest drift."""


class RealTime:
    """The tie between media positions and our monotonic clock.

    Attributes:
        origin: the monotonic second of position 0; infinite before the first packet.
        late_s: how much later than its time the last run was.
        overdue_s: how much later than their time packets were for two windows, and are no
            quicker; 0 mostly.
        is_settled: whether the first window is over.
    """

    __slots__ = (
        "_fills",
        "_former_least",
        "_last_arrival",
        "_least",
        "_limit",
        "_window_start",
        "is_settled",
        "late_s",
        "origin",
        "overdue_s",
    )

    def __init__(self) -> None:
        self.origin = inf
        self.late_s = 0.0
        self.overdue_s = 0.0
        self.is_settled = False
        self._limit = -inf
        self._last_arrival = -inf
        self._window_start = -inf
        self._least = inf
        """The earliest origin that a packet of this window allows..."""
        self._former_least = inf
        """...and of the one before."""
        self._fills = 0
        """How often silence has made up for what was overdue, since packets last were early."""

    def second(self, position: int) -> float:
        """The monotonic second at which a media position was, or will be."""
        return self.origin + position / SAMPLE_RATE

    def lateness_s(self, earliest: float, end: int) -> float:
        """How late a packet is that ends at the position `end` and came at `earliest`."""
        return 0.0 if self.origin == inf else earliest - self.second(end)

    def drift_s(self, arrival: float) -> float:
        """How far the clocks may have gone apart since the last packet."""
        return _DRIFT * max(0.0, arrival - self._last_arrival) if self.origin < inf else 0.0

    def room(self, start: int, arrival: float, last_arrival: float) -> int:
        """The samples that may stand behind the position `start` without being further ahead of
        real time than the limit, in a run that came between two monotonic seconds."""
        limit = arrival - _BURST_S if self.origin == inf else self._limit
        return max(0, round((last_arrival - limit) * SAMPLE_RATE) - start)

    def observe(self, earliest: float, end: int, arrival: float, last_arrival: float) -> None:
        """A run was placed.

        Args:
            earliest: when its first packet would have come, as quick as its quickest.
            end: the position after its first packet.
            arrival: when its first packet came.
            last_arrival: when its last packet came.
        """
        origin = earliest - end / SAMPLE_RATE
        if self.origin == inf:
            self._limit = arrival - _BURST_S
            self.origin = max(origin, self._limit)
            self._window_start = arrival
        elif arrival - self._last_arrival > PAUSE_S:
            self._go_on(origin, arrival)
        if origin < self.origin:
            if origin < self.origin - _OVERDUE_S:
                self._fills = 0
            self.origin = max(origin, min(self._limit, self.origin))
        self.late_s = origin - self.origin
        self._least = min(self._least, origin)
        self._last_arrival = last_arrival
        window_s = _SLOW_WINDOW_S if self._is_slow else _WINDOW_S
        if arrival - self._window_start >= window_s:
            self._turn(arrival)

    def made_up_for(self) -> None:
        """Silence has taken the place of what was overdue."""
        self._former_least -= self.overdue_s
        self.overdue_s = 0.0
        self._fills += 1

    @property
    def _is_slow(self) -> bool:
        return self._fills > 1

    def _go_on(self, origin: float, arrival: float) -> None:
        """After a pause: what the packets before it told is only as good as the drift allows."""
        drift_s = self.drift_s(arrival)
        self._limit -= drift_s
        self.origin = max(self.origin, min(origin, self.origin + drift_s))
        self._former_least = self._least = inf
        self._window_start = arrival
        self.overdue_s = 0.0

    def _turn(self, arrival: float) -> None:
        drift_s = _DRIFT * (arrival - self._window_start)
        least, former = self._least, self._former_least
        self._former_least, self._least = least, inf
        self._window_start = arrival
        quickest = least if self._is_slow else min(least, former)
        self.origin = max(self.origin, min(quickest, self.origin + drift_s))
        is_catching_up = least < former - _OVERDUE_S
        if quickest - self.origin >= _OVERDUE_S and (self._is_slow or not is_catching_up):
            self.overdue_s = least - self.origin
        else:
            self.overdue_s = 0.0
        limit = self.origin - _AHEAD_S
        self._limit = max(limit, self._limit - drift_s) if self.is_settled else limit
        self.is_settled = True
