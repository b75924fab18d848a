"""Two clocks, kept apart: everything is paced and measured with the monotonic clock and labelled
with UTC only where a label is made, so that a step of the wall clock bends no slice."""

import time
from typing import Protocol


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
