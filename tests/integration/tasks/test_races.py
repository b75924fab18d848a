"""Calls that cross each other, through the API, over real tasks (docs/wire.md, 7.3)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.spool.spool import Spool
from cloudslice.tasks.model import TaskStatus
from helpers.api_fakes import APP, Answer
from helpers.slice_store import ManualClock
from helpers.task_stage import TaskStage, open_task_stage, task_parameters
from helpers.waiting import eventually

ROOM = RoomKey(APP, "150", RoomIdType.NUMBER)
ROBOT = "robot_1"
CREATE, DESCRIBE, MODIFY, DELETE = (
    f"{verb}CloudSliceTask" for verb in ("Create", "Describe", "Modify", "Delete")
)


class Race:
    """A running stage, with what its tasks have ended by."""

    def __init__(self, stage: TaskStage, leave_codes: dict[str, list[LeaveCode]]) -> None:
        self.stage = stage
        self.leave_codes = leave_codes

    async def create(self, robot: str = ROBOT, **changes: int) -> Answer:
        parameters = task_parameters(ROOM, robot, self.stage.clock, **changes)
        return await self.stage.api.call(CREATE, parameters)

    async def call(self, action: str, task_id: str, **more: Any) -> Answer:
        return await self.stage.api.call(action, {"SdkAppId": APP, "TaskId": task_id} | more)

    async def dismiss(self) -> Answer:
        return await self.stage.api.call("DismissRoom", {"SdkAppId": APP, "RoomId": 150})

    async def settle(self) -> int:
        """Wait until no task is stopping and each has its robot; how many there are."""
        counts = self.stage.worker.count_by_status
        await eventually(
            lambda: (
                not counts()[TaskStatus.EXITED] and counts()[TaskStatus.IDLE] == self.robot_count
            )
        )
        return self.robot_count

    @property
    def robot_count(self) -> int:
        return len(self.stage.rooms.robots)


@pytest.fixture
async def race(tmp_path: Path) -> AsyncIterator[Race]:
    leave_codes: dict[str, list[LeaveCode]] = {}
    async with open_task_stage(tmp_path, ManualClock(), leave_codes, tasks=3) as stage:
        yield Race(stage, leave_codes)


async def test_of_two_creations_at_once_one_robot_stays(race: Race) -> None:
    """Both succeed; one replaces the other."""
    answers = await asyncio.gather(race.create(), race.create(max_idle_s=60))
    task_ids = {answer.body["TaskId"] for answer in answers}
    assert len(task_ids) == 2
    assert await race.settle() == 1
    codes = {task_id: (await race.call(DESCRIBE, task_id)).code for task_id in task_ids}
    assert sorted(codes.values(), key=str) == [None, "ResourceNotFound"]
    (replaced,) = (task_id for task_id, code in codes.items() if code is not None)
    assert race.leave_codes == {replaced: [LeaveCode.REPLACED]}


async def test_equal_creations_at_once_make_one_task(race: Race) -> None:
    """A client repeats what it got no answer to, while the first call is still under way."""
    answers = await asyncio.gather(*(race.create() for _ in range(5)))
    assert len({answer.body["TaskId"] for answer in answers}) == 1
    assert await race.settle() == 1
    assert race.leave_codes == {}


async def test_a_creation_whose_answer_is_lost_can_be_repeated(race: Race) -> None:
    """Within a minute it is the same task, whatever has come of it; then a newer one."""
    parameters = task_parameters(ROOM, ROBOT, race.stage.clock, max_idle_s=86400)
    first = (await race.stage.api.call(CREATE, parameters)).body["TaskId"]
    lists = {"SubscribeStreamUserIds": {"SubscribeAudioUserIds": ["alice"]}}
    assert (await race.call(MODIFY, first, **lists)).code is None
    race.stage.clock.now += 59.9
    assert await race.settle() == 1
    assert (await race.stage.api.call(CREATE, parameters)).body["TaskId"] == first
    race.stage.clock.now += 0.1
    newer = (await race.stage.api.call(CREATE, parameters)).body["TaskId"]
    assert newer != first
    assert await race.settle() == 1
    assert race.leave_codes == {first: [LeaveCode.REPLACED]}


async def test_a_creation_with_other_parameters_is_none_that_is_repeated(race: Race) -> None:
    """Nor is one of another UserSig, or after Delete."""
    parameters = task_parameters(ROOM, ROBOT, race.stage.clock)
    storage = parameters["SliceStorageParams"]["CloudSliceStorage"]
    later = task_parameters(ROOM, ROBOT, race.stage.clock, user_sig_lifetime_s=86399)
    others = [
        parameters,
        parameters | {"SliceParams": {"SliceType": 1, "MaxIdleTime": 31}},
        parameters | {"UserSig": later["UserSig"]},
        parameters | {"ResourceExpiredHour": 71},
        parameters
        | {"SliceStorageParams": {"CloudSliceStorage": storage | {"SecretKey": "another"}}},
        parameters,
    ]
    task_ids = []
    for each in others:
        task_ids.append((await race.stage.api.call(CREATE, each)).body["TaskId"])
        assert await race.settle() == 1
    assert len(set(task_ids)) == len(others)
    assert race.leave_codes == {task_id: [LeaveCode.REPLACED] for task_id in task_ids[:-1]}
    assert (await race.call(DELETE, task_ids[-1])).code is None
    assert (await race.stage.api.call(CREATE, parameters)).body["TaskId"] not in task_ids


async def test_a_repeated_creation_is_answered_at_the_limit(race: Race) -> None:
    robots = ["robot_1", "robot_2", "robot_3"]
    answers = await asyncio.gather(*(race.create(robot) for robot in [*robots, *robots]))
    assert [answer.code for answer in answers] == [None] * 6
    assert len({answer.body["TaskId"] for answer in answers}) == 3
    assert (await race.create("robot_4")).code == "FailedOperation.RestrictedConcurrency"
    assert (await race.create("robot_2")).body["TaskId"] == answers[1].body["TaskId"]


async def test_a_creation_can_be_repeated_after_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    codes: dict[str, list[LeaveCode]] = {}
    parameters = task_parameters(ROOM, ROBOT, clock)
    task_ids = set()
    for _ in range(3):
        async with open_task_stage(tmp_path, clock, codes, tasks=3) as stage:
            task_ids.add((await stage.api.call(CREATE, parameters)).body["TaskId"])
            clock.now += 19
    assert len(task_ids) == 1
    assert codes == {}


async def test_creations_at_once_stop_at_the_limit(race: Race) -> None:
    answers = await asyncio.gather(*(race.create(f"robot_{number}") for number in range(5)))
    codes = [answer.code for answer in answers]
    assert codes.count(None) == 3
    assert codes.count("FailedOperation.RestrictedConcurrency") == 2


async def test_a_task_that_is_stopping_can_still_be_called(
    race: Race, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its end it is Exited; Modify changes nothing and Delete nothing more."""
    may_stop = asyncio.Event()

    async def flush(_spool: Spool) -> None:
        await may_stop.wait()

    monkeypatch.setattr(Spool, "flush", flush)
    task_id = (await race.create()).body["TaskId"]
    lists = {"SubscribeStreamUserIds": {"SubscribeAudioUserIds": ["alice"]}}
    assert (await race.call(DELETE, task_id)).code is None
    assert (await race.call(DESCRIBE, task_id)).body["Status"] == "Exited"
    assert (await race.call(MODIFY, task_id, **lists)).code is None
    assert (await race.call(DELETE, task_id)).code is None
    assert (await race.call(DESCRIBE, task_id)).body["Status"] == "Exited"
    newer = await race.create()  # no repetition: the task does not go on
    assert newer.code is None
    may_stop.set()
    assert await race.settle() == 1
    for action in (DESCRIBE, MODIFY, DELETE):
        assert (await race.call(action, task_id)).code == "ResourceNotFound"
    assert race.leave_codes == {task_id: [LeaveCode.STOPPED]}
    assert (await race.call(DESCRIBE, newer.body["TaskId"])).body["Status"] == "Idle"


