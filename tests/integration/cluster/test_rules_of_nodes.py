"""Rules of several nodes for the same rooms, on a real NATS server; workers and rooms by hand."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cloudslice.bus import Bus
from cloudslice.clock import SystemClock
from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_auto_tasks import RuleCalls, RuleEars
from cloudslice.cluster.cluster_tasks import ClusterTasks
from cloudslice.cluster.cluster_view import ClusterView, NodeInfo
from cloudslice.cluster.kv_task_store import KvTaskStore
from cloudslice.cluster.registry import Registry
from cloudslice.cluster.registry_opening import open_registry
from cloudslice.config import Settings
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.secrets import SecretBox
from cloudslice.tasks.auto_tasks import AutoTasks
from cloudslice.tasks.rule_service import KnownTask
from helpers.auto_tasks import make_rule
from helpers.manual_rooms import ManualRooms
from helpers.nats_server import NatsServer
from helpers.waiting import eventually

APP = 1400000001
LIVEKIT = {"rooms": "livekit", "livekit": {"url": "ws://a", "api_key": "k", "api_secret": "s"}}
ROOM = RoomKey(APP, "room_150", RoomIdType.STRING)


@dataclass
class Side:
    """A node with rules."""

    registry: Registry
    view: ClusterView
    store: KvTaskStore
    tasks: ClusterTasks
    rules: AutoTasks
    ours: set[RoomKey] = field(default_factory=lambda: {ROOM})

    @property
    def found(self) -> list[KnownTask]:
        return list(RuleEars(self.view).find_tasks())

    async def end_task(self, task_id: str) -> None:
        """As its owner does when its robot has left."""
        entry = await self.registry.find(keys.task_pattern(task_id))
        assert entry is not None
        await self.registry.delete(entry.key, entry.revision)


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[list[Side]]:
    rule = make_rule(APP, "room_*", app=LIVEKIT, user_id="recorder")
    settings = Settings.model_validate({"apps": [rule.app.model_dump() | {"auto_tasks": ()}]})

    async def record(event: object) -> None:
        raise AssertionError(event)

    async with AsyncExitStack() as stack:
        server = stack.enter_context(NatsServer(tmp_path / "nats"))
        opened = []
        for name in ("a", "b"):
            registry = await stack.enter_async_context(open_registry(server.url, name=name))
            view = await stack.enter_async_context(ClusterView(registry))
            box, clock = SecretBox(bytes(32)), SystemClock()
            store = KvTaskStore(registry, box, record, room_of=view.room_of)
            tasks = ClusterTasks(settings, store, view, box, {"livekit": ManualRooms()}, clock)
            ours = {ROOM}
            ears = RuleEars(view, ours.__contains__)
            rules = AutoTasks([rule], RuleCalls(tasks, store), ears.find_tasks, Bus(None), clock)
            await stack.enter_async_context(rules)
            ears.tell(rules)
            opened.append(Side(registry, view, store, tasks, rules, ours))
        worker = NodeInfo("worker", "session").to_value()
        await opened[0].registry.put(keys.NODE + "worker", worker)
        await eventually(lambda: all("worker" in each.view.nodes for each in opened))
        yield opened
        assert [each.rules.faults.errors for each in opened] == [0, 0]


async def begin(sides: list[Side], by: Side) -> KnownTask:
    """The room's task, of which both nodes know."""
    by.rules.on_room_active(ROOM)
    await eventually(lambda: all(each.found for each in sides))
    (task,) = by.found
    return task


async def test_two_nodes_that_hear_of_a_room_at_once_make_one_task(sides: list[Side]) -> None:
    one, two = sides
    for each in sides:
        each.rules.on_room_active(ROOM)
    await eventually(lambda: one.rules.counts["started"] and two.rules.counts["started"])
    assert len(one.found) == 1
    await eventually(lambda: one.found == two.found)
    assert (one.rules.counts["failed"], two.rules.counts["failed"]) == (0, 0)


async def test_a_room_that_ends_and_begins_again_has_another_task(sides: list[Side]) -> None:
    """One node hears of its end, the other one of its new beginning."""
    one, two = sides
    former = await begin(sides, by=one)
    one.rules.on_room_ended(ROOM)
    await eventually(lambda: all(each.found[0].leave_code is not None for each in sides))
    assert two.found[0].leave_code is LeaveCode.STOPPED
    two.rules.on_room_active(ROOM)
    await one.end_task(former.task_id)
    await eventually(lambda: any(each.task_id != former.task_id for each in one.found))
    assert (one.rules.counts["started"], two.rules.counts["started"]) == (1, 1)


async def test_a_task_that_somebody_has_ended_is_begun_by_no_node(sides: list[Side]) -> None:
    """Until its room has ended."""
    one, two = sides
    former = await begin(sides, by=one)
    await two.tasks.delete(APP, former.task_id)
    await one.end_task(former.task_id)
    await eventually(lambda: not one.found and not two.found)
    for number, each in enumerate(sides):
        later = RoomKey(APP, f"room_{number}", RoomIdType.STRING)
        each.ours.add(later)
        each.rules.on_room_active(ROOM)
        each.rules.on_room_active(later)  # when its task is there, ROOM has been looked at
    await eventually(lambda: len(one.found) == 2)
    assert ROOM not in {each.room for each in one.found}
    for each in sides:
        each.rules.on_room_ended(ROOM)
    two.rules.on_room_active(ROOM)
    await eventually(lambda: ROOM in {each.room for each in two.found})


async def test_a_list_of_rooms_that_is_older_ends_no_task_of_another_node(
    sides: list[Side],
) -> None:
    one, two = sides
    await begin(sides, by=one)
    two.rules.on_rooms_listed(APP, {})
    other = RoomKey(APP, "room_151", RoomIdType.STRING)
    two.ours.add(other)
    two.rules.on_room_active(other)  # when its task is there, the list has been gone through
    await eventually(lambda: len(one.found) == 2)
    assert {each.leave_code for each in one.found} == {None}
    assert two.rules.counts["stopped"] == 0


async def test_a_room_that_has_gone_to_another_node_is_its_rules_business(
    sides: list[Side],
) -> None:
    """Its end here is none."""
    one, two = sides
    two.ours.clear()
    task = await begin(sides, by=one)
    one.ours.clear()
    one.rules.on_room_ended(ROOM)
    two.ours.add(ROOM)
    two.rules.on_task_begun(task)
    two.rules.on_room_ended(ROOM)
    await eventually(lambda: two.rules.counts["stopped"] == 1)
    assert one.rules.counts["stopped"] == 0
