"""Keeps ended events for as long and as many as the settings say, and deletes the others."""

import asyncio
from collections.abc import Callable, Collection

from cloudslice.database import Database
from cloudslice.faults import Faults
from cloudslice.webhooks import history
from cloudslice.webhooks.outbox import Ending

_LOOK_EVERY_S = 60.0
_STEP_WITHIN_S = 0.1
"""So long a step may wait for others to be committed with. Nobody waits for it."""


class HistoryKeeper:
    """Deletes events, the oldest first, in small steps.

    Attributes:
        used_bytes: what ended events take in the database, about.
    """

    def __init__(
        self,
        database: Database,
        steady_ms: Callable[[], int],
        faults: Faults,
        *,
        hours: float,
        mib: float,
    ) -> None:
        """
        Args:
            steady_ms: the time for `hours`, of a clock that is steady over restarts.
            hours: so long an event is kept after its end.
            mib: so much all of them may take.
        """
        self.used_bytes = 0
        self._database = database
        self._steady_ms = steady_ms
        self._kept_ms = round(hours * 3_600_000)
        self._limit_bytes = round(mib * 1024**2)
        self._is_over = asyncio.Event()
        self._is_measured = False
        self._faults = faults

    def note_ended(self, endings: Collection[Ending]) -> None:
        """These have ended, which is on record."""
        self.used_bytes += history.size_of(endings)
        if self.used_bytes > self._limit_bytes or self._kept_ms == 0:
            self._is_over.set()

    def note_replayed(self, size: int) -> None:
        """So many bytes of events are in line again."""
        self.used_bytes -= size

    def measure_anew(self) -> None:
        """Ended events have come or gone by another way."""
        self._is_measured = False
        self._is_over.set()

    async def run(self) -> None:
        """Delete what is too old or too much, until cancelled."""
        while True:
            self._is_over.clear()
            try:
                if not self._is_measured:
                    self._is_measured = True
                    self.used_bytes = await self._database.persist(history.measure)
                while await self._delete_some():
                    pass
            except Exception as error:
                self._faults.caught(error)
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._is_over.wait()
            except TimeoutError:
                pass

    async def _delete_some(self) -> bool:
        """Delete a step's worth; whether there is more to delete."""
        before_ms = self._steady_ms() - self._kept_ms
        excess = self.used_bytes - self._limit_bytes
        size, is_more = await self._database.persist(
            lambda c: history.delete_oldest(c, before_ms, excess), within_s=_STEP_WITHIN_S
        )
        self.used_bytes -= size
        return is_more
