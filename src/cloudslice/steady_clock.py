"""A clock for what is meant to take hours or days: retentions, and how long a task may be called.

No step of the wall clock moves it, not even over a restart: it goes with the monotonic clock
while a process runs, and stands still while none does. How long a process was away only the wall
clock could tell, and that may have been set meanwhile.
"""

import asyncio
import sqlite3
from typing import Self

from cloudslice.clock import Clock
from cloudslice.database import Database
from cloudslice.faults import Faults
from cloudslice.migrations import Schema
from cloudslice.vetting import forget_odd

SCHEMA = Schema(
    "steady_clock",
    (
        "CREATE TABLE steady_clock (part TEXT PRIMARY KEY, now_ms INTEGER NOT NULL) WITHOUT ROWID;",
        # Webhooks had a clock of their own, which differed by a minute or so.
        "DELETE FROM steady_clock WHERE part <> 'tasks';",
    ),
)
_PART = "tasks"
"""The name of the only row."""

_SAVE_EVERY_S = 60.0
"""What a killed process has run since its last save does not count."""


class SteadyClock:
    """Milliseconds that never step; an async context manager that saves them now and then.

    The first process begins with its UTC time, so the readings look like UTC but may differ from it
    by days. Only differences mean something.

    Attributes:
        is_new: whether there was no reading of a former process that can be used; known once
            entered.
        faults: errors that nobody foresaw while it was saved.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        """
        Args:
            database: open, with the SCHEMA of this module.
            clock: its monotonic time drives this clock.
        """
        self.is_new = False
        self._database = database
        self._clock = clock
        self._base_ms = 0
        self._base_at = 0.0
        self._saver: asyncio.Task[None] | None = None
        self.faults = Faults("steady clock")

    async def __aenter__(self) -> Self:
        """Go on from the last reading of a former process.

        Raises:
            DatabaseError: the reading cannot be written.
        """
        saved_ms = await self._database.run(self._load)
        self.is_new = saved_ms is None
        self._base_at = self._clock.monotonic()
        self._base_ms = self._clock.utc_ms() if saved_ms is None else saved_ms
        await self._database.run(self._save)
        self._saver = asyncio.create_task(self._save_forever())
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._saver is not None:
            self._saver.cancel()
            await asyncio.wait([self._saver])
        self._database.post(self._save, "save the steady clock")

    def now_ms(self) -> int:
        """The time now."""
        return self._base_ms + round((self._clock.monotonic() - self._base_at) * 1000)

    async def _save_forever(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_EVERY_S)
            try:
                await self._database.persist(self._save, within_s=_SAVE_EVERY_S)
            except Exception as error:
                self.faults.caught(error)

    def _load(self, connection: sqlite3.Connection) -> int | None:
        forget_odd(connection, "steady_clock")
        row = connection.execute(
            "SELECT now_ms FROM steady_clock WHERE part = ?", (_PART,)
        ).fetchone()
        return None if row is None else row[0]

    def _save(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO steady_clock VALUES (?, ?)", (_PART, self.now_ms())
        )
