"""When pictures are due: with ticks that some tracks share.

A picture is more than its encoding: its key frame is asked for and read, it is brought to the
disk and uploaded, an event tells of it, and the caches are cold each time. For some pictures at a
time all that is done once (docs/decisions/pictures-together.md).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloudslice.tick import PERIOD_S

AHEAD_S = PERIOD_S
"""A key frame is asked for one tick before its picture is due, so that it is there to be read."""
_TICKS_A_SECOND = round(1 / PERIOD_S)
_SHARING = 4
"""Tracks that share a tick, while there are ticks enough: a core makes their PNGs in some 50 ms,
so that the last one of them is hardly later for it."""


def choose_tick(tracks: Mapping[int, int], ticks: Sequence[int]) -> int:
    """The tick for one more track: one that others share already, if they are fewer than four,
    else an empty one, else the least full; of equal ones the latest.

    Args:
        tracks: how many tracks each tick has.
        ticks: those to choose from.
    """

    def attraction(tick: int) -> tuple[int, int]:
        count = tracks.get(tick, 0)
        return (count if count < _SHARING else -count), tick

    return max(ticks, key=attraction)


@dataclass(slots=True)
class _Interval:
    """The ticks of one interval, which come again and again."""

    tracks: Counter[int] = field(default_factory=Counter)
    """By tick, less whole intervals."""
    of_track: dict[object, list[int]] = field(default_factory=dict)
    """The ticks that a track has, once for each robot."""


class DueTimes:
    """Knows which tracks' pictures are due together, for all robots of a node."""

    def __init__(self) -> None:
        self._intervals: dict[int, _Interval] = {}

    def join(self, interval_s: int, track: object, now: float) -> float:
        """The monotonic second of a track's second picture, if the first one is due `now`.

        The others follow every `interval_s` seconds. It lies half an interval to a whole one ahead,
        or sooner, with another robot's picture of the same track: one key frame serves both.
        """
        interval = self._intervals.setdefault(interval_s, _Interval())
        length = interval_s * _TICKS_A_SECOND
        last = int(now / PERIOD_S) + length
        own = interval.of_track.setdefault(track, [])
        if own:
            best = last - (last - own[0]) % length
        else:
            ticks = range(last - length // 2 + 1, last + 1)
            best = choose_tick({each: interval.tracks[each % length] for each in ticks}, ticks)
        interval.tracks[best % length] += 1
        own.append(best % length)
        return best * PERIOD_S

    def leave(self, interval_s: int, track: object, due: float) -> None:
        """A track that has joined takes no more pictures; `due` is when any of them would be."""
        interval = self._intervals[interval_s]
        tick = round(due / PERIOD_S) % (interval_s * _TICKS_A_SECOND)
        interval.tracks[tick] -= 1
        own = interval.of_track[track]
        own.remove(tick)
        if not own:
            del interval.of_track[track]
