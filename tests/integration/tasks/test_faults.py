"""What nobody foresaw delays or ends one step of one task; the process and the others go on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudslice.ids import RoomKey
from cloudslice.rooms.base import LeaveCode, RoomListener
from cloudslice.slicing.audio.timeline import Timeline
from cloudslice.slicing.params import SubscriptionLists
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.slicing.robot import Robot
from cloudslice.spool.spool import Spool
from cloudslice.tasks import entering, running
from cloudslice.tasks import worker as worker_module
from cloudslice.tasks.model import TaskNotFoundError, TaskStatus
from cloudslice.tasks.sqlite_store import SqliteTaskStore
from cloudslice.tasks.store import StoreError
from cloudslice.tasks.worker import Worker
from helpers.manual_stage import APP, ROBOT, ManualRooms, Stage, a_spec, open_stage
from helpers.slice_store import ManualClock
from helpers.tracks import ManualAnchor, ManualAudio
from helpers.waiting import eventually

ENTERED = (1001, {"Status": 0})
FAILED = [(1001, {"Status": 1}), (1002, {"LeaveCode": 100}), (1005, {"Status": 0})]


class FailingOnce:
    """Raises what nobody foresaw when it is first called."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.calls = 0

    def __get__(self, owner: object, _kind: type) -> Any:
        return lambda *arguments, **named: self(owner, *arguments, **named)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            raise ZeroDivisionError("a bug")
        return self.function(*arguments, **named)


def stop(stage: Stage, task_id: str) -> None:
    """As the room or the robot would."""
    task = stage.worker.find(task_id)
    assert task is not None
    task.stop(LeaveCode.STOPPED)


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(entering, "_PAUSES_S", (0, 0))
    monkeypatch.setattr(running, "_WRITE_RETRY_S", 0)
    async with open_stage(tmp_path) as stage:
        yield stage


async def test_an_entry_that_breaks_is_tried_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ManualRooms, "enter", FailingOnce(ManualRooms.enter))
    task_id = await stage.tasks.create(a_spec(stage.clock))
    assert await stage.events(task_id, until=1001) == [ENTERED]
    assert stage.tasks.describe(APP, task_id) is TaskStatus.IDLE
    assert stage.worker.faults.errors == 1


async def test_an_entry_that_breaks_each_time_fails_its_task_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = ManualRooms.enter

    async def broken_for_one(
        rooms: ManualRooms, key: RoomKey, robot: str, listener: RoomListener
    ) -> Any:
        if robot == "broken":
            raise ZeroDivisionError("a bug")
        return await enter(rooms, key, robot, listener)

    monkeypatch.setattr(ManualRooms, "enter", broken_for_one)
    broken = await stage.tasks.create(a_spec(stage.clock, robot="broken"))
    other = await stage.tasks.create(a_spec(stage.clock))
    assert await stage.events(broken) == FAILED
    assert await stage.events(other, until=1001) == [ENTERED]
    assert stage.worker.faults.errors == 3


