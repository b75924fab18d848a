"""When a webhook is tried again: decisions without input or output, all times in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallbackPace:
    """The pace at which webhooks are repeated (docs/wire.md, 10.1)."""

    repeat_s: float = 10.0
    contract_s: float = 60.0
    """Within this the documented pace holds: at once after the first failure, then `repeat_s`."""
    late_first_s: float = 30.0
    late_ceiling_s: float = 600.0
    retention_s: float = 24 * 3600.0
    """No attempt starts so long after the event; the first minute is always granted."""

    @property
    def waits_for_receivers(self) -> bool:
        """Whether events outlive the first minute, so that an outage can be waited for."""
        return self.retention_s > self.contract_s

    def next_attempt_at(
        self, first_at: float, failures: int, failed_at: float, since_at: float
    ) -> float | None:
        """When to try again, or None to give up.

        Args:
            first_at: when the first attempt started.
            failures: how many attempts have failed, at least 1.
            failed_at: when the last of them failed.
            since_at: from when on the retention counts.
        """
        soon = failed_at if failures == 1 else failed_at + self.repeat_s
        if soon <= first_at + self.contract_s:
            return soon
        late = failed_at + self.late_wait_s(failed_at - first_at)
        return late if late <= since_at + self.retention_s else None

    def late_wait_s(self, failing_s: float) -> float:
        """How long to wait after a failure once everything has failed for `failing_s`.

        Half of the time that has gone by: grows by half each time, needs no state.
        """
        return min(max(failing_s / 2, self.late_first_s), self.late_ceiling_s)
