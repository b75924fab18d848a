"""Whether an app's receiver is down, and when to try it again: decisions without input or output.

1. A receiver is down when it has taken nothing for a minute in which something new was tried.
2. While it is down, events wait in line; only one at a time is tried, ever more rarely, but soon
   after something new has happened.
3. It is up again when it takes anything.
"""

from collections.abc import Sequence

from cloudslice.webhooks.callback_pace import CallbackPace
from cloudslice.webhooks.outbox import OutboxEvent

_LATE_FAILURES = 16
"""So many failures in a row of events whose first minute is over: there is none to grant."""
_ANY_EVERY = 8
"""Of so many probes of a receiver that does not answer, one tries an event out of its order."""


class Outage:
    """What is known of an app's receiver; all times are monotonic seconds.

    Attributes:
        is_down: whether it is.
        failing_since: when the first attempt started that failed after the last success.
    """

    def __init__(self, pace: CallbackPace) -> None:
        self.is_down = False
        self.failing_since: float | None = None
        self._pace = pace
        self._late_failures = 0
        self._last_failure_at = 0.0
        self._is_prompted = False

    @property
    def next_probe_at(self) -> float:
        """While it is down: when to try it again."""
        failing_s = self._last_failure_at - (self.failing_since or 0.0)
        wait_s = self._pace.late_wait_s(failing_s)
        if self._is_prompted:
            wait_s = min(wait_s, self._pace.repeat_s)
        return self._last_failure_at + wait_s

    def prompt(self) -> None:
        """Something new has happened: try it soon."""
        self._is_prompted = True

    def begin_probe(self) -> None:
        """It is tried again."""
        self._is_prompted = False

    def note_success(self, started_at: float) -> None:
        """It has taken an event.

        Args:
            started_at: when the attempt started. If that was before the failures began, the
                receiver may have gone down since.
        """
        if self.failing_since is None or started_at >= self.failing_since:
            self.end()

    def end(self) -> None:
        """Nothing says that it is down."""
        self.is_down = self._is_prompted = False
        self.failing_since = None
        self._late_failures = 0

    def note_failure(
        self, started_at: float, failed_at: float, *, is_first: bool, is_late: bool
    ) -> bool:
        """It has not taken an event; whether it has gone down by that.

        Args:
            is_first: whether the event was in line. Of one that is repeated it is known already
                that it is not taken: it may be the event's fault.
            is_late: whether the event's first minute is over.
        """
        self._last_failure_at = failed_at
        if self.failing_since is None:
            if not is_first:
                return False
            self.failing_since = started_at
        if is_first and is_late:
            self._late_failures += 1
        if self.is_down or not self._pace.waits_for_receivers:
            return False
        is_minute_over = failed_at > self.failing_since + self._pace.contract_s
        self.is_down = is_minute_over or self._late_failures >= _LATE_FAILURES
        return self.is_down


def choose_another(
    line: Sequence[OutboxEvent], probes: int, *, has_answered: bool
) -> OutboxEvent | None:
    """What else to try in an outage after the first event in line has failed.

    It may be that event which the receiver does not take, so each time another one is chosen. It is
    the first of its subject, so that none overtakes another if the receiver has just come back. An
    event of the first one's subject is chosen if there are no other subjects, and the receiver has
    answered: then it has refused the first event a moment ago.

    Args:
        probes: how many there were.
        has_answered: whether the receiver has answered, whatever it said.
    """
    firsts: dict[str, OutboxEvent] = {}
    for event in line:
        firsts.setdefault(event.subject, event)
    others = list(firsts.values())[1:]
    if probes % _ANY_EVERY == 0 or (has_answered and not others):
        others = list(line[1:])
    return others[probes % len(others)] if others else None
