"""How often each caller may call (docs/wire.md, 7.1)."""

from collections import deque
from collections.abc import Hashable

_WINDOW_S = 1.0


class RateLimiter:
    """Counts calls over a window of one second that slides, so that no two halves of two windows
    make a double burst."""

    def __init__(self) -> None:
        self._admitted: dict[Hashable, deque[float]] = {}

    def admit(self, key: Hashable, limit: int, now: float) -> bool:
        """Whether a call of `key` at monotonic second `now` is within `limit` calls a second.

        A call that is not admitted does not count.
        """
        times = self._admitted.setdefault(key, deque())
        while times and times[0] <= now - _WINDOW_S:
            times.popleft()
        if len(times) >= limit:
            return False
        times.append(now)
        return True
