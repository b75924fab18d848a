"""Tasks that begin and end with their rooms, over real tasks, a real database and real delivery."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloudslice.config import Settings
from cloudslice.events import RoomCreated, RoomDismissed
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import LeaveCode, RoomEntryError
from cloudslice.tasks.auto_tasks import AutoTasks
from cloudslice.tasks.worker import Worker
from helpers.api_fakes import APP, APP_KEY
from helpers.auto_tasks import make_rule
from helpers.manual_rooms import ManualRooms
from helpers.slice_store import ManualClock
from helpers.task_stage import TaskParts, open_tasks
from helpers.waiting import eventually

ROBOT = "cloudslice"


def room(name: str) -> RoomKey:
    return RoomKey(APP, name, RoomIdType.STRING)


SHOW = room("show-1")


class ClosableRooms(ManualRooms):
    """Rooms that cannot be entered while the test says so."""

    refusal: str = ""
    checks: int = 0

    async def check(self, _key: RoomKey, _robot_user_id: str) -> None:
        self.checks += 1
        if self.refusal:
            raise RoomEntryError(self.refusal)


@dataclass
class Site:
    """A node's tasks, with one rule."""

    directory: Path
    clock: ManualClock
    rooms: ClosableRooms
    leave_codes: dict[str, list[LeaveCode]]
    limits: dict[str, int]

    @asynccontextmanager
    async def open(self, **rule: Any) -> AsyncIterator["Running"]:
        app = {"sdk_app_id": APP, "secret_key": APP_KEY, "limits": self.limits}
        settings = Settings.model_validate(
            {
                "data_dir": self.directory,
                "apps": [app],
                "storage": {"endpoints": {"cos": (self.directory / "buckets").as_uri()}},
            }
        )
        rules = [make_rule(APP, "show-*", **rule)]
        async with (
            open_tasks(settings, self.rooms, self.clock, self.leave_codes) as parts,
            AutoTasks(rules, parts.tasks, parts.worker.find_known, parts.bus, self.clock) as auto,
        ):
            yield Running(self, parts, auto)


@dataclass
class Running:
    site: Site
    parts: TaskParts
    auto: AutoTasks

    @property
    def worker(self) -> Worker:
        return self.parts.worker

    def begin(self, key: RoomKey = SHOW) -> None:
        """An anchor comes."""
        self.parts.bus.publish(RoomCreated(key, "ann"))
        self.site.rooms.join(key, "ann")

    def end(self, key: RoomKey = SHOW) -> None:
        """The last anchor leaves."""
        self.site.rooms.leave(key, "ann")
        self.parts.bus.publish(RoomDismissed(key))

    async def has_robots(self, *keys: RoomKey) -> None:
        """Wait until these rooms and no others have robots."""
        expected = {(key, ROBOT) for key in keys}
        await eventually(
            lambda: self.site.rooms.robots == expected and len(self.worker.tasks) == len(keys)
        )

    def idle(self) -> None:
        """More than the idle time passes."""
        self.site.clock.now += 31
        self.worker.tick(self.site.clock.now)

    @property
    def codes(self) -> list[LeaveCode]:
        """Of all tasks that have ended, in their order."""
        return [code for codes in self.site.leave_codes.values() for code in codes]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, ManualClock(), ClosableRooms(), {}, {"tasks": 3})


async def test_a_task_begins_and_ends_with_its_room(site: Site) -> None:
    """Of rooms that match; what is heard twice has no effect."""
    async with site.open() as running:
        running.begin(room("other"))
        running.begin()
        running.auto.on_room_active(SHOW)
        await running.has_robots(SHOW)
        running.end(room("other"))
        running.end()
        running.auto.on_room_ended(SHOW)
        await running.has_robots()
        assert running.codes == [LeaveCode.STOPPED]
        assert running.auto.counts == {"started": 1, "stopped": 1, "failed": 0}


async def test_a_room_that_begins_again_at_once_has_a_task_again(site: Site) -> None:
    """Also while the former one is still stopping."""
    async with site.open() as running:
        for count in range(1, 4):
            running.begin()
            await running.has_robots(SHOW)
            running.end()
            await eventually(lambda count=count: running.auto.counts["stopped"] == count)
        running.begin()
        await eventually(lambda: running.auto.counts["started"] == 4)
        await running.has_robots(SHOW)
        assert running.codes == [LeaveCode.STOPPED] * 3


async def test_an_end_that_is_over_at_once_is_none(site: Site) -> None:
    """The same task goes on."""
    async with site.open() as running:
        running.begin()
        await running.has_robots(SHOW)
        running.end()
        running.begin()
        running.begin(room("show-2"))
        await running.has_robots(SHOW, room("show-2"))
        assert running.codes == []


