"""Sees to it that every slice of an anchor's audio comes to an end, whatever breaks."""

from cloudslice.slices import SliceOrigin
from cloudslice.slicing.slice_store import GrowingSlice, SliceStore

_REASON = "a fault of the server cut it off"


class OneSlice:
    """One slice of a store, which grows.

    A slice that a fault left open is kept as far as it was written. A task whose slice stayed open
    would never end.
    """

    def __init__(self, store: SliceStore) -> None:
        self._store = store
        self._last: GrowingSlice | None = None

    def grow(self, origin: SliceOrigin, start_utc_ms: int) -> GrowingSlice:
        """Begin one. The slice before it ends, if it has not ended yet."""
        self.abandon()
        self._last = self._store.grow(origin, start_utc_ms)
        return self._last

    def abandon(self) -> None:
        """End the slice that grows. Harmless when none does."""
        last, self._last = self._last, None
        if last is not None:
            last.abandon(_REASON)
