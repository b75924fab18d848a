"""Keeps the first of an app's events in line in memory, and reads the others from the record when
there is room for them."""

from cloudslice.webhooks.app_outbox import AppOutbox
from cloudslice.webhooks.line import Line
from cloudslice.webhooks.outbox import OutboxEvent

_WINDOW = 256
"""Events in line held in memory; the others stay in the database."""


class LineReader:
    """Fills a line, in the order of the record."""

    def __init__(self, outbox: AppOutbox, line: Line, *, is_behind: bool) -> None:
        """
        Args:
            is_behind: whether the record has events that will not be handed over.
        """
        self._outbox = outbox
        self._line = line
        self._is_behind = is_behind
        """Whether the record has events in line behind `_last_id`."""
        self._is_asking = False
        self._last_id = 0
        self._rewinds = 0

    @property
    def has_more(self) -> bool:
        """Whether there is something to read, and room for it."""
        return self._is_behind and len(self._line) < _WINDOW

    def take(self, event: OutboxEvent) -> None:
        """There is a new event, on record."""
        if self._is_behind or self._is_asking or len(self._line) >= _WINDOW:
            self._is_behind = True
        else:
            self._last_id = event.id
            self._line.extend([event])

    def rewind(self) -> None:
        """Read the line anew: events were put in it, anywhere."""
        self._rewinds += 1
        self._line.clear()
        self._last_id, self._is_behind = 0, True

    async def read(self) -> None:
        """Read as much of the line as memory has room for."""
        if not self.has_more:
            return
        room, rewinds = _WINDOW - len(self._line), self._rewinds
        # Reset first: what comes while we ask may not be in the answer.
        self._is_behind, self._is_asking = False, True
        try:
            found, last_id, goes_on = await self._outbox.find_in_line(self._last_id, room)
        finally:
            self._is_asking = False
        if self._rewinds != rewinds:
            return  # what was found may stand before the beginning now
        self._last_id = last_id
        self._is_behind |= goes_on
        self._line.extend(found)
