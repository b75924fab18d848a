"""Tasks over a real database and real delivery, their rooms moved by hand and their webhooks
received."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from cloudslice.config import Settings
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import LeaveCode, RoomEntryError, RoomListener
from cloudslice.slices import Bucket, Vendor
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.tasks.model import TaskSpec
from cloudslice.tasks.service import Tasks
from cloudslice.tasks.worker import Worker
from helpers.slice_store import ManualClock
from helpers.task_stage import open_tasks
from helpers.webhooks import WebhookReceiver

APP, KEY, ROBOT = 1400000001, "k" * 64, "robot_1"
ROOM = RoomKey(APP, "150", RoomIdType.NUMBER)


@dataclass
class ManualRooms:
    """Lets robots in, or not, and keeps what they hear with."""

    listeners: dict[str, RoomListener] = field(default_factory=dict)
    humans: set[str] = field(default_factory=set)
    refuses: bool = False
    has_robot: asyncio.Event = field(default_factory=asyncio.Event)
    door: asyncio.Event = field(default_factory=asyncio.Event)
    """Who enters waits for it, if `has_door`."""
    has_door: bool = False

    entry_timeout_s: ClassVar[float] = 10.0

    async def check(self, _key: RoomKey, _robot: str) -> None:
        """Any room can be entered, until the robot tries to."""

    async def enter(self, _key: RoomKey, robot: str, listener: RoomListener) -> Any:
        if self.has_door:
            await self.door.wait()
        if self.refuses:
            raise RoomEntryError("the room is locked")
        former = self.listeners.pop(robot, None)
        if former is not None:
            former.on_evicted(LeaveCode.REPLACED)
        self.listeners[robot] = listener
        self.has_robot.set()
        return self

    def leave(self) -> None:
        """The Attendance of every robot."""

    def catch_up(self) -> None: ...

    def holds_user(self, _key: RoomKey, user_id: str) -> bool:
        return user_id in self.humans


@dataclass
class Stage:
    """Service and worker with what is around them."""

    tasks: Tasks
    worker: Worker
    rooms: ManualRooms
    clock: ManualClock
    receiver: WebhookReceiver

    async def events(self, task_id: str, until: int = 1005) -> list[tuple[int, Any]]:
        """(EventType, Payload) of a task's events, once the type `until` has come."""
        await self.receiver.wait_for(
            lambda r: any(each["EventType"] == until for each in r.of_task(task_id))
        )
        return [
            (each["EventType"], each["EventInfo"]["Payload"])
            for each in self.receiver.of_task(task_id)
        ]


@asynccontextmanager
async def open_stage(
    directory: Path, *, clock: ManualClock | None = None, task_limit: int = 500
) -> AsyncIterator[Stage]:
    clock = clock or ManualClock()
    rooms = ManualRooms()
    async with WebhookReceiver() as receiver:
        settings = Settings.model_validate(
            {
                "data_dir": directory,
                "apps": [
                    {
                        "sdk_app_id": APP,
                        "secret_key": KEY,
                        "callback_url": receiver.url,
                        "limits": {"tasks": task_limit},
                    }
                ],
                "storage": {"endpoints": {"cos": (directory / "buckets").as_uri()}},
            }
        )
        async with open_tasks(settings, rooms, clock, {}) as parts:
            yield Stage(parts.tasks, parts.worker, rooms, clock, receiver)


def a_spec(clock: ManualClock, *, lifetime_s: int = 86400, robot: str = ROBOT) -> TaskSpec:
    return TaskSpec(
        room=ROOM,
        robot_user_id=robot,
        user_sig=make_user_sig(KEY, APP, robot, now_s=clock.utc_ms() / 1000, lifetime_s=lifetime_s),
        private_map_key=None,
        slicing=SliceParams(audio=True, video=False),
        lists=SubscriptionLists(),
        bucket=Bucket(Vendor.COS, "ap-guangzhou", "demo-1250000000", "a", "s"),
    )
