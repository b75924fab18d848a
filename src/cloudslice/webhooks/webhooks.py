"""Webhooks as others see them: events go in by the bus, and come out at the apps' receivers."""

import asyncio
import sqlite3
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self, get_args

from cloudslice.clock import Clock
from cloudslice.config import Settings
from cloudslice.database import Database
from cloudslice.events import Bus
from cloudslice.steady_clock import SteadyClock
from cloudslice.webhooks import outbox
from cloudslice.webhooks.bodies import (
    Notice,
    RoomEvent,
    TaskEvent,
    build_body,
    room_notice,
    task_notice,
)
from cloudslice.webhooks.outbox import OutboxEvent
from cloudslice.webhooks.pace import CallbackPace
from cloudslice.webhooks.sender import CallbackCounters, CallbackSender


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
        *,
        pace: CallbackPace | None = None,
    ) -> None:
        """
        Args:
            settings: callbacks and apps.
            database: open, with the SCHEMA of `delivery.schema` and that of `steady_clock`.
            bus: tells what happens, and is told what was delivered.
            clock: labels and paces everything.
            pace: when webhooks are repeated; default: by the settings' retention.
        """
        self._settings = settings
        self._database = database
        self._clock = clock
        self._steady = SteadyClock(database, clock, "webhooks")
        self._stack = AsyncExitStack()
        self._loop = asyncio.get_running_loop()
        self._sender = CallbackSender(
            database,
            settings.app,
            bus,
            clock,
            self._steady.now_ms,
            timeout_s=settings.callbacks.timeout_s,
            pace=pace or CallbackPace(retention_s=settings.callbacks.retention_hours * 3600),
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
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._steady)
            if self._steady.is_new:
                # Since when events wait nobody knows: their retention begins.
                await self._database.run(lambda c: outbox.count_from(c, self._steady.now_ms()))
            group = await stack.enter_async_context(asyncio.TaskGroup())
            is_ready = asyncio.Event()
            stack.callback(group.create_task(self._sender.run(is_ready)).cancel)
            await is_ready.wait()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(exc_type, exc, traceback)

    @property
    def counters(self) -> CallbackCounters:
        """What has become of webhooks since the start."""
        return self._sender.counters

    async def count_waiting(self) -> int:
        """How many events wait for their delivery."""
        return await self._database.run(outbox.count_unsent)

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
        now_ms, now_at = self._clock.utc_ms(), self._clock.monotonic()
        body = build_body(notice, event_ms=event_ms, callback_ms=now_ms)
        event = outbox.insert(connection, notice, body, now_ms, now_at)
        self._database.after_commit(partial(self._hand_over, notice.sdk_app_id, event))

    def _hand_over(self, sdk_app_id: int, event: OutboxEvent) -> None:
        """On the database's thread."""
        self._loop.call_soon_threadsafe(self._sender.take, sdk_app_id, event)