async def test_a_room_that_gives_no_answer_fails_the_task(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_given: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(ManualRooms, "enter", hang)
    monkeypatch.setattr(ManualRooms, "entry_timeout_s", 0.01)
    assert await stage.events(await stage.tasks.create(a_spec(stage.clock))) == FAILED
    assert stage.worker.faults.errors == 0


async def test_a_robot_that_is_stopped_on_its_way_enters_first_then_leaves(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1001 comes before 1002, and nothing is heard in between."""
    may_enter = asyncio.Event()
    enter = ManualRooms.enter

    async def slow(rooms: ManualRooms, *given: Any) -> Any:
        await may_enter.wait()
        return await enter(rooms, *given)

    monkeypatch.setattr(ManualRooms, "enter", slow)
    task_id = await stage.tasks.create(a_spec(stage.clock))
    await asyncio.sleep(0)
    await stage.tasks.delete(APP, task_id)
    assert stage.tasks.describe(APP, task_id) is TaskStatus.EXITED
    may_enter.set()
    assert await stage.events(task_id) == [ENTERED, (1002, {"LeaveCode": 0}), (1005, {"Status": 0})]


async def test_a_robot_that_is_stopped_on_its_way_into_a_room_without_answer_has_failed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one timeout: it is not tried again."""
    tries = []

    async def hang(*_given: object) -> None:
        tries.append(1)
        await asyncio.Event().wait()

    monkeypatch.setattr(ManualRooms, "enter", hang)
    monkeypatch.setattr(ManualRooms, "entry_timeout_s", 0.2)
    task_id = await stage.tasks.create(a_spec(stage.clock))
    await eventually(lambda: bool(tries))
    await stage.tasks.delete(APP, task_id)
    assert await stage.events(task_id) == [
        (1001, {"Status": 1}),
        (1002, {"LeaveCode": 0}),
        (1005, {"Status": 0}),
    ]
    assert len(tries) == 1


async def test_the_newer_of_two_robots_is_the_last_to_enter_a_slow_room(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the older one would replace it."""
    may_enter = asyncio.Event()
    enter, open_task = ManualRooms.enter, Spool.open
    opened, tries = [], []

    async def slow_once(rooms: ManualRooms, *given: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            await may_enter.wait()
        return await enter(rooms, *given)

    async def note_opened(*given: Any, **named: Any) -> None:
        await open_task(*given, **named)
        opened.append(1)

    monkeypatch.setattr(ManualRooms, "enter", slow_once)
    monkeypatch.setattr(Spool, "open", note_opened)
    older = await stage.tasks.create(a_spec(stage.clock))
    newer = await stage.tasks.create(a_spec(stage.clock, lifetime_s=60))
    await eventually(lambda: len(opened) == 4)  # each as it is created, and as it begins
    for _ in range(10):
        await asyncio.sleep(0)
    may_enter.set()
    assert await stage.events(older) == [
        ENTERED,
        (1002, {"LeaveCode": 101}),
        (1005, {"Status": 0}),
    ]
    assert await stage.events(newer, until=1001) == [ENTERED]
    assert stage.tasks.describe(APP, newer) is TaskStatus.IDLE


async def test_a_robot_is_out_at_the_call_though_its_entry_is_not_on_record_yet(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk may be full for minutes."""
    may_write = asyncio.Event()
    note_entered = SqliteTaskStore.note_entered

    async def slow(*given: Any, **named: Any) -> None:
        await may_write.wait()
        await note_entered(*given, **named)

    monkeypatch.setattr(SqliteTaskStore, "note_entered", slow)
    task_id = await stage.tasks.create(a_spec(stage.clock))
    await stage.rooms.has_robot.wait()
    track = ManualAudio()
    stage.rooms.listeners[ROBOT].on_anchor_joined(ManualAnchor("ann", track))
    assert len(track.sinks) == 1
    await stage.tasks.delete(APP, task_id)
    sinks = list(track.sinks)
    may_write.set()
    assert sinks == []
    kinds = [kind for kind, _payload in await stage.events(task_id)]
    assert kinds == [1001, 1002, 1005]


async def test_a_stop_while_a_broken_entry_is_tried_again_ends_the_trying(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    async def stop_and_break(*_given: object) -> None:
        tries.append(1)
        stop(stage, task_id)
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(ManualRooms, "enter", stop_and_break)
    task_id = await stage.tasks.create(a_spec(stage.clock))
    assert await stage.events(task_id) == [
        (1001, {"Status": 1}),
        (1002, {"LeaveCode": 0}),
        (1005, {"Status": 0}),
    ]
    assert len(tries) == 1


@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (Spool, "flush"),
        (SqliteTaskStore, "note_entered"),
        (SqliteTaskStore, "finish"),
    ],
)
async def test_a_record_that_breaks_is_written_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, owner: type, step: str
) -> None:
    monkeypatch.setattr(owner, step, FailingOnce(getattr(owner, step)))
    task_id = await stage.tasks.create(a_spec(stage.clock))
    await stage.events(task_id, until=1001)
    await stage.tasks.delete(APP, task_id)
    kinds = [kind for kind, _payload in await stage.events(task_id)]
    assert kinds == [1001, 1002, 1005]
    assert stage.worker.faults.errors == 1


async def test_a_task_that_has_no_place_in_the_spool_does_not_begin(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told of it, and its request may be repeated."""
    monkeypatch.setattr(Spool, "open", FailingOnce(Spool.open))
    spec = a_spec(stage.clock)
    with pytest.raises(ZeroDivisionError):
        await stage.tasks.create(spec)
    assert not stage.worker.tasks
    assert await stage.events(await stage.tasks.create(spec), until=1001) == [ENTERED]


@pytest.mark.parametrize(("owner", "step"), [(ManualRooms, "leave"), (Robot, "stop")])
async def test_a_robot_that_cannot_leave_ends_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, owner: type, step: str
) -> None:
    task_id = await stage.tasks.create(a_spec(stage.clock))
    await stage.events(task_id, until=1001)
    monkeypatch.setattr(owner, step, FailingOnce(getattr(owner, step)))
    await stage.tasks.delete(APP, task_id)
    assert (1002, {"LeaveCode": 0}) in await stage.events(task_id)


async def test_a_slice_that_cannot_be_closed_costs_its_own_end_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is recorded after Delete, both slices are delivered, and 1005 comes."""
    task_id = await stage.tasks.create(a_spec(stage.clock))
    await stage.events(task_id, until=1001)
    tracks = [ManualAudio(), ManualAudio()]
    for name, track in zip(("broken", "sound"), tracks, strict=True):
        stage.rooms.listeners[ROBOT].on_anchor_joined(ManualAnchor(name, track))
    for _ in range(100):
        stage.clock.now += 0.02
        for track in tracks:
            track.send(stage.clock.now)
    monkeypatch.setattr(Timeline, "settle", FailingOnce(Timeline.settle))
    await stage.tasks.delete(APP, task_id)
    events = await stage.events(task_id)
    assert [track.sinks for track in tracks] == [[], []]
    assert sorted(kind for kind, _ in events) == [1001, 1002, 1003, 1004, 1004, 1005, 1006]
    assert events[-1] == (1005, {"Status": 1})
    files = [payload for kind, payload in events if kind == 1004]
    durations = sorted(each["EndTimeStamp"] - each["StartTimeStamp"] for each in files)
    assert durations[1] == 2000
    assert 1400 < durations[0] < 2000
    assert stage.worker.faults.errors == 1


async def test_a_robot_is_out_at_the_call_however_long_the_disk_takes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delete is a cut like Modify: nothing is recorded after it."""
    task_id = await stage.tasks.create(a_spec(stage.clock))
    await stage.events(task_id, until=1001)
    order: list[str] = []
    set_stopping, stop_robot = SqliteTaskStore.set_stopping, Robot.stop

    async def stored(*given: Any) -> None:
        order.append("stored")
        await set_stopping(*given)

    def stopped(robot: Robot) -> None:
        order.append("stopped")
        stop_robot(robot)

    monkeypatch.setattr(SqliteTaskStore, "set_stopping", stored)
    monkeypatch.setattr(Robot, "stop", stopped)
    stop(stage, task_id)
    await stage.events(task_id)
    assert order[:2] == ["stopped", "stored"]


async def test_ticks_go_on_whatever_one_raises(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = FailingOnce(Worker.tick)
    monkeypatch.setattr(Worker, "tick", broken)
    task_id = await stage.tasks.create(a_spec(stage.clock))
    await stage.events(task_id, until=1001)
    await eventually(lambda: broken.calls >= 2)
    await stage.tasks.modify(APP, task_id, SubscriptionLists())
    stage.clock.now += 30
    assert (1002, {"LeaveCode": 99}) in await stage.events(task_id)
    assert ROBOT in stage.rooms.listeners


async def test_a_fault_while_the_process_stops_keeps_it_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks that are stopping stop, and the others go on with the next process."""
    monkeypatch.setattr(running, "_WRITE_RETRY_S", 0)
    clock = ManualClock()
    async with open_stage(tmp_path, clock=clock) as stage:
        stopping = await stage.tasks.create(a_spec(clock, robot="stopping"))
        staying = await stage.tasks.create(a_spec(clock))
        await stage.events(stopping, until=1001)
        await stage.events(staying, until=1001)
        may_flush = asyncio.Event()
        flush = Spool.flush

        async def slow(delivery: Spool) -> None:
            await may_flush.wait()
            await flush(delivery)

        monkeypatch.setattr(Spool, "flush", slow)
        flushing = asyncio.get_running_loop().call_later(0.2, may_flush.set)
        await stage.tasks.delete(APP, stopping)
        monkeypatch.setattr(PicturePool, "settle", FailingOnce(PicturePool.settle))
    assert stage.worker.faults.errors == 1
    assert flushing.when() <= asyncio.get_running_loop().time()
    async with open_stage(tmp_path, clock=clock) as stage:
        assert stage.tasks.describe(APP, staying) is TaskStatus.IDLE
        with pytest.raises(TaskNotFoundError):
            stage.tasks.describe(APP, stopping)


async def test_a_disk_that_refuses_does_not_keep_the_process_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a task that is stopping could not put on record the next process does."""
    monkeypatch.setattr(worker_module, "_STOP_S", 0.1)
    clock = ManualClock()

    async def refuse(*_arguments: object) -> None:
        raise StoreError("disk full")

    async with asyncio.timeout(10):
        with monkeypatch.context() as patch:
            async with open_stage(tmp_path, clock=clock) as stage:
                task_id = await stage.tasks.create(a_spec(clock))
                await stage.events(task_id, until=1001)
                patch.setattr(SqliteTaskStore, "finish", refuse)
                await stage.tasks.delete(APP, task_id)
    async with open_stage(tmp_path, clock=clock) as stage:
        kinds = [kind for kind, _payload in await stage.events(task_id)]
        assert kinds == [1002, 1005]
