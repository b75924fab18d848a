"""When a webhook is tried again: a decision without input or output, all times in seconds."""

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
    """No attempt starts so long after the first one; the first minute is always granted."""

    def next_attempt_at(self, first_at: float, failures: int, failed_at: float) -> float | None:
        """When to try again, or None to give up.

        Args:
            first_at: when the first attempt started.
            failures: how many attempts have failed, at least 1.
            failed_at: when the last of them failed.
        """
        soon = failed_at if failures == 1 else failed_at + self.repeat_s
        if soon <= first_at + self.contract_s:
            return soon
        # Half of the time that has gone by: grows by half each time, needs no state.
        wait = min(max((failed_at - first_at) / 2, self.late_first_s), self.late_ceiling_s)
        late = failed_at + wait
        return late if late <= first_at + self.retention_s else None
