"""The API over real tasks, driven at random beside a small model of docs/wire.md, 7, 10.3 and 12.

Whatever is done in whatever order, every answer has the code that the model expects, every task
ends once and for the reason that the model expects, and no call is answered with InternalError.
"""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from cloudslice import tick as tick_module
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.tasks.model import TaskStatus
from helpers.api_fakes import APP, OTHER_APP
from helpers.slice_store import ManualClock
from helpers.task_stage import TaskStage, open_task_stage, task_parameters
from helpers.waiting import eventually

T = TypeVar("T")

TASK_LIMIT = 3
SETTLED_WITHIN_S = 20
ROOMS = [RoomKey(APP, "7", kind) for kind in RoomIdType]
ROBOTS = ["robot_1", "robot_2"]
USERS = ["alice", "bob", "robot_1"]
DAY_S = 86400
REPEATED_WITHIN_S = 60

# Lists, and whom they leave of USERS.
LISTS = {
    "no restriction": ({}, set(USERS)),
    "block one": ({"UnSubscribeAudioUserIds": ["alice"]}, {"bob", "robot_1"}),
    "allow a prefix": ({"SubscribeAudioUserIds": ["b.*$"]}, {"bob"}),
    "block all": ({"UnSubscribeAudioUserIds": [".*$"]}, set()),
}


@dataclass(eq=False)
class Task:
    """What the model knows of a task."""

    task_id: str
    room: RoomKey
    robot: str
    max_idle_s: float
    callable_until: float
    user_sig_until: float
    idle_since: float | None
    parameters: dict[str, Any]
    """It was created with."""
    created_at: float
    subscribed: set[str] = field(default_factory=lambda: set(USERS))
    sliced: set[str] = field(default_factory=set)
    """Whose audio has an open slice."""
    leave_code: LeaveCode | None = None
    """Set once it has ended."""


