"""Puts what happens in a node on record, for those apps that want to be called."""

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import get_args

from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.config import Settings
from cloudslice.database import Database
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


class EventRecorder:
    """Keeps the bus's events in the outbox, in the same transaction as their causes."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        bus: Bus,
        clock: Clock,
        steady_ms: Callable[[], int],
        hand_over: Callable[[int, OutboxEvent], object],
    ) -> None:
        """
        Args:
            database: open, with the SCHEMA of `webhooks.sql_schema`.
            bus: tells what happens.
            steady_ms: from when on a retention counts, of a clock that is steady over restarts.
            hand_over: is called on the loop with an app and its event when that is durable.
        """
        self._settings = settings
        self._database = database
        self._clock = clock
        self._steady_ms = steady_ms
        self._hand_over = hand_over
        self._loop = asyncio.get_running_loop()
        for task_event in get_args(TaskEvent):
            bus.keep(task_event, self._keep_task_event)
        for room_event in get_args(RoomEvent):
            bus.listen(room_event, self._post_room_event)

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
            since_ms=self._steady_ms(),
            now_at=self._clock.monotonic(),
        )
        self._database.after_commit(partial(self._tell, notice.sdk_app_id, event))

    def _tell(self, sdk_app_id: int, event: OutboxEvent) -> None:
        """On the database's thread."""
        self._loop.call_soon_threadsafe(self._hand_over, sdk_app_id, event)
