"""What a process leaves behind that is killed in the middle of an outage: tasks on record, slices
that wait in the spool, and one of each task that grew."""

import os
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from unittest.mock import patch

from cloudslice.bus import Bus
from cloudslice.clock import SystemClock
from cloudslice.config import Settings
from cloudslice.database import Database
from cloudslice.delivery import SCHEMAS
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.secrets import SecretBox, check_key, load_key
from cloudslice.slices import Bucket, SliceKind, SliceOrigin, Vendor
from cloudslice.slicing.audio.ogg import OggOpusWriter
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.spool.spool import Spool
from cloudslice.steady_clock import SteadyClock
from cloudslice.tasks.sqlite_store import SqliteTaskStore
from cloudslice.tasks.store import StoredTask
from cloudslice.tasks.task_id import new_task_id

_PACKET = bytes([0xFC]) + bytes(range(119))
"""20 ms of Opus in CELT mode, stereo, at 48 kbit/s."""
_GROWN_S = 5


@dataclass(frozen=True)
class LeftBehind:
    """How much it is.

    Attributes:
        tasks: whose robots go on.
        waiting: whole slices of each.
        slice_bytes: the content of each of these.
    """

    tasks: int
    waiting: int
    slice_bytes: int = 1000


async def leave_behind(settings: Settings, amount: LeftBehind) -> None:
    """Fill the data directory of `settings`, whose first app has the tasks."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    box, clock = SecretBox(load_key(settings.data_dir)), SystemClock()
    async with AsyncExitStack() as stack:
        stack.enter_context(patch.object(os, "fsync", os.fstat))  # nobody cuts the power meanwhile
        path = settings.data_dir / "cloudslice.db"
        database = await stack.enter_async_context(Database(path, SCHEMAS))
        await database.run(lambda connection: check_key(connection, box))
        steady = await stack.enter_async_context(SteadyClock(database, clock))
        bus = Bus(database)
        store = SqliteTaskStore(database, box, bus)
        spool = Spool(settings.data_dir / "spool", box, {}, bus, steady.now_ms)
        await stack.enter_async_context(spool)
        content = os.urandom(amount.slice_bytes)
        for number in range(amount.tasks):
            task = _make_task(settings, number, steady.now_ms())
            await spool.open(task.ref, task.bucket)
            await store.create(task, since_ms=0)
            _fill(spool, task.task_id, amount.waiting, content, clock.utc_ms())
            await spool.flush()


def _make_task(settings: Settings, number: int, now_ms: int) -> StoredTask:
    app, robot = settings.apps[0], f"robot{number}"
    user_sig = make_user_sig(
        app.secret_key.get_secret_value(),
        app.sdk_app_id,
        robot,
        now_s=time.time(),
        lifetime_s=86_400,
    )
    return StoredTask(
        task_id=new_task_id(),
        room=RoomKey(app.sdk_app_id, str(number + 1), RoomIdType.NUMBER),
        robot_user_id=robot,
        user_sig=user_sig,
        private_map_key=None,
        slicing=SliceParams(audio=True, video=True, max_idle_s=3600),
        lists=SubscriptionLists(),
        bucket=Bucket(Vendor.S3, "us-east-1", "bucket", "AKID", "SecretExample"),
        request=robot.encode(),
        created_ms=now_ms,
        callable_until_ms=now_ms + 72 * 3_600_000,
        has_entered=True,
    )


def _fill(spool: Spool, task_id: str, count: int, content: bytes, now_ms: int) -> None:
    picture = SliceOrigin(task_id, "anchor", SliceKind.IMAGE, "jpg")
    for number in range(count):
        at_ms = now_ms - 5000 * (count - number)
        details = {"width": "1280", "height": "720", "due-ms": str(at_ms)}
        spool.put(picture, at_ms, content, details)
    growing = spool.grow(SliceOrigin(task_id, "anchor", SliceKind.AUDIO, "ogg"), now_ms)
    writer = OggOpusWriter(growing.append, serial=1, pre_skip=0, stereo=True)
    writer.add(_PACKET * 50 * _GROWN_S, (len(_PACKET),) * 50 * _GROWN_S, 960)
    writer.flush()
