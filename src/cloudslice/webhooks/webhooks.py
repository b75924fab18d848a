"""Webhooks as others see them: events go in by the bus, and come out at the apps' receivers."""

import asyncio
import sqlite3
from contextlib import AsyncExitStack
from functools import partial
from typing import Self, get_args

from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.config import Settings
from cloudslice.database import Database
from cloudslice.faults import Faults
from cloudslice.steady_clock import SteadyClock
from cloudslice.webhooks import history, outbox
from cloudslice.webhooks.app_outbox import SenderContext
from cloudslice.webhooks.attempts import Attempts, CallbackCounters
from cloudslice.webhooks.bodies import (
    Notice,
    RoomEvent,
    TaskEvent,
    build_body,
    room_notice,
    task_notice,
)
from cloudslice.webhooks.callback_pace import CallbackPace
from cloudslice.webhooks.client import WebhookClient
from cloudslice.webhooks.history import EventQuery, Page
from cloudslice.webhooks.keeper import HistoryKeeper
from cloudslice.webhooks.outbox import OutboxEvent
from cloudslice.webhooks.senders import Senders


class NoReceiverError(Exception):
    """An app has no callback URL."""


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
        self._clock = clock
        self._steady = steady
        self._stack = AsyncExitStack()
        self._loop = asyncio.get_running_loop()
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
        for task_event in get_args(TaskEvent):
            bus.keep(task_event, self._keep_task_event)
        for room_event in get_args(RoomEvent):
            bus.listen(room_event, self._post_room_event)

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
        since_ms, count = self._steady.now_ms(), 0
        marker: int | None = 0 if query.event_id is None else query.event_id - 1
        while marker is not None:
            replayed, size, marker = await self._database.run(
                partial(history.replay, query=query, marker=marker, since_ms=since_ms)
            )
            count += replayed
            self._keeper.note_replayed(size)
        if count:
            self._senders.replay(query.sdk_app_id)
        return count

    def _keep_task_event(self, connection: sqlite3.Connection, event: TaskEvent) -> None:
        self._keep(connection, task_notice(event), self._clock.utc_ms())

    def _post_room_event(self, event: RoomEvent) -> None:
        """Nothing else on record hangs on it: it is lost, and logged, if it cannot be kept."""
        app = self._settings.app(event.room.sdk_app_id)
        if app is None or not app.room_events:
            return
        notice, event_ms = room_notice(event), self._clock.utc_ms()
        self._database.post(lambda c: self._keep(c, notice, event_ms), "record an event")

    def _keep(self, connection: sqlite3.Connection, notice: Notice, event_ms: int) -> None:
        """Put an event on record that happened at `event_ms`, if its app has a callback URL."""
        app = self._settings.app(notice.sdk_app_id)
        if app is None or not app.callback_url:
            return
        now_ms = self._clock.utc_ms()
        body = build_body(notice, event_ms=event_ms, callback_ms=now_ms)
        event = outbox.insert(
            connection,
            notice,
            body,
            created_ms=now_ms,
            since_ms=self._steady.now_ms(),
            now_at=self._clock.monotonic(),
        )
        self._database.after_commit(partial(self._hand_over, notice.sdk_app_id, event))

    def _hand_over(self, sdk_app_id: int, event: OutboxEvent) -> None:
        """On the database's thread."""
        self._loop.call_soon_threadsafe(self._senders.take, sdk_app_id, event)