async def test_after_a_restart_the_same_task_goes_on(site: Site) -> None:
    """Its room counts as there, though nobody is back yet; when the room ends, it ends."""
    async with site.open() as running:
        running.begin()
        await running.has_robots(SHOW)
        [task] = running.worker.tasks
        task_id = task.stored.task_id
    site.rooms = ClosableRooms()
    async with site.open() as running:
        await running.has_robots(SHOW)
        running.begin()
        running.auto.on_room_active(SHOW)
        running.end()
        await running.has_robots()
        assert site.leave_codes == {task_id: [LeaveCode.STOPPED]}
        assert running.auto.counts == {"started": 0, "stopped": 1, "failed": 0}


async def test_what_ended_while_nobody_ran_ends_at_the_first_list(site: Site) -> None:
    async with site.open() as running:
        for name in ("show-1", "show-2"):
            running.begin(room(name))
        await running.has_robots(room("show-1"), room("show-2"))
    site.rooms = ClosableRooms()
    async with site.open() as running:
        running.auto.on_rooms_listed(APP, {room("show-2"): True, room("show-3"): True})
        await running.has_robots(room("show-2"), room("show-3"))
        assert running.codes == [LeaveCode.STOPPED]


async def test_rooms_that_nobody_sends_in_wait(site: Site) -> None:
    """A list shows them; the task begins when somebody sends."""
    async with site.open() as running:
        running.auto.on_rooms_listed(APP, {SHOW: False})
        await running.has_robots()
        running.auto.on_rooms_listed(APP, {SHOW: True})
        await running.has_robots(SHOW)


async def test_an_idle_task_begins_again_when_somebody_sends(site: Site) -> None:
    """And not before, however often it is heard that the room is there."""
    async with site.open() as running:
        running.auto.on_room_active(SHOW)
        await running.has_robots(SHOW)
        running.idle()
        await running.has_robots()
        running.auto.on_rooms_listed(APP, {SHOW: False})
        running.begin(room("show-2"))
        await running.has_robots(room("show-2"))
        running.begin()
        await running.has_robots(SHOW, room("show-2"))
        assert running.codes == [LeaveCode.IDLE]


async def test_who_ends_a_task_has_peace_until_the_room_begins_again(site: Site) -> None:
    async with site.open() as running:
        running.begin()
        await running.has_robots(SHOW)
        [task] = running.worker.tasks
        await running.parts.tasks.delete(APP, task.stored.task_id)
        await running.has_robots()
        running.auto.on_room_active(SHOW)
        running.auto.on_rooms_listed(APP, {SHOW: True})
        running.begin(room("show-2"))
        await running.has_robots(room("show-2"))
        running.end()
        running.begin()
        await running.has_robots(SHOW, room("show-2"))


async def test_a_lost_connection_is_tried_again_after_a_pause(site: Site) -> None:
    async with site.open() as running:
        running.auto.on_room_active(SHOW)
        await running.has_robots(SHOW)
        [task] = running.worker.tasks
        task.stop(LeaveCode.CONNECTION_LOST)
        await running.has_robots()
        running.auto.on_room_active(SHOW)
        running.begin(room("show-2"))
        await running.has_robots(room("show-2"))
        site.clock.now += 6
        running.auto.on_room_active(SHOW)
        await running.has_robots(SHOW, room("show-2"))


async def test_a_flood_of_rooms_keeps_to_the_limit(site: Site) -> None:
    """What does not fit waits for a place, and does not ask again and again."""
    names = [room(f"show-{number}") for number in range(200)]
    async with site.open() as running:
        for each in names:
            running.begin(each)
        await running.has_robots(*names[:3])
        for each in names:
            running.auto.on_room_active(each)
        await asyncio.sleep(0)
        assert running.auto.counts["failed"] <= 2
        running.end(names[0])
        await running.has_robots(*names[1:4])
        assert running.auto.counts["failed"] <= 4


async def test_a_room_that_cannot_be_entered_does_not_hold_up_others(site: Site) -> None:
    """It is tried again after a pause that grows."""
    async with site.open() as running:
        site.rooms.refusal = "the server is down"
        running.begin()
        await eventually(lambda: running.auto.counts["failed"] == 1)
        for pause_s in (4, 2):
            site.clock.now += pause_s
            running.auto.on_room_active(SHOW)
        await eventually(lambda: running.auto.counts["failed"] == 2)
        assert site.rooms.checks == 2
        site.rooms.refusal = ""
        running.begin(room("show-2"))
        await running.has_robots(room("show-2"))
        site.clock.now += 11
        running.auto.on_room_active(SHOW)
        await running.has_robots(SHOW, room("show-2"))


async def test_a_task_of_the_robot_that_was_made_by_a_call_is_the_rules(site: Site) -> None:
    """No second one begins beside it, and it ends with the room."""
    rule = make_rule(APP, "show-*")
    async with site.open() as running:
        await running.parts.tasks.create(rule.make_spec(SHOW, site.clock.utc_ms() / 1000))
        running.begin()
        await running.has_robots(SHOW)
        running.end()
        await running.has_robots()
        assert running.auto.counts == {"started": 0, "stopped": 1, "failed": 0}
