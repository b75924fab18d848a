"""A slice that is being written, as slicing has it in hand."""

from collections.abc import Callable, Mapping

from cloudslice.spool.drafts import Draft, Finish
from cloudslice.spool.writer import SliceWriter


class Growth:
    """A `GrowingSlice` of a spool."""

    def __init__(
        self,
        draft: Draft,
        writer: SliceWriter,
        append: Callable[[Draft, bytes], None],
        hand_in: Callable[[Draft, Callable[[Draft], None]], None],
    ) -> None:
        """
        Args:
            draft: the slice.
            writer: is to be told of its end, on its own thread.
            append: takes a piece of it.
            hand_in: takes a step of it for that thread.
        """
        self._draft = draft
        self._writer = writer
        self._append = append
        self._hand_in = hand_in
        self._is_open = True

    def append(self, data: bytes) -> None:
        """See `GrowingSlice`."""
        self._check_open()
        self._append(self._draft, data)

    def finish(
        self, start_utc_ms: int, duration_ms: int, details: Mapping[str, str], *, head: bytes = b""
    ) -> None:
        """See `GrowingSlice`."""
        self._end()
        finish = Finish(start_utc_ms, duration_ms, details, head)
        self._hand_in(self._draft, lambda draft: self._writer.finish(draft, finish))

    def abandon(self, reason: str) -> None:
        """See `GrowingSlice`."""
        if self._is_open:
            self._end()
            self._hand_in(self._draft, lambda draft: self._writer.abandon(draft, reason))

    def discard(self) -> None:
        """See `GrowingSlice`."""
        self._end()
        self._hand_in(self._draft, self._writer.discard)

    def _end(self) -> None:
        self._check_open()
        self._is_open = False

    def _check_open(self) -> None:
        if not self._is_open:
            raise RuntimeError("the slice is finished, discarded or abandoned")