class ApiMachine(RuleBasedStateMachine):
    """Rules act on a node and on the model alike; time and anchors move only by rules."""

    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.known: list[Task] = []
        self.anchors: set[tuple[RoomKey, str]] = set()
        self.leave_codes: dict[str, list[LeaveCode]] = {}
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()

    # The node.

    @initialize()
    def start(self) -> None:
        self.runner.run(self._start())

    def teardown(self) -> None:
        self.runner.run(self._stop())
        self.runner.close()
        self.directory.cleanup()

    async def _start(self) -> None:
        self.stage: TaskStage
        self.stopping, ready = asyncio.Event(), asyncio.Event()
        self.host = asyncio.create_task(self._host(ready))
        await ready.wait()

    async def _host(self, ready: asyncio.Event) -> None:
        """Keeps the node open in one task, as its task groups demand."""
        limits = {"tasks": TASK_LIMIT, "requests_per_second": 1_000_000}
        directory = Path(self.directory.name)
        async with open_task_stage(directory, self.clock, self.leave_codes, **limits) as stage:
            self.stage = stage
            ready.set()
            await self.stopping.wait()

    async def _stop(self) -> None:
        self.stopping.set()
        await self.host

    def call(self, action: str, parameters: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """The code and the outputs."""
        answer = self.runner.run(self.stage.api.call(action, parameters))
        return answer.code, answer.body

    def _move(self, move: Callable[[], T]) -> T:
        """Move something in the rooms; what hears of it needs a running event loop."""

        async def run() -> T:
            return move()

        return self.runner.run(run())

    async def _settle(self) -> None:
        """Wait until what has begun to stop has stopped, and every robot is where it belongs."""
        alive = self.alive
        robots = {(task.room, task.robot) for task in alive}
        statuses = dict.fromkeys(TaskStatus, 0)
        for task in alive:
            statuses[self._status(task)] += 1
        await eventually(
            lambda: (
                self.stage.worker.count_by_status() == statuses
                and self.stage.rooms.robots == robots
            ),
            SETTLED_WITHIN_S,
        )

    # The model.

    @property
    def alive(self) -> list[Task]:
        return [task for task in self.known if task.leave_code is None]

    def _is_callable(self, task: Task) -> bool:
        return task.leave_code is None and self.clock.now < task.callable_until

    def _status(self, task: Task) -> TaskStatus:
        return TaskStatus.IN_PROGRESS if task.sliced else TaskStatus.IDLE

    def _end(self, tasks: list[Task], code: LeaveCode) -> None:
        for task in tasks:
            task.leave_code = code

    def _leave(self, room: RoomKey, user: str) -> None:
        if (room, user) not in self.anchors:
            return
        self.anchors.remove((room, user))
        is_empty = all(key != room for key, _ in self.anchors)
        for task in self.alive:
            if task.room == room:
                task.sliced.discard(user)
                if is_empty:
                    task.idle_since = self.clock.now

    def _exists(self, room: RoomKey) -> bool:
        members = [key for key, _ in self.anchors] + [task.room for task in self.alive]
        return room in members

    def _create_code(self, room: RoomKey, robot: str) -> str | None:
        if len(self.alive) >= TASK_LIMIT:
            return "FailedOperation.RestrictedConcurrency"
        return "FailedOperation" if (room, robot) in self.anchors else None

    # The slicing actions.

    @rule(
        target=tasks,
        room=st.sampled_from(ROOMS),
        robot=st.sampled_from(ROBOTS),
        max_idle_s=st.sampled_from([30, DAY_S]),
        expired_hours=st.sampled_from([6, 720]),
        user_sig_s=st.sampled_from([3600, 90 * DAY_S]),
    )
    def create(
        self, room: RoomKey, robot: str, max_idle_s: int, expired_hours: int, user_sig_s: int
    ) -> Any:
        return self._create(room, robot, max_idle_s, expired_hours, user_sig_s)

    @rule(target=tasks, task=tasks)
    def create_again(self, task: Task) -> Any:
        """The very same request, unless its UserSig has expired."""
        if self.clock.now >= task.user_sig_until:
            return multiple()
        return self._request(task.parameters, task.room, task.robot, task.user_sig_until)

    @rule(target=tasks, task=tasks)
    def create_with_the_same_robot(self, task: Task) -> Any:
        return self._create(task.room, task.robot, DAY_S, 72, 90 * DAY_S)

    @precondition(lambda self: self.anchors)
    @rule(target=tasks, data=st.data())
    def create_with_the_id_of_an_anchor(self, data: st.DataObject) -> Any:
        room, user = data.draw(st.sampled_from(sorted(self.anchors, key=str)))
        return self._create(room, user, DAY_S, 72, 90 * DAY_S)

    def _create(
        self, room: RoomKey, robot: str, max_idle_s: int, expired_hours: int, user_sig_s: int
    ) -> Any:
        parameters = task_parameters(
            room,
            robot,
            self.clock,
            max_idle_s=max_idle_s,
            expired_hours=expired_hours,
            user_sig_lifetime_s=user_sig_s,
        )
        return self._request(parameters, room, robot, self.clock.now + user_sig_s)

    def _request(
        self, parameters: dict[str, Any], room: RoomKey, robot: str, user_sig_until: float
    ) -> Any:
        code, outputs = self.call("CreateCloudSliceTask", parameters)
        for task in self.alive:
            is_late = self.clock.now - task.created_at >= REPEATED_WITHIN_S
            if task.parameters == parameters and not is_late:
                assert (code, outputs["TaskId"]) == (None, task.task_id)
                return task
        assert code == self._create_code(room, robot)
        if code is not None:
            return multiple()
        replaced = [task for task in self.alive if (task.room, task.robot) == (room, robot)]
        self._end(replaced, LeaveCode.REPLACED)
        now = self.clock.now
        is_empty = all(key != room for key, _ in self.anchors)
        task = Task(
            task_id=outputs["TaskId"],
            room=room,
            robot=robot,
            max_idle_s=parameters["SliceParams"]["MaxIdleTime"],
            callable_until=now + parameters["ResourceExpiredHour"] * 3600,
            user_sig_until=user_sig_until,
            idle_since=now if is_empty else None,
            parameters=parameters,
            created_at=now,
        )
        self.known.append(task)
        return task

    @rule(task=tasks)
    def describe(self, task: Task) -> None:
        code, outputs = self._call_on("DescribeCloudSliceTask", task)
        if code is None:
            assert outputs["Status"] == self._status(task).value

    @rule(task=tasks)
    def modify_nothing(self, task: Task) -> None:
        self._call_on("ModifyCloudSliceTask", task)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), lists=st.sampled_from(sorted(LISTS)))
    def modify(self, data: st.DataObject, lists: str) -> None:
        task = self._draw_alive(data)
        given, subscribed = LISTS[lists]
        code, _ = self._call_on("ModifyCloudSliceTask", task, {"SubscribeStreamUserIds": given})
        if code is None:
            task.subscribed = subscribed
            task.sliced &= subscribed

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), max_idle_s=st.sampled_from([30, DAY_S]), length_s=st.integers(15, 60))
    def modify_params(self, data: st.DataObject, max_idle_s: int, length_s: int) -> None:
        task = self._draw_alive(data)
        given = {"MaxIdleTime": max_idle_s, "SliceAudio": length_s}
        code, _ = self._call_on("ModifyCloudSliceTask", task, {"SliceParams": given})
        if code is None:
            task.max_idle_s = max_idle_s
            idle_s = 0 if task.idle_since is None else self.clock.now - task.idle_since
            if idle_s >= max_idle_s:
                self._end([task], LeaveCode.IDLE)

    @rule(task=tasks)
    def delete(self, task: Task) -> None:
        code, _ = self._call_on("DeleteCloudSliceTask", task)
        if code is None:
            self._end([task], LeaveCode.STOPPED)

    @rule(
        task=tasks,
        action=st.sampled_from(
            ["DescribeCloudSliceTask", "ModifyCloudSliceTask", "DeleteCloudSliceTask"]
        ),
    )
    def call_for_another_app(self, task: Task, action: str) -> None:
        code, _ = self.call(action, {"SdkAppId": OTHER_APP, "TaskId": task.task_id})
        assert code == "ResourceNotFound"

    def _draw_alive(self, data: st.DataObject) -> Task:
        return data.draw(st.integers(0, len(self.alive) - 1).map(self.alive.__getitem__))

    def _call_on(
        self, action: str, task: Task, more: dict[str, Any] | None = None
    ) -> tuple[str | None, dict[str, Any]]:
        code, outputs = self.call(action, {"SdkAppId": APP, "TaskId": task.task_id} | (more or {}))
        assert code == (None if self._is_callable(task) else "ResourceNotFound")
        assert code is not None or outputs["TaskId"] == task.task_id
        return code, outputs

    @rule(task=tasks)
    def call_wrongly(self, task: Task) -> None:
        """What is refused by its form changes nothing, whatever the state."""
        stale = task_parameters(task.room, task.robot, self.clock, user_sig_lifetime_s=0)
        assert self.call("CreateCloudSliceTask", stale)[0] == "InvalidParameter.UserSig"
        both = {"SubscribeAudioUserIds": ["alice"], "UnSubscribeAudioUserIds": ["bob"]}
        lists = {"SdkAppId": APP, "TaskId": task.task_id, "SubscribeStreamUserIds": both}
        assert self.call("ModifyCloudSliceTask", lists)[0] == "InvalidParameter.OutOfRange"

    # The room actions.

    @rule(task=tasks, users=st.none() | st.sets(st.sampled_from([*USERS, *ROBOTS]), min_size=1))
    def put_out(self, task: Task, users: set[str] | None) -> None:
        """Remove some users from a task's room, or dismiss the room."""
        room = task.room
        name = "RemoveUser" if users else "DismissRoom"
        action = name + ("" if room.room_id_type else "ByStrRoomId")
        more = {"UserIds": sorted(users)} if users else {}
        if self._call_on_room(action, room, more) is None:
            code = LeaveCode.REMOVED if users else LeaveCode.ROOM_DISMISSED
            self._put_out(room, users or {*USERS, *ROBOTS}, code)

    def _call_on_room(self, action: str, room: RoomKey, more: dict[str, Any]) -> str | None:
        code, _ = self.call(action, {"SdkAppId": APP, "RoomId": room.wire_id} | more)
        assert code == (None if self._exists(room) else "FailedOperation.RoomNotExist")
        return code

    def _put_out(self, room: RoomKey, users: set[str], code: LeaveCode) -> None:
        self._end([t for t in self.alive if t.room == room and t.robot in users], code)
        for user in users:
            self._leave(room, user)

    # What happens by itself.

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), user=st.sampled_from(USERS))
    def anchor_joins_a_task(self, data: st.DataObject, user: str) -> None:
        self.anchor_joins(self._draw_alive(data).room, user)

    @rule(room=st.sampled_from(ROOMS), user=st.sampled_from(USERS))
    def anchor_joins(self, room: RoomKey, user: str) -> None:
        """Not under the id of a robot."""
        if self._move(lambda: self.stage.rooms.join(room, user)):
            self.anchors.add((room, user))
            for task in self.alive:
                if task.room == room:
                    assert task.robot != user
                    task.idle_since = None

    @precondition(lambda self: self.anchors)
    @rule()
    def anchors_send(self) -> None:
        for room, user in self.anchors:
            audio = self.stage.rooms.anchor(room, user).audio
            audio.timestamp = max(audio.timestamp, round(self.clock.now * 48000))
            self._move(lambda audio=audio: audio.send(self.clock.now))
            for task in self.alive:
                if task.room == room and user in task.subscribed:
                    task.sliced.add(user)

    @precondition(lambda self: self.anchors)
    @rule(data=st.data())
    def anchor_leaves(self, data: st.DataObject) -> None:
        room, user = data.draw(st.sampled_from(sorted(self.anchors, key=str)))
        self._move(lambda: self.stage.rooms.leave(room, user))
        self._leave(room, user)

    @rule(seconds=st.sampled_from([30, DAY_S]))
    def time_passes(self, seconds: float) -> None:
        self._pass(seconds)

    @rule(task=tasks)
    def time_passes_until_a_task_expires(self, task: Task) -> None:
        if task.callable_until - self.clock.now >= 30:
            self._pass(task.callable_until - self.clock.now)

    def _pass(self, seconds: float) -> None:
        """Longer than a slice, so that without packets all are closed."""
        self.clock.now += seconds
        for task in self.alive:
            task.sliced.clear()
        idle = [
            task
            for task in self.alive
            if task.idle_since is not None and self.clock.now - task.idle_since >= task.max_idle_s
        ]
        self._end(idle, LeaveCode.IDLE)

    @rule()
    def restart(self) -> None:
        """Robots show their UserSig once more, and anchors come back and go on."""
        self.runner.run(self._stop())
        returning, self.anchors = self.anchors, set()
        for task in self.alive:
            task.sliced.clear()
            task.idle_since = self.clock.now
        self._end(
            [task for task in self.alive if self.clock.now >= task.user_sig_until],
            LeaveCode.CONNECTION_LOST,
        )
        self.runner.run(self._start())
        self.runner.run(self._settle())
        for room, user in returning:
            self.anchor_joins(room, user)
        self.anchors_send()

    @invariant()
    def every_task_is_where_the_model_has_it(self) -> None:
        if not hasattr(self, "stage"):
            return
        self.runner.run(self._settle())
        ended = {t.task_id: [t.leave_code] for t in self.known if t.leave_code is not None}
        assert self.leave_codes == ended


@pytest.fixture(autouse=True)
def _quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is moved by hand, so ticks may as well follow each other more quickly."""
    monkeypatch.setattr(tick_module, "next_tick", lambda now: now)


@pytest.mark.usefixtures("_quick_ticks")
class TestApi(ApiMachine.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(
        max_examples=80,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
