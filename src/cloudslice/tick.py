"""The one tick of a node: everything periodic is done on it.

To be woken, and to find the caches cold, is most of what a node with few anchors does. So nothing
on the way of media has a timer of its own, and all that is due is done at the same moments. While
nobody is there, there is no tick.
"""

import asyncio
from contextvars import Context
from typing import Protocol

from cloudslice.clock import Clock
from cloudslice.faults import Faults

PERIOD_S = 1 / 12
"""Seconds between ticks. A connectivity check has to be answered within 0.1 s. Every whole number
of seconds consists of ticks, so that pictures can be due with one."""


_LATE_S = 0.002
"""Ticks come so long after their time: an event loop that counts in milliseconds may call earlier
than it was asked to, and the same tick would come once more."""


class TickPart(Protocol):
    """What is done on a tick."""

    @property
    def is_active(self) -> bool:
        """Whether it needs ticks."""
        ...

    def tick(self, now: float) -> None:
        """Do what is due at monotonic second `now`."""
        ...


def next_tick(now: float) -> float:
    """The monotonic second of the first tick after `now`: a multiple of `PERIOD_S`."""
    return (now // PERIOD_S + 1) * PERIOD_S


class Tick:
    """Calls its parts at multiples of `PERIOD_S`, in order, while one is active.

    What a part raises is logged and counted, and keeps neither the others nor the next tick from
    their turn. Call `close` at last.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parts: list[TickPart] = []
        self._timer: asyncio.TimerHandle | None = None
        self.faults = Faults("tick")

    def add(self, part: TickPart, *, is_first: bool = False) -> None:
        """Have `part` called on each tick, after those that were added before; or before them all,
        if it reads what they are to hear of."""
        self._parts.insert(0 if is_first else len(self._parts), part)

    def remove(self, part: TickPart) -> None:
        """Call `part` no more; harmless when it is not there."""
        if part in self._parts:
            self._parts.remove(part)

    def wake(self) -> None:
        """A part has become active. Harmless when another one is."""
        if self._timer is None:
            self._schedule()

    def close(self) -> None:
        """No more ticks."""
        self._parts.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        now = self._clock.monotonic()
        delay = next_tick(now) - now + _LATE_S
        # Without a context of its own it would run in that of who woke it, for hours: log lines
        # would have the `request_id` of a call that has nothing to do with them.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay, self._run, context=Context())

    def _run(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for part in tuple(self._parts):
            try:
                part.tick(now)
            except Exception as error:
                self.faults.caught(error)
        if self._timer is None and any(part.is_active for part in self._parts):
            self._schedule()
