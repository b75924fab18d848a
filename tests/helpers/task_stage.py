"""The API over real tasks: gateway, supervisor, database, delivery; rooms and time by hand."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudslice import secrets, steady_clock
from cloudslice.api.gateway import Gateway
from cloudslice.clock import SystemClock
from cloudslice.config import Settings
from cloudslice.database import Database, Operation
from cloudslice.delivery import schema as delivery_schema
from cloudslice.delivery.service import Delivery
from cloudslice.events import Bus
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import LeaveCode, RoomProvider
from cloudslice.secrets import SecretBox
from cloudslice.slices import SliceKind
from cloudslice.slicing.audio.ogg import repair_ogg
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.tasks import registry
from cloudslice.tasks.supervisor import Supervisor
from cloudslice.tick import Tick
from helpers.api_fakes import APP, APP_KEY, KEYS, OTHER_APP, GatewayCaller, create_parameters
from helpers.manual_rooms import ManualRooms
from helpers.slice_store import ManualClock

DATABASE = "test.db"
"""Its name in the data directory."""
_SCHEMAS = (secrets.SCHEMA, steady_clock.SCHEMA, delivery_schema.SCHEMA, registry.SCHEMA)
_BOX = SecretBox(bytes(32))


class WatchedDelivery(Delivery):
    """Tells which tasks have ended, and why."""

    leave_codes: dict[str, list[LeaveCode]]
    """By task: what its events 1002 say, of which there is to be one."""

    async def record_stop(
        self, task_id: str, leave_code: int, *, also: Operation[object] | None = None
    ) -> None:
        await super().record_stop(task_id, leave_code, also=also)
        self.leave_codes.setdefault(task_id, []).append(LeaveCode(leave_code))


@dataclass
class TaskStage:
    """A node without a network, and signed calls to it."""

    api: GatewayCaller
    supervisor: Supervisor
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
    async with open_supervisor(settings, rooms, clock, leave_codes) as supervisor:
        gateway = Gateway(settings, supervisor, rooms, clock)
        yield TaskStage(GatewayCaller(gateway, clock), supervisor, rooms, clock)


@asynccontextmanager
async def open_supervisor(
    settings: Settings,
    rooms: RoomProvider,
    clock: ManualClock,
    leave_codes: dict[str, list[LeaveCode]],
    tick: Tick | None = None,
) -> AsyncIterator[Supervisor]:
    """A supervisor over a real database and real delivery.

    Args:
        leave_codes: are filled by task.
        tick: of the rooms, too; else it has one of its own.
    """
    async with Database(settings.data_dir / DATABASE, _SCHEMAS) as database:
        delivery = WatchedDelivery(
            settings,
            database,
            _BOX,
            Bus(database),
            SystemClock(),
            repair={SliceKind.AUDIO: repair_ogg},
        )
        delivery.leave_codes = leave_codes
        async with delivery:
            own_tick = tick or Tick(clock)
            with PicturePool(1) as pictures, contextlib.closing(own_tick):
                async with Supervisor(
                    settings,
                    database,
                    _BOX,
                    delivery,
                    {"builtin": rooms},
                    pictures,
                    clock,
                    own_tick,
                ) as supervisor:
                    yield supervisor


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
