"""What tests of delivery need to set it up."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cloudslice import secrets, steady_clock
from cloudslice.clock import Clock, SystemClock
from cloudslice.config import Settings
from cloudslice.database import Database
from cloudslice.delivery.retries import UploadPace
from cloudslice.delivery.schema import SCHEMA
from cloudslice.delivery.service import Delivery
from cloudslice.events import Bus
from cloudslice.secrets import SecretBox
from cloudslice.slices import Bucket, SliceKind, SliceOrigin, TaskRef, Vendor
from cloudslice.webhooks.pace import CallbackPace
from cloudslice.webhooks.webhooks import Webhooks
from helpers.s3_server import S3Server

APP = 1400000000
CALLBACK_KEY = "SliceCallbackKey0001"
TASK = TaskRef("9-EXAMPLE+TaskId..", APP, 150, "slice_bot_150")
AUDIO = SliceOrigin(TASK.task_id, "anchor_1", SliceKind.AUDIO, "ogg")
PICTURE = SliceOrigin(TASK.task_id, "anchor_1", SliceKind.IMAGE, "png")
_SCHEMAS = (SCHEMA, secrets.SCHEMA, steady_clock.SCHEMA)
START_MS = 1_700_000_001_007
BOX = SecretBox(bytes(32))

# A twentieth of the real paces, so that tests need not wait for long.
FAST_UPLOADS = UploadPace(0.05, 0.5, refused_first_s=0.1, refused_ceiling_s=0.5)
FAST_CALLBACKS = CallbackPace(0.5, 3, late_first_s=0.5, late_ceiling_s=1, retention_s=60)


class SteppingClock(SystemClock):
    """The machine's clocks, but for a wall clock that can be set."""

    step_ms = 0

    def utc_ms(self, at: float | None = None) -> int:
        return super().utc_ms(at) + self.step_ms


def repair_by_length(path: Path) -> int | None:
    """Stands in for the repair of Ogg files: a byte is a millisecond; nothing is worth nothing."""
    size = path.stat().st_size
    if size:
        with path.open("ab") as file:
            file.write(b" repaired")
    return size or None


REPAIRS = {SliceKind.AUDIO: repair_by_length}


def make_bucket(server: S3Server, name: str, vendor: Vendor = Vendor.COS) -> Bucket:
    """A bucket of the server with its good key pair."""
    return Bucket(
        vendor, "ap-guangzhou", name, S3Server.access_key, server.secret_key, ("prefix1",)
    )


@dataclass
class Site:
    """A data directory and the settings of the deliveries that are opened over it."""

    data_dir: Path
    endpoint: str
    callback_url: str = ""
    callback_key: str = CALLBACK_KEY
    storage: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)
    apps: list[dict[str, Any]] = field(default_factory=list)
    """Instead of the one with `callback_url` and `callback_key`."""
    callback_pace: CallbackPace = FAST_CALLBACKS
    bus: Bus = field(init=False)
    """While it is open."""
    webhooks: Webhooks = field(init=False)
    """While it is open."""

    @property
    def settings(self) -> Settings:
        endpoints = dict.fromkeys(("cos", "s3", "oss"), self.endpoint)
        app = {
            "sdk_app_id": APP,
            "secret_key": "x",
            "callback_url": self.callback_url,
            "callback_key": self.callback_key,
        }
        return Settings.model_validate(
            {
                "data_dir": self.data_dir,
                "apps": self.apps or [app],
                "storage": {"upload_timeout_s": 2, "endpoints": endpoints, **self.storage},
                "callbacks": {"timeout_s": 0.5, **self.callbacks},
            }
        )

    @asynccontextmanager
    async def open(self, clock: Clock | None = None, **options: Any) -> AsyncIterator[Delivery]:
        """A delivery over the directory, with fast paces, and its webhooks."""
        options = {
            "repair": REPAIRS,
            "upload_pace": FAST_UPLOADS,
            "upload_patience_s": 0.5,
            **options,
        }
        clock = clock or SystemClock()
        async with Database(self.data_dir / "test.db", _SCHEMAS) as database:
            self.bus = Bus(database)
            self.webhooks = Webhooks(
                self.settings, database, self.bus, clock, pace=self.callback_pace
            )
            delivery = Delivery(self.settings, database, BOX, self.bus, clock, **options)
            async with self.webhooks, delivery:
                yield delivery

    @property
    def spooled(self) -> list[str]:
        """The names of the files in the spool."""
        return sorted(path.name for path in (self.data_dir / "spool").iterdir())


class KeptEvents:
    """Stands in for a bus: keeps what is recorded on it."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def record(self, _connection: sqlite3.Connection, event: object) -> None:
        self.events.append(event)

    @property
    def bus(self) -> Bus:
        return cast(Bus, self)


def open_memory() -> sqlite3.Connection:
    """A database in memory with the tables of delivery."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    for script in SCHEMA.migrations:
        connection.executescript(script)
    return connection


def make_test_bucket() -> Bucket:
    """A bucket that nobody serves."""
    return Bucket(Vendor.COS, "ap-guangzhou", "demo-125", "AKID", "SecretExample", ("prefix1",))
