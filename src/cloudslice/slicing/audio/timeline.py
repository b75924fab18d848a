"""The media time of an audio track: where each packet belongs, and when that was.

1. Positions count samples of 48 kHz from the track's first packet, in multiples of 2.5 ms. Packets
   never overlap, and keep their order.
2. Positions are real time: 15 s of them are 15 s of life, whatever the sender's timestamps do.
3. A timestamp's gap is believed as far as the packet's arrival allows it. What goes further makes
   0.25 s in the life of a track at most; then small gaps are not believed until some packets come
   without any.
4. A packet that comes after a pause, later than its timestamp says, is set aside for 1 s at most,
   with all that follow. If they come faster than real time, the network had held them back, and
   they belong where their timestamps say. If not, the sender had stood still: a gap of that length
   is before the first one. A sender report that comes meanwhile decides at once.
5. Packets that fall behind while they flow get a gap, when they have been late for some seconds
   and no sender report says that it is the network.
6. A packet far ahead of real time is dropped.
7. Without relation to former timestamps (a new SSRC, a step backwards) the arrivals of 1 s tell the
   place.

Synchronous and without a clock of its own, so that its tests need no waiting.
"""

from math import inf
from typing import NamedTuple

from cloudslice.codecs.opus import GRID, SAMPLE_RATE
from cloudslice.media.tracks import OpusRun
from cloudslice.slicing.audio.clock_faults import ClockFault, ClockFaults
from cloudslice.slicing.audio.real_time import ON_TIME_S, RealTime
from cloudslice.slicing.audio.sender_clock import SenderClock
from cloudslice.slicing.audio.timestamps import Timestamps

DECIDED_AFTER_S = 0.8
"""Seconds of packets that decide about a late one: more than a sender has in its buffers when it
goes on after a stall."""

_DECIDED_BY_S = 1.0
"""Seconds after a late packet by which it is decided in any case. Packets are handed over some time
after they came."""

_LATE_S = 0.3
"""Seconds: more than the jitter of a network on which one can talk, less than a stall that is
heard."""

_CAUGHT_UP_S = 0.1
_PROGRESS_S = 0.08
"""Seconds. Packets that were held back, and come a fifth faster than real time, become less late by
as much in the second half of `DECIDED_AFTER_S`. Jitter differs by less between its halves."""


class Placed(NamedTuple):
    """Packets that have their place now."""

    run: OpusRun
    samples: int
    """Of each packet."""
    gap: int
    """Samples before the first one in which nothing came, a multiple of `GRID`."""
    stood_still: bool
    """The sender had stood still in some of them, as its timestamps did."""


class _Waiting(NamedTuple):
    run: OpusRun
    samples: int


