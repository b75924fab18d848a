"""Tells packets that the network held back from those of a sender that stood still.

Both come late after a pause, with timestamps that go on where the last ones ended. What was held
back comes faster than real time until it has caught up. A sender whose clock stood still sends in
real time, and stays as late as its first packet. So some of what follows is awaited.
"""

from math import inf

from cloudslice.codecs.opus import SAMPLE_RATE
from cloudslice.media.tracks import OpusRun

DECIDED_AFTER_S = 1.0
"""From the first late packet on. Longer than what a sender has in its buffers when it goes on."""

_CAUGHT_UP = 0.5
"""This part of the delay made up for is enough at any time."""

_PROGRESS_S = 0.08
"""What is held back makes up for as much in the second half of the time, if it comes a sixth faster
than real time; the jitter of two windows of half a second differs by less."""


class LateRuns:
    """Packets after a pause, set aside until it is known which of both they are.

    Args:
        late_s: how late the first one is.
    """

    def __init__(self, late_s: float) -> None:
        self.runs: list[tuple[OpusRun, int]] = []
        """In the order of their coming, each with the samples of its packets."""
        self._enough_s = late_s * _CAUGHT_UP

    def add(self, run: OpusRun, samples: int) -> None:
        """Set the next ones aside."""
        self.runs.append((run, samples))

    def were_held_back(self, now: float) -> bool | None:
        """Whether the network held them back, by what has come until monotonic second `now`; None:
        that is not known yet."""
        first, _samples = self.runs[0]
        if self._caught_up_s(inf) >= self._enough_s:
            return True
        if now - first.arrival < DECIDED_AFTER_S:
            return None
        in_first_half_s = self._caught_up_s(first.arrival + DECIDED_AFTER_S / 2)
        return self._caught_up_s(inf) - in_first_half_s >= _PROGRESS_S

    def _caught_up_s(self, until: float) -> float:
        """How much less late than the first packet the least late one is."""
        first, _samples = self.runs[0]
        return max(
            (first.arrival - run.earliest) + (run.timestamp - first.timestamp) / SAMPLE_RATE
            for run, _samples in self.runs
            if run is first or run.arrival < until
        )
