"""The bus on which the parts of a node tell each other what happens (`events`).

A part publishes what has happened and knows nobody who listens. Listeners are called at once, one
after the other, on the event loop; what one of them raises is counted and reaches nobody else.
Nothing bounds their time, and the loop waits for it: whoever has more to do than a few microseconds
keeps a queue of its own. All of them do: they add to a counter or a queue, or wake a task. The
slowest writes a line into the log, once for each slice that is lost.

What must not be lost is recorded instead: within an operation on the database, those who keep a
record of such an event write it through the same connection, in the same transaction as its cause;
listeners hear of it after the commit.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from cloudslice.database import Database
from cloudslice.faults import Faults

E = TypeVar("E")
Record = Callable[[sqlite3.Connection, E], object]
"""An operation on the database that keeps an event."""


class Bus:
    """Hands events to those who listen to their type.

    Attributes:
        faults: what listeners have raised.
    """

    def __init__(self, database: Database | None) -> None:
        """Takes the database within whose operations events are recorded; None: none are."""
        self.faults = Faults("listener")
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._listeners: dict[type, list[Callable[[Any], object]]] = {}
        self._records: dict[type, list[Record[Any]]] = {}

    def listen(self, kind: type[E], listener: Callable[[E], object]) -> None:
        """Call `listener` with each event of a type from now on."""
        self._listeners.setdefault(kind, []).append(listener)

    def keep(self, kind: type[E], record: Record[E]) -> None:
        """Have `record` keep each event of a type that is recorded."""
        self._records.setdefault(kind, []).append(record)

    def publish(self, event: object) -> None:
        """Tell those who listen of `event`."""
        for listener in self._listeners.get(type(event), ()):
            try:
                listener(event)
            except Exception as error:
                self.faults.caught(error, told=type(event).__name__)

    def record(self, connection: sqlite3.Connection, event: object) -> None:
        """Within an operation: have `event` kept. It is published once that is durable."""
        for record in self._records.get(type(event), ()):
            record(connection, event)
        if type(event) in self._listeners and self._database is not None:
            self._database.after_commit(
                partial(self._loop.call_soon_threadsafe, self.publish, event)
            )
