"""How far a sender's RTP timestamps are believed.

A gap that a timestamp tells is believed as far as the packet's arrival allows. Network jitter hides
some milliseconds, so a clock that runs ahead a little with each packet would be believed for ever.
Therefore each track has an allowance for what real time does not confirm, at once or by quicker
packets that follow.
"""

from cloudslice.codecs.opus import GRID, SAMPLE_RATE
from cloudslice.slicing.audio.clock_faults import ClockFault, ClockFaults
from cloudslice.slicing.audio.real_time import PAUSE_S

_UNCONFIRMED_SAMPLES = 12_000
"""Samples that a track is believed in all beyond what real time confirms: 0.25 s."""

_NEGLIGIBLE_SAMPLES = 240
_STEP_SAMPLES = 4_800
"""A clock that is off by more at a time has jumped; one that is off by less has a wrong rate."""

_CLEAN_PACKETS = 3
_MAX_DRIFT_S = 0.05


class Timestamps:
    """Ties one SSRC's extended timestamps to media positions.

    Attributes:
        is_fast: whether they were found to run ahead lately: durations tell more then.
    """

    __slots__ = (
        "_believed",
        "_clean_packets",
        "_drift_s",
        "_faults",
        "_offset",
        "_unconfirmed",
        "is_fast",
    )

    def __init__(self, faults: ClockFaults) -> None:
        self.is_fast = False
        self._faults = faults
        self._offset: int | None = None
        """Media position minus timestamp; None until the next packet tells."""
        self._unconfirmed = _UNCONFIRMED_SAMPLES
        """What is left of `_UNCONFIRMED_SAMPLES`."""
        self._believed = 0
        """The gaps that were believed, as far as real time has not contradicted them."""
        self._clean_packets = 0
        """How many packets in a row have come without a small gap."""
        self._drift_s = 0.0
        """How far the clocks may have gone apart since a packet was quicker than those before."""

    def restart(self) -> None:
        """The next timestamp has no relation to those before."""
        self._offset = None

    def position(self, timestamp: int) -> int | None:
        """The media position of a timestamp, or None before the first packet tells."""
        return None if self._offset is None else timestamp + self._offset

    def shift(self, samples: int) -> None:
        """Move the positions of all timestamps by `samples`: later, if it is positive."""
        assert self._offset is not None  # noqa: S101 - a packet has come
        self._offset += samples

    def gap(self, timestamp: int, end: int, confirmed: int) -> int | None:
        """The gap that a timestamp tells behind the position `end`, a multiple of `GRID`, as far as
        it is believed; None if it has no relation to the timestamps before. A remainder is kept in
        mind for the next gap.

        Args:
            timestamp: of the packet behind the gap.
            end: where the packet before it ends.
            confirmed: samples that real time allows the gap to have.
        """
        if self._offset is None:
            self._offset = end - timestamp
            return None
        gap = timestamp + self._offset - end
        if -GRID < gap <= 0:
            return 0
        gap = gap // GRID * GRID
        excess = min(gap, gap - max(0, confirmed // GRID * GRID))
        if gap < 0 or excess >= _STEP_SAMPLES:
            is_step = abs(gap) >= _STEP_SAMPLES
            self._faults.note(ClockFault.JUMPED if is_step else ClockFault.SLOW)
            self._offset = end - timestamp
            return None
        if self.is_fast and gap < _STEP_SAMPLES:
            self._clean_packets = 0
            excess = gap
        elif excess <= _NEGLIGIBLE_SAMPLES or self._charge(excess):
            excess = 0
        if excess:
            self._faults.note(ClockFault.FAST)
            self.shift(-excess)
        if gap - excess <= PAUSE_S * SAMPLE_RATE:
            self._believed += gap - excess
        return gap - excess

    def on_placed(self, packets: int, drift_s: float) -> None:
        """`packets` more have their place. Since the last ones the clocks may have gone apart by
        `drift_s` seconds."""
        self._drift_s = min(self._drift_s + drift_s, _MAX_DRIFT_S)
        self._clean_packets += packets
        self.is_fast = self.is_fast and self._clean_packets < _CLEAN_PACKETS

    def on_early(self, early_s: float) -> None:
        """A packet was quicker than all before, by `early_s` seconds. Gaps that jitter seemed to
        confirm may have been none."""
        wrong = min(self._believed, round((early_s - self._drift_s) * SAMPLE_RATE))
        self._drift_s = max(0.0, self._drift_s - early_s)
        if wrong > 0:
            self._believed -= wrong
            self._charge(wrong)

    def _charge(self, samples: int) -> bool:
        """Take `samples` off what the track is believed beyond real time; False if too few are
        left."""
        if samples <= self._unconfirmed:
            self._unconfirmed -= samples
            return True
        self.is_fast = True
        self._clean_packets = 0
        return False
