"""When uploads are repeated: decisions without input or output, all times in seconds."""

from dataclasses import dataclass
from random import Random

from cloudslice.clock import Clock


@dataclass(frozen=True, slots=True)
class UploadPace:
    """The pace at which uploads are repeated."""

    first_s: float = 1.0
    ceiling_s: float = 60.0
    refused_first_s: float = 10.0
    """After a refusal nothing changes until somebody changes it: no reason to hurry."""
    refused_ceiling_s: float = 300.0

    def delay_s(self, failures: int, *, refused: bool, jitter: float) -> float:
        """How long to wait after a failure.

        Args:
            failures: how many there were in a row, at least 1.
            refused: whether the store said no rather than nothing.
            jitter: a random number in [0, 1) that takes away up to half, so that what failed
                together does not come again together.
        """
        first, ceiling = (
            (self.refused_first_s, self.refused_ceiling_s)
            if refused
            else (self.first_s, self.ceiling_s)
        )
        # The exponent is bounded as 2.0 ** 1024 would overflow.
        return min(first * 2.0 ** min(failures - 1, 32), ceiling) * (1 - jitter / 2)


class Trouble:
    """How often in a row a task's uploads have failed, and until when they pause.

    Attributes:
        failures: in a row; 0 while all is well.
        since: monotonic second of the first of them.
        pauses_until: monotonic second; in the past while all is well.
    """

    def __init__(self, pace: UploadPace, clock: Clock, random: Random) -> None:
        self.failures = 0
        self.since = 0.0
        self.pauses_until = 0.0
        self._last_failure_at = 0.0
        self._pace = pace
        self._clock = clock
        self._random = random

    @property
    def is_pause_over(self) -> bool:
        return self._clock.monotonic() >= self.pauses_until

    def is_news(self, started_at: float) -> bool:
        """Whether the failure of what started then is one more: side by side they count once."""
        return self.failures == 0 or started_at >= self._last_failure_at

    def note_failure(self, *, refused: bool = False, at_least_s: float = 0.0) -> None:
        """They have failed once more.

        Args:
            refused: see `UploadPace.delay_s`.
            at_least_s: so long the store wants to be left alone.
        """
        now = self._clock.monotonic()
        if self.failures == 0:
            self.since = now
        self.failures += 1
        self._last_failure_at = now
        self.pauses_until = max(self.next_try_at(self.failures, refused=refused), now + at_least_s)

    def end(self) -> None:
        """An upload went well."""
        self.failures = 0
        self.pauses_until = 0.0

    def next_try_at(self, failures: int, *, refused: bool) -> float:
        """The monotonic second at which to try again after so many failures, of which one now."""
        jitter = self._random.random()
        return self._clock.monotonic() + self._pace.delay_s(
            failures, refused=refused, jitter=jitter
        )
