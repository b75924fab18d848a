"""Datagrams in memory that two processes share: what the one sends, the other receives, and no
kernel is in between."""

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Self

from cloudslice.rtp.native import NAME_BYTES, SLOT_BYTES

_TIME_BYTES = 8
_SLOTS = 16384
"""A socket buffer of 32 MB, as the port asks for, takes some more."""
_SSRCS = 1023
_PAGE = 4096
_FILTERS_AT, _LENGTHS_AT = _PAGE, 3 * _PAGE
_ARRIVALS_AT = _LENGTHS_AT + 4 * _SLOTS
_NAMES_AT = _ARRIVALS_AT + _TIME_BYTES * _SLOTS
_DATA_AT = _NAMES_AT + NAME_BYTES * _SLOTS
_END = _DATA_AT + SLOT_BYTES * _SLOTS


class _Counter(IntEnum):
    """Places of 64-bit numbers, each of which one side writes and the other reads."""

    WRITTEN, SKIPPED, OVERFLOWED, TAKEN, TAKING_NS, FILTERS = range(6)


class Slots(NamedTuple):
    """A row of slots as a `Batch` has it; datagrams and names in bytes, all else by slot."""

    memory: memoryview
    names: memoryview
    lengths: memoryview
    arrivals: memoryview
    """Seconds of the wall clock."""

    def copy(self, first: int, target: "Slots", to: int, count: int) -> None:
        """Copy `count` slots from `first` on to those of `target` from `to` on."""
        target.names[to * NAME_BYTES : (to + count) * NAME_BYTES] = self.names[
            first * NAME_BYTES : (first + count) * NAME_BYTES
        ]
        target.arrivals[to : to + count] = self.arrivals[first : first + count]
        lengths = self.lengths[first : first + count]
        target.lengths[to : to + count] = lengths
        for index, length in enumerate(lengths.tolist()):
            at, target_at = (first + index) * SLOT_BYTES, (to + index) * SLOT_BYTES
            target.memory[target_at : target_at + length] = self.memory[at : at + length]


class Ring:
    """A ring of datagrams: one process puts, another takes.

    The taker tells the putter by its filter what it need not put.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            whole = memoryview(mmap.mmap(file.fileno(), _END))
        self._counters = whole[:_PAGE].cast("Q")
        self._filters = [
            whole[at : at + _PAGE].cast("I") for at in (_FILTERS_AT, _FILTERS_AT + _PAGE)
        ]
        self._slots = Slots(
            whole[_DATA_AT:_END],
            whole[_NAMES_AT:_DATA_AT],
            whole[_LENGTHS_AT:_ARRIVALS_AT].cast("I"),
            whole[_ARRIVALS_AT:_NAMES_AT].cast("d"),
        )
        self._known = 0
        self._ssrcs: frozenset[int] = frozenset()

    def put(self, source: bytes, datagram: bytes, wall_s: float) -> None:
        """Send a datagram; it is lost, and counted, when there is no room.

        Args:
            source: a raw socket address of at most `NAME_BYTES` bytes.
            wall_s: second since the Unix epoch at which it arrives.
        """
        counters = self._counters
        written = counters[_Counter.WRITTEN]
        if written - counters[_Counter.TAKEN] >= _SLOTS:
            counters[_Counter.OVERFLOWED] += 1
            return
        slot = written % _SLOTS
        memory, names, lengths, arrivals = self._slots
        memory[slot * SLOT_BYTES : slot * SLOT_BYTES + len(datagram)] = datagram
        names[slot * NAME_BYTES : slot * NAME_BYTES + len(source)] = source
        lengths[slot] = len(datagram)
        arrivals[slot] = wall_s
        # Last, so that whoever sees it sees all of the datagram.
        counters[_Counter.WRITTEN] = written + 1

    def skip(self, count: int) -> None:
        """So many were not put, as the filter would drop them."""
        self._counters[_Counter.SKIPPED] += count

    def is_dropped(self, ssrc: int) -> bool:
        """Whether the taker's filter drops most packets of `ssrc` by now."""
        if self._counters[_Counter.FILTERS] != self._known:
            self._known = self._counters[_Counter.FILTERS]
            filter_ = self._filters[self._known % 2]
            self._ssrcs = frozenset(filter_[1 : 1 + filter_[0]])
        return ssrc in self._ssrcs

    def set_filter(self, ssrcs: frozenset[int]) -> None:
        """Most packets of these (1023 at most), and of no others, need not be put from now on."""
        version = self._counters[_Counter.FILTERS] + 1
        filter_ = self._filters[version % 2]
        for index, ssrc in enumerate(ssrcs):
            filter_[1 + index] = ssrc
        filter_[0] = len(ssrcs)
        self._counters[_Counter.FILTERS] = version

    def take(self, target: Slots, first: int) -> int:
        """Fill the slots of `target` from `first` on; how many were filled."""
        taken = self._counters[_Counter.TAKEN]
        count = min(self.waiting, len(target.lengths) - first)
        start = taken % _SLOTS
        before_end = min(count, _SLOTS - start)
        self._slots.copy(start, target, first, before_end)
        self._slots.copy(0, target, first + before_end, count - before_end)
        self._counters[_Counter.TAKEN] = taken + count
        return count

    @property
    def waiting(self) -> int:
        """How many datagrams were put and not taken."""
        return self._counters[_Counter.WRITTEN] - self._counters[_Counter.TAKEN]

    def add_taking(self, nanoseconds: int) -> None:
        """Count CPU time of taking."""
        self._counters[_Counter.TAKING_NS] += nanoseconds

    @property
    def counts(self) -> "RingCounts":
        """What was counted so far."""
        return RingCounts.read(self._counters)


class RingCounts(NamedTuple):
    """What a ring has counted; all zero where there is none."""

    skipped: int = 0
    taken: int = 0
    overflowed: int = 0
    taking_s: float = 0
    """CPU time."""

    @classmethod
    def read(cls, counters: memoryview) -> Self:
        return cls(
            counters[_Counter.SKIPPED],
            counters[_Counter.TAKEN],
            counters[_Counter.OVERFLOWED],
            counters[_Counter.TAKING_NS] / 1e9,
        )


@contextmanager
def new_ring() -> Iterator[Path]:
    """An empty ring's file, which is never on a disk."""
    descriptor, path = tempfile.mkstemp(prefix="cloudslice-bench-", dir="/dev/shm")
    try:
        os.truncate(descriptor, _END)
        os.close(descriptor)
        yield Path(path)
    finally:
        os.unlink(path)
