"""What slicing needs of delivery: somewhere to put slices."""

from typing import Protocol

from cloudslice.slices import Details, SliceOrigin


class GrowingSlice(Protocol):
    """A slice that is being written. Calls return at once and are carried out in order."""

    def append(self, data: bytes) -> None:
        """Put `data` at the end of the file; it survives a kill of the process from soon on."""
        ...

    def finish(
        self, start_utc_ms: int, duration_ms: int, details: Details, *, head: bytes = b""
    ) -> None:
        """The file is complete: store it durably and deliver it. This fixes its times and its name.

        Args:
            start_utc_ms: when its first sample was.
            duration_ms: how much time the slice covers.
            details: what else is told of it.
            head: what the file's first bytes are to be instead (same length as what is there).
        """
        ...

    def abandon(self, reason: str) -> None:
        """The file breaks off here: make it valid, deliver it, and tell the loss of its end.
        Harmless when it is finished.

        Args:
            reason: why, as event 1006 says it.
        """
        ...


class SliceStore(Protocol):
    """What slicing needs of delivery. Calls return at once, never block the event loop."""

    def grow(self, origin: SliceOrigin, start_utc_ms: int) -> GrowingSlice:
        """Start a slice whose file grows.

        Args:
            origin: whose slice it is.
            start_utc_ms: when its first sample was, as far as is known. `finish` says it for good;
                this holds if the process is killed before.
        """
        ...

    def put(self, origin: SliceOrigin, start_utc_ms: int, data: bytes, details: Details) -> None:
        """Store a slice that is complete in memory (a picture) durably and deliver it."""
        ...
