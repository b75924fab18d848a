"""Tasks from Create to event 1002, over a real database and real delivery; rooms moved by hand."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.bus import Bus
from cloudslice.database import Database
from cloudslice.rooms.base import LeaveCode
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.slicing.robot import Robot
from cloudslice.tasks import sqlite_store
from cloudslice.tasks.model import (
    RobotIdTakenError,
    SpoolFullError,
    TaskNotFoundError,
    TaskStatus,
    TooManyTasksError,
)
from cloudslice.tasks.sqlite_store import SqliteTaskStore
from cloudslice.uploads.uploader import Uploader
from helpers.delivery import BOX, DATABASE
from helpers.files import decode_audio
from helpers.manual_stage import APP, ROBOT, Stage, a_spec, open_stage
from helpers.slice_store import ManualClock, SettableClock
from helpers.tracks import ManualAnchor, ManualAudio


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path) as running:
        yield running


async def test_a_task_is_idle_then_in_progress_then_gone(stage: Stage) -> None:
    tasks = stage.tasks
    task_id = await tasks.create(a_spec(stage.clock))
    assert tasks.describe(APP, task_id) is TaskStatus.IDLE
    await stage.events(task_id, until=1001)
    audio = ManualAudio()
    stage.rooms.listeners[ROBOT].on_anchor_joined(ManualAnchor("alice", audio))
    audio.send(stage.clock.monotonic())
    assert tasks.describe(APP, task_id) is TaskStatus.IN_PROGRESS
    await tasks.delete(APP, task_id)
    kinds = [kind for kind, _ in await stage.events(task_id)]
    # That the robot left and that its slice is stored are told side by side.
    assert sorted(kinds) == [1001, 1002, 1003, 1004, 1005]
    assert (kinds[0], kinds[-1]) == (1001, 1005)
    assert kinds.index(1003) < kinds.index(1004)
    with pytest.raises(TaskNotFoundError):
        tasks.describe(APP, task_id)


async def test_a_stopping_task_is_exited_and_can_be_deleted_again(stage: Stage) -> None:
    task_id = await stage.tasks.create(a_spec(stage.clock))
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.tasks.delete(APP, task_id))
        await asyncio.sleep(0)
        assert stage.tasks.describe(APP, task_id) is TaskStatus.EXITED
        await stage.tasks.delete(APP, task_id)
        await stage.tasks.modify(APP, task_id, SubscriptionLists())
    assert (1002, {"LeaveCode": 0}) in await stage.events(task_id)


async def test_a_robot_that_cannot_enter_fails_its_task(stage: Stage) -> None:
    stage.rooms.refuses = True
    task_id = await stage.tasks.create(a_spec(stage.clock))
    assert await stage.events(task_id) == [
        (1001, {"Status": 1}),
        (1002, {"LeaveCode": 100}),
        (1005, {"Status": 0}),
    ]


async def test_an_empty_room_ends_the_task_after_max_idle_time(stage: Stage) -> None:
    task_id = await stage.tasks.create(a_spec(stage.clock))
    await stage.events(task_id, until=1001)
    stage.clock.now += 30
    assert (1002, {"LeaveCode": 99}) in await stage.events(task_id)


async def test_a_robot_is_not_idle_before_it_is_in_its_room(stage: Stage) -> None:
    """A server of rooms may take longer than that to let it in."""
    stage.rooms.has_door = True
    task_id = await stage.tasks.create(a_spec(stage.clock))
    stage.clock.now += 45
    stage.worker.tick(stage.clock.now)
    stage.rooms.door.set()
    assert await stage.events(task_id, until=1001) == [(1001, {"Status": 0})]
    stage.clock.now += 29
    stage.worker.tick(stage.clock.now)
    assert stage.tasks.describe(APP, task_id) is TaskStatus.IDLE
    stage.clock.now += 1
    assert (1002, {"LeaveCode": 99}) in await stage.events(task_id)


async def test_a_newer_robot_of_the_same_id_ends_the_older_task(stage: Stage) -> None:
    older = await stage.tasks.create(a_spec(stage.clock))
    newer = await stage.tasks.create(a_spec(stage.clock, lifetime_s=60))
    assert (1002, {"LeaveCode": 101}) in await stage.events(older)
    assert stage.tasks.describe(APP, newer) is TaskStatus.IDLE


async def test_creations_side_by_side_cannot_pass_the_limit(tmp_path: Path) -> None:
    async with open_stage(tmp_path, task_limit=3) as stage:
        results = await asyncio.gather(
            *(stage.tasks.create(a_spec(stage.clock, robot=f"r{n}")) for n in range(5)),
            return_exceptions=True,
        )
        assert [type(each) for each in results].count(TooManyTasksError) == 2
        await stage.tasks.delete(APP, str(results[0]))
        await stage.events(str(results[0]))
        await stage.tasks.create(a_spec(stage.clock, robot="r9"))


async def test_the_id_of_a_member_that_is_no_robot_is_refused(stage: Stage) -> None:
    stage.rooms.humans.add(ROBOT)
    with pytest.raises(RobotIdTakenError, match=ROBOT):
        await stage.tasks.create(a_spec(stage.clock))


async def test_a_full_spool_refuses_new_tasks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Uploader, "is_full", True)
    with pytest.raises(SpoolFullError):
        await stage.tasks.create(a_spec(stage.clock))


async def test_a_task_that_meets_a_bug_disturbs_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken one stays as it is; the other one's time goes on."""
    broken = await stage.tasks.create(a_spec(stage.clock, robot="broken"))
    tick = Robot.tick

    def fail_for_one(robot: Robot, now: float) -> None:
        if robot is stage.rooms.listeners["broken"]:
            raise RuntimeError("a bug")
        tick(robot, now)

    monkeypatch.setattr(Robot, "tick", fail_for_one)
    other = await stage.tasks.create(a_spec(stage.clock))
    await stage.events(other, until=1001)
    stage.clock.now += 30
    assert (1002, {"LeaveCode": 99}) in await stage.events(other)
    assert stage.tasks.describe(APP, broken) is TaskStatus.IDLE