class Timeline:
    """Places runs of packets one after the other.

    Attributes:
        end: the position after the last placed packet.
        last_arrival: monotonic second at which the last packet came, placed or set aside.
    """

    __slots__ = (
        "_claim",
        "_faults",
        "_has_burst",
        "_is_related",
        "_real_time",
        "_sender",
        "_timestamps",
        "_waiting",
        "end",
        "last_arrival",
    )

    def __init__(self, faults: ClockFaults) -> None:
        """Args:
        faults: is told what the sender's clock does.
        """
        self.end = 0
        self.last_arrival = -inf
        self._faults = faults
        self._real_time = RealTime()
        self._sender = SenderClock()
        self._timestamps = Timestamps(faults)
        self._has_burst = False
        self._waiting: list[_Waiting] = []
        """What is set aside, in order."""
        self._claim = 0
        """The gap before it by its timestamp."""
        self._is_related = False
        """Whether its timestamp has a relation to those before."""

    @property
    def is_deciding(self) -> bool:
        """Whether something is set aside."""
        return bool(self._waiting)

    def take(self, run: OpusRun, samples: int) -> list[Placed]:
        """The next packets, of `samples` each, have come. What has its place now."""
        pause_s = run.arrival - self.last_arrival
        self.last_arrival = run.last_arrival
        if self._waiting:
            self._waiting.append(_Waiting(run, samples))
            return self._decide(run.arrival)
        late_s = self._real_time.lateness_s(run.earliest, self.end + samples)
        confirmed_s = late_s + self._real_time.drift_s(run.arrival)
        claim = self._timestamps.gap(run.timestamp, self.end, round(confirmed_s * SAMPLE_RATE))
        is_related = claim is not None or self.end == 0
        gap = claim or 0
        late_s -= gap / SAMPLE_RATE
        if self._is_to_wait(run, late_s, pause_s, is_related=is_related):
            self._waiting.append(_Waiting(run, samples))
            self._claim, self._is_related = gap, is_related
            self._sender.expire()
            return self._decide(run.arrival)
        return self._place(run, samples, gap, late_s)

    def tick(self, now: float) -> list[Placed]:
        """All that came until monotonic second `now` is here. What has its place now."""
        return self._decide(now)

    def settle(self) -> list[Placed]:
        """Nothing more comes: what was set aside has its place now."""
        placed = []
        while self._waiting:
            placed += self._decide(inf)
        return placed

    def restart(self) -> list[Placed]:
        """The next packet's timestamp has no relation to the ones before."""
        placed = self.settle()
        self._timestamps.restart()
        self._sender.restart()
        return placed

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        """The sender says that extended `timestamp` was at its `utc_ms`."""
        position = self._timestamps.position(timestamp)
        if position is not None:
            self._sender.report(position, utc_ms)

    def monotonic(self, position: int) -> float:
        """The monotonic second at which a media position was, or will be; later packets may still
        tell it better."""
        return self._real_time.second(position)

    def sender_utc_ms(self, position: int) -> float | None:
        """The sender's UTC at a position, if it has told."""
        return self._sender.utc_ms(position)

    @property
    def _usual_s(self) -> float:
        """How late packets are anyway, while what the network held back comes."""
        return self._real_time.late_s if self._real_time.late_s > _LATE_S else 0.0

    def _is_to_wait(self, run: OpusRun, late_s: float, pause_s: float, *, is_related: bool) -> bool:
        if not is_related:
            return late_s > self._usual_s + ON_TIME_S
        limit_s = self._usual_s + _LATE_S + self._real_time.drift_s(run.arrival)
        return pause_s > _LATE_S and late_s > limit_s

    def _decide(self, now: float) -> list[Placed]:
        """Place what was set aside, if it is known by now where it belongs."""
        if not self._waiting:
            return []
        late = self._latenesses()
        least_s = min(each for _arrival, each in late)
        if not self._is_related:
            least_s -= self._usual_s
            stood_still = least_s > ON_TIME_S
            if stood_still and not self._is_decided(now):
                return []
        else:
            told = self._stood_still(late, least_s, now)
            if told is None:
                return []
            stood_still = told
        (run, samples), *rest = self._waiting
        self._waiting.clear()
        gap, first_late_s = self._claim, late[0][1]
        if stood_still:
            more = int(least_s * SAMPLE_RATE) // GRID * GRID
            gap += more
            first_late_s -= more / SAMPLE_RATE
            self._shift(more)
            if self._is_related:
                self._faults.note(ClockFault.STALLED)
        stood_still &= self._is_related
        placed = self._place(run, samples, gap, first_late_s, stood_still=stood_still)
        last_arrival = self.last_arrival
        self.last_arrival = run.last_arrival
        for each in rest:
            placed += self.take(*each)
        self.last_arrival = last_arrival
        return placed

    def _is_decided(self, now: float) -> bool:
        """Whether enough has followed the first packet that was set aside."""
        begin, last = self._waiting[0].run.arrival, self._waiting[-1].run.last_arrival
        return last - begin >= DECIDED_AFTER_S or now - begin >= _DECIDED_BY_S

    def _latenesses(self) -> list[tuple[float, float]]:
        """When each of the runs that wait came, and how late it is behind the claimed gap."""
        follows_timestamps = self._is_related and not self._timestamps.is_fast
        start, first = self.end + self._claim, self._waiting[0].run.timestamp
        found = []
        for run, samples in self._waiting:
            if follows_timestamps:
                start = self.end + self._claim + run.timestamp - first
            late_s = self._real_time.lateness_s(run.earliest, start + samples)
            found.append((run.arrival, late_s))
            start += samples * len(run.sizes)
        return found

    def _stood_still(
        self, late: list[tuple[float, float]], least_s: float, now: float
    ) -> bool | None:
        """Whether the sender stood still before the packets that wait; None: not known yet."""
        begin, first_late_s = late[0]
        if least_s <= max(_CAUGHT_UP_S, first_late_s / 2):
            return False
        told = self._sender.stood_still(first_late_s)
        if told is not None:
            return told
        if not self._is_decided(now):
            return None
        least_before_s = min(each for at, each in late if at < begin + DECIDED_AFTER_S / 2)
        return least_before_s - least_s < _PROGRESS_S

    def _place(
        self, run: OpusRun, samples: int, gap: int, late_s: float, *, stood_still: bool = False
    ) -> list[Placed]:
        if self._real_time.overdue_s and (overdue := self._overdue_gap(late_s)):
            gap, stood_still = gap + overdue, True
        start = self.end + gap
        room = self._real_time.room(start, run.arrival, run.last_arrival)
        count = min(len(run.sizes), room // samples)
        if count < len(run.sizes):
            self._drop(len(run.sizes) - count, samples)
            if count == 0:
                self._shift(-gap)
                return []
            run = _beginning(run, count)
        self._timestamps.on_placed(count, self._real_time.drift_s(run.last_arrival))
        origin = self._real_time.origin
        self._real_time.observe(run.earliest, start + samples, run.arrival, run.last_arrival)
        is_first = origin == inf
        self._note_early(
            run.arrival - run.earliest if is_first else origin - self._real_time.origin
        )
        self.end = start + samples * count
        if self._real_time.late_s < _CAUGHT_UP_S:
            self._sender.on_time(self.end)
        return [Placed(run, samples, gap, stood_still)]

    def _overdue_gap(self, late_s: float) -> int:
        """The gap before packets that fell behind while they flowed, unless the network is late."""
        late_s = min(late_s, self._real_time.overdue_s)
        if late_s < _CAUGHT_UP_S or self._sender.stood_still(late_s) is False:
            return 0
        self._real_time.made_up_for()
        self._faults.note(ClockFault.SLOW)
        gap = int(late_s * SAMPLE_RATE) // GRID * GRID
        self._shift(gap)
        return gap

    def _drop(self, count: int, samples: int) -> None:
        self._faults.note_ahead(count)
        self._shift(-count * samples)

    def _shift(self, samples: int) -> None:
        self._timestamps.shift(samples)
        self._sender.shift(samples)

    def _note_early(self, early_s: float) -> None:
        """Packets were quicker than all before, or the first, by `early_s` seconds."""
        if early_s <= 0:
            return
        if self._real_time.is_settled:
            self._timestamps.on_early(early_s)
        elif early_s > _LATE_S and not self._has_burst:
            self._has_burst = True
            self._faults.note(ClockFault.BURST)


def _beginning(run: OpusRun, count: int) -> OpusRun:
    """The first packets of a run."""
    sizes = run.sizes[:count]
    return run._replace(data=run.data[: sum(sizes)], sizes=sizes)
