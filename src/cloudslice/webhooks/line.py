"""Which of an app's events in line may be sent now: a decision without input or output.

1. Within a subject events start in order.
2. An event starts when those before it in its subject are answered.
3. It waits for that a second at most. An event that comes late anyway (after an outage, or of a
   former process) waits a second for each of those before it, one that has just happened for all
   of them together.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable

from cloudslice.webhooks.outbox import OutboxEvent

_PATIENCE_S = 1.0
_GAP_S = 0.05
"""Between events that no longer wait for answers: side by side, one could overtake the other."""


class Line:
    """Holds the first of the events in line, in order."""

    def __init__(self, is_late: Callable[[OutboxEvent], bool]) -> None:
        """Takes what tells whether an event comes late anyway."""
        self._is_late = is_late
        self._count = 0
        self._waiting: dict[str, deque[OutboxEvent]] = {}  # by subject; none is empty
        self._under_way: Counter[str] = Counter()  # by subject
        self._last_start: dict[str, float] = {}  # of these

    def __len__(self) -> int:
        """How many events wait."""
        return self._count

    def extend(self, events: Iterable[OutboxEvent]) -> None:
        """These come behind all others."""
        for event in events:
            self._waiting.setdefault(event.subject, deque()).append(event)
            self._count += 1

    def clear(self) -> None:
        """Forget those that wait, not those that were started."""
        self._waiting.clear()
        self._count = 0

    def start(self, now: float, limit: int) -> list[OutboxEvent]:
        """Take out what is to be started at monotonic second `now`, at most `limit` events.

        It is one of a subject at most: the next one waits for it.
        """
        ready = [queue[0] for queue in self._waiting.values() if self._start_at(queue[0]) <= now]
        started = sorted(ready, key=lambda event: event.id)[:limit]
        for event in started:
            queue = self._waiting[event.subject]
            queue.popleft()
            if not queue:
                del self._waiting[event.subject]
            self._under_way[event.subject] += 1
            self._last_start[event.subject] = now
        self._count -= len(started)
        return started

    def finish(self, event: OutboxEvent) -> None:
        """An event that was started has its answer, or has failed."""
        self._under_way[event.subject] -= 1
        if not self._under_way[event.subject]:
            del self._under_way[event.subject], self._last_start[event.subject]

    def next_start_at(self) -> float | None:
        """The monotonic second at which something may start, if nothing finishes before."""
        return min((self._start_at(queue[0]) for queue in self._waiting.values()), default=None)

    def _start_at(self, event: OutboxEvent) -> float:
        last_start = self._last_start.get(event.subject)
        if last_start is None:
            return event.queued_at
        if self._is_late(event):
            return last_start + _PATIENCE_S
        return max(event.queued_at + _PATIENCE_S, last_start + _GAP_S)