async def test_tasks_of_other_apps_and_expired_ones_are_not_found(stage: Stage) -> None:
    """After ResourceExpiredHour the calls fail, but the task itself goes on."""
    spec = replace(a_spec(stage.clock), slicing=SliceParams(True, False, max_idle_s=86400))
    task_id = await stage.tasks.create(replace(spec, resource_expired_hours=6))
    with pytest.raises(TaskNotFoundError):
        stage.tasks.describe(APP + 1, task_id)
    stage.clock.now += 6 * 3600 - 1
    stage.tasks.describe(APP, task_id)
    stage.clock.now += 1
    for call in (
        stage.tasks.delete(APP, task_id),
        stage.tasks.modify(APP, task_id, None),
    ):
        with pytest.raises(TaskNotFoundError):
            await call
    assert stage.worker.count_by_status()[TaskStatus.IDLE] == 1


async def test_a_step_of_the_wall_clock_hides_no_task(tmp_path: Path) -> None:
    """ResourceExpiredHour counts hours, over a restart too."""
    clock = SettableClock()
    async with open_stage(tmp_path, clock=clock) as stage:
        spec = replace(a_spec(clock, lifetime_s=86400 * 30), resource_expired_hours=6)
        task_id = await stage.tasks.create(spec)
        clock.step_ms = 25 * 3_600_000
        assert stage.tasks.describe(APP, task_id) is TaskStatus.IDLE
    clock.step_ms = 50 * 3_600_000
    async with open_stage(tmp_path, clock=clock) as stage:
        assert stage.tasks.describe(APP, task_id) is TaskStatus.IDLE
        await stage.tasks.delete(APP, task_id)


