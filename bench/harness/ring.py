"""Datagrams in memory that two processes share: what the one sends, the other receives, and no
kernel is in between.

Both ends are in ring.c: two cores have to do for senders and server.
"""

import ctypes
import functools
import mmap
import time
from ctypes import (
    POINTER,
    Structure,
    c_bool,
    c_double,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Self

from cloudslice.rtp.batch import Batch
from cloudslice.rtp.native import NAME_BYTES, SLOT_BYTES, BatchStruct

_TIME_BYTES = 8
_SLOTS = 65536
"""A socket buffer of 32 MB, as the port asks for, takes some more."""
_SSRCS = 1023
_REMEMBERED = 64
"""Filters whose time is known."""
_PAGE = 4096
_FILTERS_AT, _LENGTHS_AT = _PAGE, 3 * _PAGE
_ARRIVALS_AT = _LENGTHS_AT + 4 * _SLOTS
_NAMES_AT = _ARRIVALS_AT + _TIME_BYTES * _SLOTS
_DATA_AT = _NAMES_AT + NAME_BYTES * _SLOTS
RING_BYTES = _DATA_AT + SLOT_BYTES * _SLOTS


LIBRARY = Path(__file__).with_name("ring-native.so")
"""Made by `new_ring`."""


class _Counter(IntEnum):
    """Places of 64-bit numbers, each of which one side writes and the other reads."""

    WRITTEN, SKIPPED, OVERFLOWED, TAKEN, TAKING_NS, FILTERS = range(6)


class _RingStruct(Structure):
    """A struct ring."""

    _fields_ = (
        ("slot_count", c_uint64),
        ("counters", c_void_p),
        ("lengths", c_void_p),
        ("arrivals", c_void_p),
        ("names", c_void_p),
        ("memory", c_void_p),
    )


class OutletStruct(Structure):
    """A struct outlet: one RTP stream that goes into a ring."""

    _fields_ = (
        ("protect", c_void_p),
        ("srtp", c_void_p),
        ("name", c_uint8 * NAME_BYTES),
        ("ssrc", c_uint32),
        ("sequence", c_uint16),
        ("payload_type", c_uint8),
        ("packets", c_uint64),
        ("octets", c_uint64),
        ("refused", c_uint64),
    )
    name: "ctypes.Array[c_uint8]"
    packets: int
    octets: int
    refused: int


class FlightStruct(Structure):
    """A struct flight: units of a stream that are due."""

    _fields_ = (
        ("payloads", c_void_p),
        ("ends", c_void_p),
        ("unit_ends", c_void_p),
        ("first", c_uint32),
        ("count", c_uint32),
        ("timestamp", c_uint32),
        ("step", c_uint32),
        ("arrival", c_double),
        ("period", c_double),
        ("thinned_to", c_uint32),
        ("marks_first", c_bool),
        ("marks_ends", c_bool),
    )


class Ring:
    """A ring of datagrams: one process puts, another takes.

    The taker tells the putter by its filter what it need not put.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), RING_BYTES)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        whole = memoryview(memory)
        self._counters = whole[: _PAGE // 2].cast("Q")
        self._filtered_at = whole[_PAGE // 2 : _PAGE].cast("d")
        assert len(self._filtered_at) >= _REMEMBERED
        self._filters = [
            whole[at : at + _PAGE].cast("I") for at in (_FILTERS_AT, _FILTERS_AT + _PAGE)
        ]
        parts = (0, _LENGTHS_AT, _ARRIVALS_AT, _NAMES_AT, _DATA_AT)
        self._struct = ctypes.pointer(_RingStruct(_SLOTS, *(start + at for at in parts)))
        self._known = 0
        self._ssrcs: frozenset[int] = frozenset()

    def put(self, outlet: OutletStruct, flight: FlightStruct) -> None:
        """Send what is due of a stream. What is thinned out is counted as skipped; what there is no
        room for is lost, and counted."""
        _library().put(self._struct, ctypes.byref(outlet), ctypes.byref(flight))

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
        self._filtered_at[version % _REMEMBERED] = time.monotonic()
        self._counters[_Counter.FILTERS] = version

    @property
    def filters(self) -> int:
        """How many filters there have been, at the last `is_dropped`."""
        return self._known

    def filtered_at(self, number: int) -> float:
        """The monotonic second of filter `number`, or of the oldest one after it that is known."""
        second: float = self._filtered_at[max(number, self._known - _REMEMBERED + 1) % _REMEMBERED]
        return second

    def take(self, batch: Batch) -> bool:
        """Fill the slots of `batch` that are empty; whether nothing waits any more."""
        waiting: int = _library().take(self._struct, batch._pointer)
        return waiting == 0

    def add_taking(self, nanoseconds: int) -> None:
        """Count CPU time of taking."""
        self._counters[_Counter.TAKING_NS] += nanoseconds

    @property
    def counts(self) -> "RingCounts":
        """What was counted so far."""
        return RingCounts.read(self._counters)


class RingCounts(NamedTuple):
    """What a ring has counted; all zero where there is none."""

    written: int = 0
    skipped: int = 0
    taken: int = 0
    overflowed: int = 0
    taking_s: float = 0
    """CPU time."""

    @classmethod
    def read(cls, counters: memoryview) -> Self:
        return cls(
            counters[_Counter.WRITTEN],
            counters[_Counter.SKIPPED],
            counters[_Counter.TAKEN],
            counters[_Counter.OVERFLOWED],
            counters[_Counter.TAKING_NS] / 1e9,
        )


@functools.cache
def _library() -> ctypes.PyDLL:
    library = ctypes.PyDLL(str(LIBRARY))
    structs = (_RingStruct, OutletStruct, FlightStruct)
    sizes = (c_uint32 * len(structs)).in_dll(library, "ring_struct_sizes")
    assert tuple(sizes) == tuple(map(ctypes.sizeof, structs))
    library.put.argtypes = (POINTER(_RingStruct), POINTER(OutletStruct), POINTER(FlightStruct))
    library.put.restype = None
    library.take.argtypes = (POINTER(_RingStruct), POINTER(BatchStruct))
    library.take.restype = c_uint64
    return library
