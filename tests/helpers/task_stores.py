"""The stores of tasks that there are, and a task to put into them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from cloudslice.bus import Bus
from cloudslice.cluster.kv_task_store import KvTaskStore
from cloudslice.cluster.registry_opening import open_registry
from cloudslice.database import Database
from cloudslice.events import RobotEntered, RobotLeft
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.secrets import SecretBox
from cloudslice.slices import Bucket, Vendor
from cloudslice.slicing.params import ImageFormat, SliceParams, SubscriptionLists
from cloudslice.tasks import sqlite_store
from cloudslice.tasks.sqlite_store import SqliteTaskStore
from cloudslice.tasks.store import StoredTask, TaskStore
from helpers.nats_server import NatsServer

DATABASE = "test.db"
Opener = Callable[[Path, list[object]], AbstractAsyncContextManager[TaskStore]]
"""Opens a store in a directory; the events that it records are put into a list."""


@asynccontextmanager
async def open_sqlite(directory: Path, events: list[object]) -> AsyncIterator[TaskStore]:
    async with Database(directory / DATABASE, [sqlite_store.SCHEMA]) as database:
        bus = Bus(database)
        for kind in (RobotEntered, RobotLeft):
            bus.keep(kind, lambda _connection, event: events.append(event))
        yield SqliteTaskStore(database, SecretBox(bytes(32)), bus)


@asynccontextmanager
async def open_kv(directory: Path, events: list[object]) -> AsyncIterator[TaskStore]:
    async def record(event: object) -> None:
        events.append(event)

    with NatsServer(directory / "nats") as server:
        async with open_registry(server.url, name="test") as registry:
            yield KvTaskStore(registry, SecretBox(bytes(32)), record)


STORES = [pytest.param(open_sqlite, id="SQLite"), pytest.param(open_kv, id="NATS")]

TASK = StoredTask(
    task_id="task-1",
    room=RoomKey(1400000001, "room one?", RoomIdType.STRING),
    robot_user_id="robot",
    user_sig="a-readable-usersig",
    private_map_key="a-readable-key",
    slicing=SliceParams(
        audio=True, video=True, max_idle_s=5, video_interval_s=7, image_format=ImageFormat.JPG
    ),
    lists=SubscriptionLists(audio_allow=("a", "b.*$"), video_block=("c",)),
    bucket=Bucket(Vendor.OSS, "r", "b", "a-readable-id", "a-readable-secret", ("p", "q")),
    request=b"digest",
    created_ms=1_690_000_000_000,
    callable_until_ms=1_700_000_000_000,
)
SINCE_MS = TASK.created_ms - 1