async def test_modified_lists_reach_the_robot_and_survive_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    audio = ManualAudio()
    async with open_stage(tmp_path, clock=clock) as stage:
        task_id = await stage.tasks.create(a_spec(clock))
        await stage.events(task_id, until=1001)
        stage.rooms.listeners[ROBOT].on_anchor_joined(ManualAnchor("alice", audio))
        assert len(audio.sinks) == 1
        lists = SubscriptionLists(audio_block=("alice",))
        await stage.tasks.modify(APP, task_id, lists)
        assert audio.sinks == []
    async with open_stage(tmp_path, clock=clock) as stage:
        assert stage.tasks.describe(APP, task_id) is TaskStatus.IDLE
        await stage.rooms.has_robot.wait()
        stage.rooms.listeners[ROBOT].on_anchor_joined(ManualAnchor("alice", audio))
        stage.rooms.listeners[ROBOT].on_anchor_joined(ManualAnchor("bob", bob := ManualAudio()))
        assert audio.sinks == []
        assert len(bob.sinks) == 1
        await stage.tasks.delete(APP, task_id)
        assert [kind for kind, _ in await stage.events(task_id)][-2:] == [1002, 1005]


def find_files(directory: Path, pattern: str) -> list[Path]:
    return list(directory.rglob(pattern))


async def test_a_stop_closes_slices_and_tasks_go_on(tmp_path: Path) -> None:
    """The slice that was open is whole and delivered once, and the task's robot enters anew."""
    clock, audio = ManualClock(), ManualAudio()
    async with open_stage(tmp_path, clock=clock) as stage:
        task_id = await stage.tasks.create(a_spec(clock))
        await stage.events(task_id, until=1001)
        stage.rooms.listeners[ROBOT].on_anchor_joined(ManualAnchor("alice", audio))
        for _ in range(50):
            clock.now += 0.02
            audio.send(clock.now)
    assert find_files(tmp_path, "*.part") == []
    async with open_stage(tmp_path, clock=clock) as stage:
        await stage.rooms.has_robot.wait()
        assert stage.tasks.describe(APP, task_id) is TaskStatus.IDLE
        await stage.tasks.delete(APP, task_id)
        assert (1005, {"Status": 0}) in await stage.events(task_id)
    (stored,) = find_files(tmp_path, "buckets/**/*.ogg")
    assert decode_audio(stored.read_bytes()).duration_s == 1


