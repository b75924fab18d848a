"""What a sender's clock did: counted, logged once for each track, and told with the slice."""

from enum import Enum

import structlog

from cloudslice.slicing.counters import SlicingCounters

_log = structlog.get_logger(__name__)


class ClockFault(Enum):
    """How a sender's timestamps differ from real time. The value names a counter and stands in the
    slice's metadata."""

    STALLED = "stalled"
    """They went on without a gap after a pause in which the sender had stood still."""
    SLOW = "slow"
    """They fell behind while packets flowed."""
    FAST = "fast"
    """They ran ahead, or more audio came than time passed."""
    JUMPED = "jumped"
    """They made a step that real time did not make."""
    BURST = "burst"
    """The track began with audio that had waited at the sender."""


class ClockFaults:
    """The faults of one track's clock."""

    def __init__(self, counters: SlicingCounters, **who: str) -> None:
        """Args:
        counters: counts them.
        who: names the track in the log.
        """
        self._counters = counters
        self._who = who
        self._logged: set[ClockFault] = set()
        self._since_slice: set[ClockFault] = set()

    def note(self, fault: ClockFault) -> None:
        """It has happened once more."""
        counter = f"clock_{fault.value}"
        setattr(self._counters, counter, getattr(self._counters, counter) + 1)
        self._since_slice.add(fault)
        if fault not in self._logged:
            self._logged.add(fault)
            _log.info("sender's audio clock differs from real time", how=fault.value, **self._who)

    def note_ahead(self, packets: int) -> None:
        """Packets were dropped, as they were far ahead of real time."""
        self._counters.packets_ahead += packets
        self.note(ClockFault.FAST)

    def take(self) -> str:
        """What has happened since the last call, for a slice's metadata; empty if nothing."""
        names = sorted(fault.value for fault in self._since_slice)
        self._since_slice.clear()
        return ",".join(names)
