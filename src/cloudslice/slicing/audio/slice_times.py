"""The times of a track's slices, fixed as each one ends."""

from math import inf

from cloudslice.clock import Clock

_SAME_MS = 100
"""The wall clock was set if it differs by more."""


class SliceTimes:
    """Gives slices their UTC so that one that follows another begins when that one ends."""

    __slots__ = ("_clock", "_end_ms", "_end_s")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._end_s = -inf
        """Monotonic second at which the last slice ended..."""
        self._end_ms = 0
        """...and its UTC, as it was told."""

    def expect(self, start_s: float) -> int:
        """UTC milliseconds of a slice's start at monotonic second `start_s`, for now."""
        return self._clock.utc_ms(max(start_s, self._end_s))

    def fix(self, start_s: float, end_s: float, *, follows: bool) -> tuple[int, int]:
        """The start of a slice (UTC, ms) and its duration in milliseconds.

        Args:
            start_s: monotonic second of its first sample.
            end_s: ...and of its end.
            follows: whether it begins where the one before ends.
        """
        start_s = self._end_s if follows else max(start_s, self._end_s)
        end_s = max(end_s, start_s)
        start_ms = self._clock.utc_ms(start_s)
        end_ms = start_ms + round((end_s - start_s) * 1000)
        if follows and abs(start_ms - self._end_ms) <= _SAME_MS:
            start_ms = self._end_ms
        self._end_s, self._end_ms = end_s, max(end_ms, start_ms)
        return start_ms, self._end_ms - start_ms
