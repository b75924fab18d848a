"""When pictures are due: at moments that some tracks share, each of them just after a heartbeat or
in the middle between two.

For one picture the process wakes to ask for its key frame, to read it, to bring it to the disk, to
upload it and to tell of it, and finds the caches cold each time. For some at a time it does so but
once; and with a heartbeat it is awake anyway.
"""

from collections import Counter
from dataclasses import dataclass, field

from cloudslice.clock import HEARTBEAT_S

AHEAD_S = 0.05
"""A key frame is asked for this much before its picture is due. Longer, and what is read in vain
meanwhile would cost more."""
_AFTER_HEARTBEAT_S = AHEAD_S - 0.005
"""So that key frames are asked for just before a heartbeat, and all else is done with it."""
_SHARING = 4
"""Tracks that share a moment, while there are moments enough: a core makes their PNGs in some 50
ms, so that the last one of them is hardly later for it."""


@dataclass(slots=True)
class _Interval:
    """The moments of one interval, a slot each."""

    seconds: int
    tracks: Counter[int] = field(default_factory=Counter)
    """By slot."""

    @property
    def slots(self) -> int:
        """Those with even numbers come with a heartbeat, if the interval consists of them."""
        return 2 * round(self.seconds / HEARTBEAT_S)

    @property
    def slot_s(self) -> float:
        """Half as long as a heartbeat, or nearly so."""
        return self.seconds / self.slots

    def number(self, at: float) -> float:
        """How many slots there are until monotonic second `at`."""
        return (at - _AFTER_HEARTBEAT_S) / self.slot_s

    def second(self, number: int) -> float:
        """The monotonic second of that slot."""
        return number * self.slot_s + _AFTER_HEARTBEAT_S


class PicturePhases:
    """Knows which tracks' pictures are due at the same moments, for all robots of a process."""

    def __init__(self) -> None:
        self._intervals: dict[int, _Interval] = {}

    def join(self, interval_s: int, now: float) -> float:
        """The monotonic second of a track's second picture, if the first one is due `now`.

        The others follow every `interval_s` seconds. It lies half an interval to a whole one ahead.
        """
        interval = self._intervals.setdefault(interval_s, _Interval(interval_s))
        tracks, slots = interval.tracks, interval.slots
        first = int(interval.number(now + interval_s / 2)) + 1
        last = int(interval.number(now + interval_s))
        best = max(
            range(first, last + 1),
            key=lambda at: (_attraction(tracks[at % slots]), at % 2 == 0, at),
        )
        tracks[best % slots] += 1
        return interval.second(best)

    def leave(self, interval_s: int, due: float) -> None:
        """A track that has joined takes no more pictures; `due` is when any of them would be."""
        interval = self._intervals[interval_s]
        interval.tracks[round(interval.number(due)) % interval.slots] -= 1


def _attraction(tracks: int) -> int:
    """Of a slot that has so many tracks, for one more: begun ones first, then empty ones, then
    those that have the least too many."""
    return tracks if tracks < _SHARING else -tracks
