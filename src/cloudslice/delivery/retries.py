"""When to try again: pure decisions, all times in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UploadPace:
    """The pace at which uploads are repeated (contract D1: 1 s doubling to 60 s)."""

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


@dataclass(frozen=True, slots=True)
class CallbackPace:
    """The pace at which webhooks are repeated: contract E1 in the first minute, then ours."""

    repeat_s: float = 10.0
    contract_s: float = 60.0
    """Within this the contract's pace holds: at once after the first failure, then `repeat_s`."""
    late_first_s: float = 30.0
    late_ceiling_s: float = 600.0
    retention_s: float = 24 * 3600.0
    """No attempt starts so long after the first one; the contract's minute is always granted."""

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
