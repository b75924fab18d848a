"""Two clocks, kept apart: everything is paced and measured with the monotonic clock and labelled
with UTC only where a label is made, so that a step of the wall clock bends no slice."""

import time
from typing import Protocol

HEARTBEAT_S = 5 / 12
"""What can wait is done at multiples of this on the monotonic clock, by every part at the same
time: to be woken, and to find the caches cold, is most of what a node with few anchors does. Twelve
heartbeats are the shortest time between two pictures of a track."""
SOON_S = 0.05
"""What is done so little before a heartbeat is done with it."""


def until_heartbeat(now: float) -> float:
    """Seconds from monotonic second `now` to the next heartbeat that is not soon."""
    delay = HEARTBEAT_S - now % HEARTBEAT_S
    return delay if delay > SOON_S else delay + HEARTBEAT_S


class Clock(Protocol):
    """What a part needs to know of time; tests pass a clock that they move by hand."""

    def monotonic(self) -> float:
        """Seconds of a clock that never steps; the zero is arbitrary."""
        ...

    def utc_ms(self, at: float | None = None) -> int:
        """Milliseconds since the Unix epoch at monotonic second `at` (default: now)."""
        ...


class SystemClock:
    """The machine's clocks. `monotonic` is the same clock as the event loop's."""

    def monotonic(self) -> float:
        return time.monotonic()

    def utc_ms(self, at: float | None = None) -> int:
        now_ms = time.time() * 1000
        return round(now_ms if at is None else now_ms + (at - time.monotonic()) * 1000)