async def test_a_task_is_deleted_once_however_often_it_is_asked_for(race: Race) -> None:
    task_id = (await race.create()).body["TaskId"]
    calls = (race.call(action, task_id) for action in (DELETE, MODIFY, DELETE, DESCRIBE, DELETE))
    codes = {answer.code for answer in await asyncio.gather(*calls)}
    assert codes <= {None, "ResourceNotFound"}
    assert await race.settle() == 0
    assert race.leave_codes == {task_id: [LeaveCode.STOPPED]}


async def test_a_robot_created_as_its_room_is_dismissed_is_in_or_out(race: Race) -> None:
    """Whichever comes first: all answers are successes, and no robot is half there."""
    for _ in range(10):
        first = (await race.create("robot_0")).body["TaskId"]
        await race.settle()
        created, dismissed = await asyncio.gather(race.create(), race.dismiss())
        assert (created.code, dismissed.code) == (None, None)
        task_id = created.body["TaskId"]
        answer = await race.call(DESCRIBE, task_id)
        await race.settle()
        assert answer.code in (None, "ResourceNotFound")
        assert race.leave_codes[first] == [LeaveCode.ROOM_DISMISSED]
        if (await race.call(DELETE, task_id)).code is None:
            assert await race.settle() == 0
            assert race.leave_codes[task_id] == [LeaveCode.STOPPED]
        else:
            assert race.leave_codes[task_id] == [LeaveCode.ROOM_DISMISSED]
        race.stage.clock.now += 1  # for the rate limit


async def test_of_a_burst_exactly_the_surplus_is_refused(race: Race) -> None:
    """Twenty calls of an action in a second that slides; others and forged ones do not count."""
    task_id = (await race.create()).body["TaskId"]
    forged = {"Authorization": "TC3-HMAC-SHA256 Credential=x"}
    task = {"SdkAppId": APP, "TaskId": task_id}
    for _ in range(20):
        assert (await race.stage.api.call(DESCRIBE, task, forged)).code is not None

    async def burst(size: int) -> list[str | None]:
        calls = (race.call(DESCRIBE, task_id) for _ in range(size))
        return [answer.code for answer in await asyncio.gather(*calls)]

    assert (await burst(10)).count(None) == 10
    race.stage.clock.now += 0.5
    assert (await burst(25)).count("RequestLimitExceeded") == 15
    assert (await race.call(MODIFY, task_id)).code is None
    race.stage.clock.now += 0.5
    assert (await burst(25)).count("RequestLimitExceeded") == 15
    race.stage.clock.now += 1.0
    assert (await burst(21)).count("RequestLimitExceeded") == 1
