"""What tests of webhooks need to set them up."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudslice import steady_clock
from cloudslice.bus import Bus
from cloudslice.clock import Clock, SystemClock
from cloudslice.config import Settings
from cloudslice.database import Database
from cloudslice.events import RobotEntered, UploadFailed
from cloudslice.slices import TaskRef
from cloudslice.steady_clock import SteadyClock
from cloudslice.webhooks.attempts import CallbackCounters
from cloudslice.webhooks.callback_pace import CallbackPace
from cloudslice.webhooks.sql_schema import SCHEMA
from cloudslice.webhooks.webhooks import Webhooks

APP = 1400000000
CALLBACK_KEY = "SliceCallbackKey0001"
TASK = TaskRef("9-EXAMPLE+TaskId..", APP, 150, "slice_bot_150")
SCHEMAS = (SCHEMA, steady_clock.SCHEMA)
# A twentieth of the real pace, so that tests need not wait for long.
FAST_CALLBACKS = CallbackPace(0.5, 3, late_first_s=0.5, late_ceiling_s=1, retention_s=60)


def open_memory() -> sqlite3.Connection:
    """A database in memory with the table of webhooks."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for script in SCHEMA.migrations:
        connection.executescript(script)
    return connection


@dataclass(frozen=True)
class OpenWebhooks:
    """Webhooks at work, and what events are recorded by."""

    webhooks: Webhooks
    bus: Bus
    database: Database

    @property
    def counters(self) -> CallbackCounters:
        return self.webhooks.counters

    async def record(self, event: object) -> None:
        """Put an event on record, as other parts do."""
        await self.database.run(lambda connection: self.bus.record(connection, event))

    async def record_starts(self, count: int, task: TaskRef = TASK) -> None:
        """Put `count` events of a task on record, as distinct as 1001 can be."""
        for n in range(count):
            await self.record(RobotEntered(task, has_failed=bool(n % 2)))

    async def record_many(self, numbers: range, task: TaskRef = TASK) -> None:
        """Put an event of a task on record for each number, which is its `Code`."""
        for number in numbers:
            await self.record(UploadFailed(task, number, "why"))

    async def none_waits(self) -> None:
        """Wait until no event waits for its delivery any more."""
        async with asyncio.timeout(10):
            while await self.webhooks.count_waiting():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@dataclass
class WebhookSite:
    """A data directory and the settings of the webhooks that are opened over it."""

    data_dir: Path
    callback_url: str = ""
    callback_key: str = CALLBACK_KEY
    callbacks: dict[str, Any] = field(default_factory=dict)
    room_events: bool = True
    apps: list[dict[str, Any]] = field(default_factory=list)
    """Instead of the one with `callback_url` and `callback_key`."""
    pace: CallbackPace = FAST_CALLBACKS

    @property
    def path(self) -> Path:
        """Of the database."""
        return self.data_dir / "test.db"

    @property
    def settings(self) -> Settings:
        app = {
            "sdk_app_id": APP,
            "secret_key": "x",
            "callback_url": self.callback_url,
            "callback_key": self.callback_key,
            "room_events": self.room_events,
        }
        return Settings.model_validate(
            {"apps": self.apps or [app], "callbacks": {"timeout_s": 0.5, **self.callbacks}}
        )

    @asynccontextmanager
    async def open(self, clock: Clock | None = None) -> AsyncIterator[OpenWebhooks]:
        """Webhooks over the directory, with a fast pace."""
        clock = clock or SystemClock()
        async with (
            Database(self.path, SCHEMAS) as database,
            SteadyClock(database, clock) as steady,
        ):
            bus = Bus(database)
            async with Webhooks(
                self.settings, database, bus, clock, steady, pace=self.pace
            ) as webhooks:
                yield OpenWebhooks(webhooks, bus, database)
