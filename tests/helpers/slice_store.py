"""A SliceStore in memory, and a clock moved by hand."""

import asyncio
from dataclasses import dataclass, field

from cloudslice.slices import Details, SliceOrigin

UTC_AT_ZERO_MS = 1_700_000_000_000


class ManualClock:
    """Stands still until it is moved; its second 0 is at `UTC_AT_ZERO_MS`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def utc_ms(self, at: float | None = None) -> int:
        return UTC_AT_ZERO_MS + round((self.now if at is None else at) * 1000)


class SettableClock(ManualClock):
    """Its wall clock can be set."""

    def __init__(self) -> None:
        super().__init__()
        self.step_ms = 0

    def utc_ms(self, at: float | None = None) -> int:
        return super().utc_ms(at) + self.step_ms


@dataclass
class StoredSlice:
    """What became of one slice; also the GrowingSlice that is written to."""

    origin: SliceOrigin
    start_utc_ms: int
    """Until it is finished, as far as is known."""
    data: bytearray = field(default_factory=bytearray)
    appends: list[int] = field(default_factory=list)
    duration_ms: int | None = None
    """None while it grows."""
    details: Details = field(default_factory=dict)
    abandoned: str = ""
    """Why it is to end early."""

    def append(self, data: bytes) -> None:
        assert self.duration_ms is None, "appended after the end"
        assert not self.abandoned, "appended after the end"
        self.data += data
        self.appends.append(len(data))

    def finish(
        self, start_utc_ms: int, duration_ms: int, details: Details, *, head: bytes = b""
    ) -> None:
        assert self.duration_ms is None, "finished twice"
        self.start_utc_ms = start_utc_ms
        self.data[: len(head)] = head
        self.duration_ms = duration_ms
        self.details = details

    def abandon(self, reason: str) -> None:
        if self.duration_ms is None:
            self.abandoned = reason


class MemoryStore:
    """Keeps all slices in the order of their start."""

    def __init__(self) -> None:
        self.slices: list[StoredSlice] = []
        self.has_picture = asyncio.Event()

    def grow(self, origin: SliceOrigin, start_utc_ms: int) -> StoredSlice:
        self.slices.append(StoredSlice(origin, start_utc_ms))
        return self.slices[-1]

    def put(self, origin: SliceOrigin, start_utc_ms: int, data: bytes, details: Details) -> None:
        self.slices.append(
            StoredSlice(origin, start_utc_ms, bytearray(data), duration_ms=0, details=details)
        )
        self.has_picture.set()
