"""What tests of delivery need to set it up."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cloudslice import secrets, steady_clock
from cloudslice.bus import Bus
from cloudslice.clock import Clock, SystemClock
from cloudslice.config import Settings
from cloudslice.database import Database
from cloudslice.events import RobotEntered, RobotLeft
from cloudslice.metrics import DeliveryParts
from cloudslice.migrations import Schema
from cloudslice.secrets import SecretBox
from cloudslice.slices import (
    Bucket,
    Details,
    Repair,
    Repaired,
    Slice,
    SliceKind,
    SliceOrigin,
    TaskRef,
    Vendor,
)
from cloudslice.slicing.slice_store import GrowingSlice
from cloudslice.spool.quarantine import DIRECTORY
from cloudslice.spool.slice_format import PART, WHOLE, read_slice
from cloudslice.spool.spool import Spool
from cloudslice.steady_clock import SteadyClock
from cloudslice.uploads import progress
from cloudslice.uploads.losses import Losses
from cloudslice.uploads.other_nodes import OtherNodes
from cloudslice.uploads.stores import BucketOpener
from cloudslice.uploads.upload_pace import UploadPace
from cloudslice.uploads.uploader import Uploader
from cloudslice.webhooks import sql_schema as schema
from cloudslice.webhooks.callback_pace import CallbackPace
from cloudslice.webhooks.webhooks import Webhooks
from helpers.s3_server import S3Server

APP = 1400000000
CALLBACK_KEY = "SliceCallbackKey0001"
TASK = TaskRef("9-EXAMPLE+TaskId..", APP, 150, "slice_bot_150")
AUDIO = SliceOrigin(TASK.task_id, "anchor_1", SliceKind.AUDIO, "ogg")
PICTURE = SliceOrigin(TASK.task_id, "anchor_1", SliceKind.IMAGE, "png")
SCHEMAS = (schema.SCHEMA, progress.SCHEMA, secrets.SCHEMA, steady_clock.SCHEMA)
DATABASE = "test.db"
"""Its name in the data directory."""
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


def repair_by_length(data: bytes) -> Repaired | None:
    """Stands in for the repair of Ogg files: a byte is a millisecond; nothing is worth nothing."""
    return Repaired(data + b" repaired", len(data)) if data else None


REPAIRS = {SliceKind.AUDIO: repair_by_length}


def make_bucket(server: S3Server, name: str, vendor: Vendor = Vendor.COS) -> Bucket:
    """A bucket of the server with its good key pair."""
    return Bucket(
        vendor, "ap-guangzhou", name, S3Server.access_key, server.secret_key, ("prefix1",)
    )


@dataclass
class Delivery:
    """The parts of delivery, joined as in a node, and the events of a task's life."""

    database: Database
    bus: Bus
    spool: Spool
    uploader: Uploader
    losses: Losses
    webhooks: Webhooks
    steady: SteadyClock

    @property
    def parts(self) -> DeliveryParts:
        """As a node has them."""
        return DeliveryParts(
            self.database,
            self.steady,
            self.bus,
            self.spool,
            self.uploader,
            self.losses,
            self.webhooks,
        )

    async def open(self, task: TaskRef, bucket: Bucket, *, names_after_s: int = 0) -> None:
        await self.spool.open(task, bucket, names_after_s=names_after_s)

    def grow(self, origin: SliceOrigin, start_ms: int) -> GrowingSlice:
        return self.spool.grow(origin, start_ms)

    def put(self, origin: SliceOrigin, start_ms: int, data: bytes, details: Details) -> None:
        self.spool.put(origin, start_ms, data, details)

    async def flush(self) -> None:
        await self.spool.flush()

    async def record_start(self, task: TaskRef = TASK, *, has_failed: bool = False) -> None:
        """The task's robot has entered: event 1001."""
        await self.database.run(lambda c: self.bus.record(c, RobotEntered(task, has_failed)))

    async def record_stop(self, task: TaskRef = TASK, leave_code: int = 0) -> None:
        """The task's robot has left: event 1002."""
        await self.database.run(lambda c: self.bus.record(c, RobotLeft(task, leave_code)))


@asynccontextmanager
async def open_delivery(
    settings: Settings,
    clock: Clock | None = None,
    *,
    repairs: Mapping[SliceKind, Repair] = REPAIRS,
    bucket_opener: BucketOpener | None = None,
    upload_pace: UploadPace = FAST_UPLOADS,
    patience_s: float = 0.5,
    callback_pace: CallbackPace = FAST_CALLBACKS,
    schemas: Sequence[Schema] = (),
    box: SecretBox = BOX,
    others: OtherNodes | None = None,
    fence: Callable[[BucketOpener], BucketOpener] = lambda opener: opener,
) -> AsyncIterator[Delivery]:
    """All parts of delivery over a data directory, with fast paces."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        database = await enter(Database(settings.data_dir / DATABASE, (*SCHEMAS, *schemas)))
        bus = Bus(database)
        steady = await enter(SteadyClock(database, clock))
        webhooks = await enter(Webhooks(settings, database, bus, clock, steady, pace=callback_pace))
        spool = Spool(
            settings.data_dir / "spool",
            box,
            repairs,
            bus,
            steady.now_ms,
            is_new_clock=steady.is_new,
        )
        reserve = settings.data_dir / "reserve"
        losses = await enter(Losses(database, bus, spool.find_task, reserve))
        await enter(spool)
        uploader = await enter(
            Uploader(
                settings.storage,
                database,
                bus,
                spool,
                clock,
                steady.now_ms,
                bucket_opener=bucket_opener,
                pace=upload_pace,
                patience_s=patience_s,
                are_losses_waiting=losses.are_waiting,
                others=others,
                fence=fence,
            )
        )
        yield Delivery(database, bus, spool, uploader, losses, webhooks, steady)


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
        """All parts of delivery over the directory."""
        options = {"callback_pace": self.callback_pace, **options}
        async with open_delivery(self.settings, clock, **options) as delivery:
            yield delivery

    @property
    def files(self) -> list[Path]:
        """The files of slices in the spool, the oldest first."""
        files = (self.data_dir / "spool").glob("*/*")
        return sorted(
            (
                path
                for path in files
                if path.suffix in (PART, WHOLE) and path.parent.name != DIRECTORY
            ),
            key=lambda path: path.name,
        )

    @property
    def spooled(self) -> list[str]:
        """Their names."""
        return [path.name for path in self.files]

    @property
    def slices(self) -> list[tuple[Slice, bytes]]:
        """The whole slices in the spool, with their contents."""
        return [
            read_slice(path.stem, path.read_bytes()) for path in self.files if path.suffix == WHOLE
        ]


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
    for each in SCHEMAS:
        for script in each.migrations:
            connection.executescript(script)
    return connection


def make_test_bucket() -> Bucket:
    """A bucket that nobody serves."""
    return Bucket(Vendor.COS, "ap-guangzhou", "demo-125", "AKID", "SecretExample", ("prefix1",))
