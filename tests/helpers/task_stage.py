"""The API over real tasks: gateway, database, delivery; rooms and time by hand."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudslice.api.gateway import Gateway
from cloudslice.bus import Bus
from cloudslice.config import Settings
from cloudslice.events import RobotLeft
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import LeaveCode, RoomProvider
from cloudslice.slices import SliceKind
from cloudslice.slicing.audio.ogg_repair import repair_ogg
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.tasks import sqlite_store
from cloudslice.tasks.service import Tasks
from cloudslice.tasks.sqlite_store import SqliteTaskStore
from cloudslice.tasks.worker import Worker
from cloudslice.tick import Tick
from helpers.api_fakes import (
    APP,
    APP_KEY,
    KEYS,
    OTHER_APP,
    FakeEvents,
    GatewayCaller,
    create_parameters,
)
from helpers.delivery import BOX, open_delivery
from helpers.manual_rooms import ManualRooms
from helpers.slice_store import ManualClock


@dataclass
class TaskParts:
    """The service and the worker of a node."""

    tasks: Tasks
    worker: Worker
    bus: Bus


@dataclass
class TaskStage:
    """A node without a network, and signed calls to it."""

    api: GatewayCaller
    worker: Worker
    rooms: ManualRooms
    clock: ManualClock


@asynccontextmanager
async def open_task_stage(
    directory: Path,
    clock: ManualClock,
    leave_codes: dict[str, list[LeaveCode]],
    **limits: int,
) -> AsyncIterator[TaskStage]:
    """A node on the data in `directory`; `limits` are of the app."""
    settings = Settings.model_validate(
        {
            "data_dir": directory,
            "apps": [
                {"sdk_app_id": APP, "secret_key": APP_KEY, "limits": limits},
                {"sdk_app_id": OTHER_APP, "secret_key": APP_KEY, "limits": limits},
            ],
            "credentials": [
                {
                    "secret_id": KEYS.secret_id,
                    "secret_key": KEYS.secret_key,
                    "sdk_app_ids": [APP, OTHER_APP],
                }
            ],
            "storage": {"endpoints": {"cos": (directory / "buckets").as_uri()}},
        }
    )
    rooms = ManualRooms()
    async with open_tasks(settings, rooms, clock, leave_codes) as parts:
        gateway = Gateway(settings, parts.tasks, rooms, FakeEvents(), clock)
        yield TaskStage(GatewayCaller(gateway, clock), parts.worker, rooms, clock)


@asynccontextmanager
async def open_tasks(
    settings: Settings,
    rooms: RoomProvider,
    clock: ManualClock,
    leave_codes: dict[str, list[LeaveCode]],
    tick: Tick | None = None,
) -> AsyncIterator[TaskParts]:
    """Service and worker over a real database and real delivery.

    Args:
        leave_codes: are filled by task: what its events 1002 say, of which there is to be one.
        tick: of the rooms, too; else it has one of its own.
    """
    providers = {"builtin": rooms}

    def note(event: RobotLeft) -> None:
        leave_codes.setdefault(event.task.task_id, []).append(LeaveCode(event.leave_code))

    async with AsyncExitStack() as stack:
        delivery = await stack.enter_async_context(
            open_delivery(
                settings,
                repairs={SliceKind.AUDIO: repair_ogg},
                schemas=(sqlite_store.SCHEMA,),
            )
        )
        database, bus, spool = delivery.database, delivery.bus, delivery.spool
        bus.listen(RobotLeft, note)
        pictures = stack.enter_context(PicturePool(1))
        if tick is None:
            tick = stack.enter_context(contextlib.closing(Tick(clock)))
        store = SqliteTaskStore(database, BOX, bus)
        worker = Worker(settings, store, spool, providers, pictures, clock, tick, bus)
        await stack.enter_async_context(worker)
        await delivery.uploader.end_others(worker.taken_up)
        is_full = lambda: delivery.uploader.is_full  # noqa: E731
        # Delivery has a clock of its own here, which runs.
        steady_ms = lambda: round(clock.monotonic() * 1000)  # noqa: E731
        tasks = Tasks(settings, store, worker, spool, is_full, providers, steady_ms)
        yield TaskParts(tasks, worker, bus)


def task_parameters(
    room: RoomKey,
    robot: str,
    clock: ManualClock,
    *,
    max_idle_s: int = 30,
    expired_hours: int = 72,
    user_sig_lifetime_s: int = 86400,
) -> dict[str, Any]:
    """The parameters of a CreateCloudSliceTask that slices the audio of `room`."""
    user_sig = make_user_sig(
        APP_KEY, APP, robot, now_s=clock.utc_ms() / 1000, lifetime_s=user_sig_lifetime_s
    )
    return create_parameters() | {
        "RoomId": room.room_id,
        "RoomIdType": int(room.room_id_type),
        "UserId": robot,
        "UserSig": user_sig,
        "SliceParams": {"SliceType": 1, "MaxIdleTime": max_idle_s},
        "ResourceExpiredHour": expired_hours,
    }