async def test_a_restart_with_an_expired_usersig_ends_the_task(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_stage(tmp_path, clock=clock) as stage:
        task_id = await stage.tasks.create(a_spec(clock, lifetime_s=60))
        await stage.events(task_id, until=1001)
    clock.now += 61
    async with open_stage(tmp_path, clock=clock) as stage:
        assert (1002, {"LeaveCode": 100}) in await stage.events(task_id)


async def test_a_stop_that_was_cut_off_is_completed_at_the_next_start(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_stage(tmp_path, clock=clock) as stage:
        task_id = await stage.tasks.create(a_spec(clock))
        await stage.events(task_id, until=1001)
    async with Database(tmp_path / DATABASE, [sqlite_store.SCHEMA]) as database:
        store = SqliteTaskStore(database, BOX, Bus(database))
        await store.set_stopping(task_id, LeaveCode.REMOVED)
    async with open_stage(tmp_path, clock=clock) as stage:
        # 1001 may come again: the first process was stopped the moment it was received.
        events = await stage.events(task_id)
        assert events[-2:] == [(1002, {"LeaveCode": 1}), (1005, {"Status": 0})]


async def change_rows(directory: Path, statement: str) -> None:
    async with Database(directory / DATABASE, []) as database:
        await database.run(lambda c: c.execute(statement))


async def test_a_stop_that_was_cut_off_before_the_robot_had_entered_tells_both(
    tmp_path: Path,
) -> None:
    """Who waits for 1001 hears of it, before 1002."""
    clock = ManualClock()
    async with open_stage(tmp_path, clock=clock) as stage:
        task_id = await stage.tasks.create(a_spec(clock))
        await stage.events(task_id, until=1001)
    await change_rows(tmp_path, "UPDATE tasks SET has_entered = 0, leave_code = 0")
    async with open_stage(tmp_path, clock=clock) as stage:
        events = await stage.events(task_id)
        assert events[-3:] == [
            (1001, {"Status": 1}),
            (1002, {"LeaveCode": 0}),
            (1005, {"Status": 0}),
        ]
        assert not stage.rooms.has_robot.is_set()


@pytest.mark.parametrize("damage", ["slicing = '{'", "lists = CAST(x'c328' AS TEXT)"])
async def test_a_task_on_record_that_cannot_be_read_ends_and_is_told(
    tmp_path: Path, damage: str
) -> None:
    """The others go on."""
    clock = ManualClock()
    async with open_stage(tmp_path, clock=clock) as stage:
        broken = await stage.tasks.create(a_spec(clock, robot="broken"))
        other = await stage.tasks.create(a_spec(clock))
        for task_id in (broken, other):
            await stage.events(task_id, until=1001)
    await change_rows(tmp_path, f"UPDATE tasks SET {damage} WHERE robot_user_id = 'broken'")  # noqa: S608
    for is_first in (True, False):
        async with open_stage(tmp_path, clock=clock) as stage:
            assert stage.tasks.describe(APP, other) is TaskStatus.IDLE
            with pytest.raises(TaskNotFoundError):
                stage.tasks.describe(APP, broken)
            if is_first:
                events = await stage.events(broken)
                assert events[-2:] == [(1002, {"LeaveCode": 100}), (1005, {"Status": 0})]


@pytest.mark.parametrize("record", ["file", "row"])
async def test_a_damaged_record_of_delivery_is_made_anew(tmp_path: Path, record: str) -> None:
    """The slices of a task that goes on still reach their bucket."""
    clock = ManualClock()
    async with open_stage(tmp_path, clock=clock) as stage:
        task_id = await stage.tasks.create(a_spec(clock))
        await stage.events(task_id, until=1001)
    if record == "file":
        (file,) = (tmp_path / "spool").glob("*/task")
        file.write_bytes(file.read_bytes()[:-20])
    else:
        await change_rows(
            tmp_path, "INSERT INTO uploads (task_id, lost) SELECT task_id, 'x' FROM tasks"
        )
    async with open_stage(tmp_path, clock=clock) as stage:
        await stage.rooms.has_robot.wait()
        audio = ManualAudio()
        stage.rooms.listeners[ROBOT].on_anchor_joined(ManualAnchor("alice", audio))
        audio.send(clock.monotonic())
        await stage.tasks.delete(APP, task_id)
        kinds = [kind for kind, _payload in await stage.events(task_id)]
        assert 1004 in kinds
        assert 1006 not in kinds
    assert list((tmp_path / "buckets").rglob("*.ogg"))


async def test_changed_parameters_survive_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_stage(tmp_path, clock=clock) as stage:
        task_id = await stage.tasks.create(a_spec(clock))
        await stage.events(task_id, until=1001)
        await stage.tasks.modify(APP, task_id, None, {"max_idle_s": 60, "audio_slice_s": 20})
    async with open_stage(tmp_path, clock=clock) as stage:
        task = stage.worker.find(task_id)
        assert task is not None
        assert task.robot.params == SliceParams(
            audio=True, video=False, max_idle_s=60, audio_slice_s=20
        )
        await stage.rooms.has_robot.wait()
        clock.now += 59.9
        await stage.tasks.modify(APP, task_id, None, {"max_idle_s": 86400})
        clock.now += 1
        assert stage.tasks.describe(APP, task_id) is TaskStatus.IDLE
