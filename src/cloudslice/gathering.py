"""Puts things on record in groups, for what many do at about the same time and nobody waits for.

A commit, and the thread that makes it, cost the same for one as for many. So one operation takes
all there is when its turn comes, and it lets itself be committed along with what is in a hurry.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from cloudslice.database import Database

T = TypeVar("T")

_RETRY_S = 10.0
"""Seconds after which an item whose record raises is tried again."""


class Gatherer(Generic[T]):
    """Records what it is given, in order, soon; nothing is left out for as long as it runs."""

    def __init__(
        self,
        database: Database,
        record: Callable[[sqlite3.Connection, Sequence[T]], object],
        on_recorded: Callable[[Sequence[T]], object],
        *,
        within_s: float,
        what: str,
        caught: Callable[[Exception], object],
    ) -> None:
        """
        Args:
            database: where it is recorded.
            record: an operation for some of them.
            on_recorded: called on the loop with those that are on record.
            within_s: after so many seconds they are on record, unless the disk refuses.
            what: names this in the log.
            caught: is passed exceptions that nobody foresaw.
        """
        self._database = database
        self._record = record
        self._on_recorded = on_recorded
        self._within_s = within_s
        self._what = what
        self._caught = caught
        # Added to on the loop, taken from by the operation; each is one step under the GIL.
        self._items: list[T] = []
        self._set_aside: list[T] = []  # what cannot be recorded, until `_retry_at`
        self._retry_at: float | None = None
        self._added = asyncio.Event()

    def add(self, item: T) -> None:
        """Record this too. Returns at once."""
        self._items.append(item)
        self._added.set()

    async def run(self) -> None:
        """Record until cancelled; what there is then is recorded as the database closes."""
        try:
            while True:
                await self._wait()
                try:
                    recorded = await self._database.persist(
                        self._record_all, within_s=self._within_s
                    )
                except Exception as error:
                    await self._record_singly(error)
                else:
                    self._tell(recorded)
        finally:
            if self._items:
                self._database.post(self._record_all, self._what)
            for item in self._set_aside:
                self._database.post(partial(self._record_one, item), self._what)

    async def _wait(self) -> None:
        """Until there is something to record."""
        try:
            async with asyncio.timeout_at(self._retry_at):
                await self._added.wait()
        except TimeoutError:
            pass
        self._added.clear()
        if self._retry_at is not None and asyncio.get_running_loop().time() >= self._retry_at:
            self._retry_at = None
            self._items.extend(self._set_aside)
            self._set_aside.clear()

    async def _record_singly(self, error_of_all: Exception) -> None:
        """Record those that can be recorded and set the others aside."""
        has_found_it = False
        for item in list(self._items):
            try:
                await self._database.persist(partial(self._record_first, count=1))
            except Exception as error:
                has_found_it = True
                self._caught(error)
                self._set_aside.append(item)
                self._forget(1)
                if self._retry_at is None:
                    self._retry_at = asyncio.get_running_loop().time() + _RETRY_S
            else:
                self._tell([item])
        if not has_found_it:
            self._caught(error_of_all)

    def _tell(self, recorded: Sequence[T]) -> None:
        if not recorded:
            return  # the operation before has taken them along
        try:
            self._on_recorded(recorded)
        except Exception as error:
            self._caught(error)

    def _record_all(self, connection: sqlite3.Connection) -> list[T]:
        return self._record_first(connection, len(self._items))

    def _record_first(self, connection: sqlite3.Connection, count: int) -> list[T]:
        items = self._items[:count]
        self._record(connection, items)
        self._database.after_commit(lambda: self._forget(len(items)))
        return items

    def _record_one(self, item: T, connection: sqlite3.Connection) -> None:
        self._record(connection, [item])

    def _forget(self, count: int) -> None:
        del self._items[:count]
