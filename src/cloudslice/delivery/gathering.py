"""Puts things on record in groups, for what many do at about the same time and nobody waits for.

A commit, and the thread that makes it, cost the same for one as for many. So one operation takes
all there is when its turn comes, and it lets itself be committed along with what is in a hurry.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from cloudslice.database import Database

T = TypeVar("T")


class Gatherer(Generic[T]):
    """Records what it is given, in order, soon; nothing is left out for as long as it runs."""

    def __init__(
        self,
        database: Database,
        record: Callable[[sqlite3.Connection, T], object],
        on_recorded: Callable[[Sequence[T]], object],
        *,
        within_s: float,
        what: str,
    ) -> None:
        """
        Args:
            database: where it is recorded.
            record: an operation for one of them.
            on_recorded: called on the loop with those that are on record.
            within_s: so much later they are on record at most, unless the disk refuses.
            what: names this in the log.
        """
        self._database = database
        self._record = record
        self._on_recorded = on_recorded
        self._within_s = within_s
        self._what = what
        # Added to on the loop, taken from by the operation; each is one step under the GIL.
        self._items: list[T] = []
        self._added = asyncio.Event()

    def add(self, item: T) -> None:
        """Record this too. Returns at once."""
        self._items.append(item)
        self._added.set()

    async def run(self) -> None:
        """Record until cancelled; what there is then is recorded as the database closes."""
        try:
            while True:
                await self._added.wait()
                self._added.clear()
                recorded = await self._database.persist(self._record_all, within_s=self._within_s)
                if recorded:  # none, if the operation before has taken them along
                    self._on_recorded(recorded)
        finally:
            if self._items:
                self._database.post(self._record_all, self._what)

    def _record_all(self, connection: sqlite3.Connection) -> list[T]:
        items = list(self._items)
        for item in items:
            self._record(connection, item)
        self._database.after_commit(lambda: self._forget(len(items)))
        return items

    def _forget(self, count: int) -> None:
        del self._items[:count]
