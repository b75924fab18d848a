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

    async def create(self, robot: str = ROBOT) -> Answer:
        parameters = task_parameters(ROOM, robot, self.stage.clock)
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
    answers = await asyncio.gather(race.create(), race.create())
    task_ids = {answer.body["TaskId"] for answer in answers}
    assert len(task_ids) == 2
    assert await race.settle() == 1
    codes = {task_id: (await race.call(DESCRIBE, task_id)).code for task_id in task_ids}
    assert sorted(codes.values(), key=str) == [None, "ResourceNotFound"]
    (replaced,) = (task_id for task_id, code in codes.items() if code is not None)
    assert race.leave_codes == {replaced: [LeaveCode.REPLACED]}


async def test_a_creation_whose_answer_is_lost_can_be_repeated(race: Race) -> None:
    """The client knows one task only, and no other one is left behind."""
    lost = (await race.create()).body["TaskId"]
    known = (await race.create()).body["TaskId"]
    assert await race.settle() == 1
    assert (await race.call(DESCRIBE, known)).body["Status"] == "Idle"
    assert race.leave_codes == {lost: [LeaveCode.REPLACED]}


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
    newer = await race.create()
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
