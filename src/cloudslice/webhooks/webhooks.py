"""Webhooks as others see them: events go in by the bus, and come out at the apps' receivers."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Self

from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.config import Settings
from cloudslice.database import Database
from cloudslice.faults import Faults
from cloudslice.steady_clock import SteadyClock
from cloudslice.webhooks import history, outbox
from cloudslice.webhooks.app_outbox import SenderContext
from cloudslice.webhooks.attempts import Attempts, CallbackCounters
from cloudslice.webhooks.callback_pace import CallbackPace
from cloudslice.webhooks.client import WebhookClient
from cloudslice.webhooks.history import EventQuery, Page
from cloudslice.webhooks.keeper import HistoryKeeper
from cloudslice.webhooks.recorder import EventRecorder
from cloudslice.webhooks.senders import Senders


class NoReceiverError(Exception):
    """An app has no callback URL."""


async def replay(
    database: Database, keeper: HistoryKeeper, query: EventQuery, since_ms: int
) -> list[int]:
    """Put ended events in line again, in small steps; returns their ids.

    Args:
        keeper: is told that they have not ended any more.
        since_ms: from when on their retention counts.
    """
    replayed: list[int] = []
    marker: int | None = 0 if query.event_id is None else query.event_id - 1
    while marker is not None:
        ids, size, marker = await database.run(
            partial(history.replay, query=query, marker=marker, since_ms=since_ms)
        )
        replayed += ids
        keeper.note_replayed(size)
    return replayed


class Webhooks:
    """Keeps events for those apps that want to be called, and sends them; an async context manager.

    What is recorded on the bus is kept in the same transaction as its cause. Entering takes up what
    a former process has left. Leaving waits until what was attempted is on record.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        bus: Bus,
        clock: Clock,
        steady: SteadyClock,
        *,
        pace: CallbackPace | None = None,
    ) -> None:
        """
        Args:
            database: open, with the SCHEMA of `webhooks.sql_schema`.
            bus: tells what happens, and is told what was delivered.
            steady: counts retentions; entered.
            pace: when webhooks are repeated; default: by the settings' retention.
        """
        self._settings = settings
        self._database = database
        self._steady = steady
        self._stack = AsyncExitStack()
        callbacks = settings.callbacks
        self._client = WebhookClient(callbacks.timeout_s)
        self._attempts = Attempts(self._client, settings.app, bus, clock)
        self._keeper = HistoryKeeper(
            database,
            steady.now_ms,
            self._attempts.faults,
            hours=callbacks.history_hours,
            mib=callbacks.history_mib,
        )
        self._senders = Senders(
            SenderContext(
                database,
                clock,
                steady.now_ms,
                pace or CallbackPace(retention_s=callbacks.retention_hours * 3600),
                self._attempts,
                self._keeper.note_ended,
            )
        )
        EventRecorder(settings, database, bus, clock, steady.now_ms, self._senders.take)

    async def __aenter__(self) -> Self:
        """Take up what is there, and begin to send.

        Raises:
            DatabaseError: the record cannot be written.
        """
        if self._steady.is_new:
            # Since when events wait nobody knows: their retention begins.
            await self._database.run(lambda c: outbox.count_from(c, self._steady.now_ms()))
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._client)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            is_ready = asyncio.Event()
            for work in (self._senders.run(is_ready), self._keeper.run()):
                stack.callback(group.create_task(work).cancel)
            await is_ready.wait()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_error: object) -> None:
        # Not told of an error of others: a task group would wrap it.
        await self._stack.aclose()

    @property
    def counters(self) -> CallbackCounters:
        """What has become of webhooks since the start."""
        return self._attempts.counters

    @property
    def faults(self) -> Faults:
        """Errors that nobody foresaw."""
        return self._attempts.faults

    async def count_waiting(self) -> int:
        """How many events wait for their delivery."""
        return await self._database.run(outbox.count_waiting)

    async def find(self, query: EventQuery, marker: int, limit: int) -> Page:
        """Events on record, from behind the id `marker` on; see `history.find`."""
        return await self._database.run(lambda c: history.find(c, query, marker, limit))

    async def replay(self, query: EventQuery) -> int:
        """Send ended events again, in order, with the same bodies; returns how many.

        Raises:
            NoReceiverError: there is nobody to send them to.
        """
        app = self._settings.app(query.sdk_app_id)
        if app is None or not app.callback_url:
            raise NoReceiverError
        replayed = await replay(self._database, self._keeper, query, self._steady.now_ms())
        if replayed:
            self._senders.replay(query.sdk_app_id)
        return len(replayed)
