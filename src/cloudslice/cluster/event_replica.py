"""An app's events as its sender reads them from the stream into its database.

1. From the floor on, below which all have ended: what has not ended is in line then.
2. Below the floor: those that can only be listed, and sent again.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

import structlog

from cloudslice.clock import Clock
from cloudslice.cluster import replica_tables
from cloudslice.cluster.event_messages import Step, StreamEvent
from cloudslice.cluster.event_stream import EventStream, Numbered
from cloudslice.cluster.registry import RegistryError
from cloudslice.database import Database
from cloudslice.webhooks import outbox
from cloudslice.webhooks.outbox import Ending, OutboxEvent

_RETRY_S = 0.5

_log = structlog.get_logger(__name__)

TakeSome = Callable[[Sequence[Numbered]], Awaitable[object]]


class EventReplica:
    """An app's events in the database of a sender.

    Attributes:
        read_to: all messages up to this number have been read, those below the floor aside.
    """

    def __init__(
        self,
        sdk_app_id: int,
        stream: EventStream,
        database: Database,
        clock: Clock,
        steady_ms: Callable[[], int],
    ) -> None:
        """
        Args:
            database: open, with the SCHEMA of `webhooks.sql_schema`.
            clock: for UTC, which all nodes have in common.
            steady_ms: the time for retentions, which is this node's own.
        """
        self.read_to = 0
        self._sdk_app_id = sdk_app_id
        self._stream = stream
        self._database = database
        self._clock = clock
        self._steady_ms = steady_ms
        self._floor = 0
        self._early: list[Ending] = []
        """Of events below the floor, told behind it."""

    async def read_waiting(self, floor: int, until: int) -> None:
        """Begin anew, with what a former sender has left: from `floor` on, up to message `until`,
        which is there."""
        self._floor, self.read_to = floor, until
        await self._database.persist(partial(replica_tables.clear, sdk_app_id=self._sdk_app_id))
        await self._read(floor, until, self._apply)

    async def read_ended(self) -> None:
        """Read what lies below the floor."""
        if self._floor > 1:
            await self._read(1, self._floor - 1, self._apply_ended)
        await self._database.persist(partial(outbox.end, endings=self._early))

    async def follow(
        self, take: Callable[[OutboxEvent], object], see: Callable[[Step], object]
    ) -> None:
        """Read what comes now; for ever.

        Args:
            take: is called with an event that is on record.
            see: is called with what somebody has told of events.
        """

        async def apply(found: Sequence[Numbered]) -> None:
            for each in found:
                if isinstance(each.message, Step):
                    see(each.message)
            for event in await self._database.persist(partial(self._insert_all, found=found)):
                take(event)
            self.read_to = found[-1].number

        await self._read(self.read_to + 1, None, apply)

    async def find_floor(self) -> int:
        """The number below which all events have ended."""
        read_to = self.read_to
        return await self._database.persist(
            lambda c: replica_tables.find_floor(c, self._sdk_app_id, read_to)
        )

    async def find_oldest(self) -> int:
        """The number below which no event is kept."""
        read_to = self.read_to
        return await self._database.persist(
            lambda c: replica_tables.find_oldest(c, self._sdk_app_id, read_to)
        )

    async def _read(self, first: int, until: int | None, take: TakeSome) -> None:
        """Have `take` called with messages from number `first` on, up to number `until`, of which
        one is there, or a later one."""
        while True:
            try:
                async with aclosing(self._stream.read(self._sdk_app_id, first)) as messages:
                    async for found in messages:
                        last = found[-1].number
                        await take(
                            [each for each in found if until is None or each.number <= until]
                        )
                        first = last + 1
                        if until is not None and last >= until:
                            return
            except RegistryError as error:
                _log.debug("asking for events anew", reason=str(error), first=first)
                await asyncio.sleep(_RETRY_S)

    async def _apply(self, found: Sequence[Numbered]) -> None:
        await self._database.persist(partial(self._apply_all, found=found))

    def _apply_all(self, connection: sqlite3.Connection, found: Sequence[Numbered]) -> None:
        for each in found:
            if isinstance(each.message, StreamEvent):
                self._insert(connection, each.number, each.message)
            elif isinstance(each.message, Step):
                step, endings = each.message, self._timed(each.message)
                outbox.end(connection, endings)
                self._early += [ending for ending in endings if ending.event_id < self._floor]
                replica_tables.put_again(connection, step.again, self._steady_at(step.at_ms))

    def _insert_all(
        self, connection: sqlite3.Connection, found: Sequence[Numbered]
    ) -> list[OutboxEvent]:
        return [
            self._insert(connection, each.number, each.message)
            for each in found
            if isinstance(each.message, StreamEvent)
        ]

    def _insert(
        self, connection: sqlite3.Connection, number: int, event: StreamEvent
    ) -> OutboxEvent:
        return replica_tables.insert(
            connection,
            self._sdk_app_id,
            number,
            event,
            since_ms=self._steady_at(event.created_ms),
            now_at=self._clock.monotonic(),
        )

    async def _apply_ended(self, found: Sequence[Numbered]) -> None:
        await self._database.persist(partial(self._insert_ended, found=found))

    def _insert_ended(self, connection: sqlite3.Connection, found: Iterable[Numbered]) -> None:
        for each in found:
            if isinstance(each.message, StreamEvent):
                kept_from_ms = self._steady_at(each.message.created_ms)
                replica_tables.insert_ended(
                    connection, self._sdk_app_id, each.number, each.message, kept_from_ms
                )
            elif isinstance(each.message, Step):
                outbox.end(connection, self._timed(each.message))

    def _timed(self, step: Step) -> list[Ending]:
        """What has ended, by this node's steady clock."""
        return [replace(each, steady_ms=self._steady_at(each.utc_ms)) for each in step.ended]

    def _steady_at(self, utc_ms: int) -> int:
        return self._steady_ms() - max(self._clock.utc_ms() - utc_ms, 0)
