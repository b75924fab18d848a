"""What a store of tasks promises, whatever it is: each runs the same tests."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloudslice.events import RobotEntered, RobotLeft
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.tasks.store import StoredTask, TaskStore
from helpers.task_stores import SINCE_MS, STORES, TASK, Opener


@dataclasses.dataclass
class Shelf:
    """A store that can be closed and opened again."""

    store: TaskStore
    events: list[object]

    async def loaded(self) -> list[StoredTask]:
        tasks, broken = await self.store.load()
        assert broken == []
        return tasks


@pytest.fixture(params=STORES)
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    opener: Opener = request.param
    events: list[object] = []
    async with opener(tmp_path, events) as store:
        yield Shelf(store, events)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="all set"),
        pytest.param({"private_map_key": None}, id="no private map key"),
        pytest.param(
            {"room": RoomKey(1400000001, "150", RoomIdType.NUMBER), "has_entered": True},
            id="numeric room, entered",
        ),
        pytest.param({"leave_code": LeaveCode.STOPPED}, id="stopping by 0"),
    ],
)
@pytest.mark.parametrize("opener", STORES)
async def test_a_task_comes_back_as_it_was_stored(
    opener: Opener, tmp_path: Path, changes: dict[str, object]
) -> None:
    task = dataclasses.replace(TASK, **changes)
    async with opener(tmp_path, []) as store:
        assert await store.create(task, since_ms=SINCE_MS) == task.task_id
    async with opener(tmp_path, []) as store:
        assert await store.load() == ([task], [])


async def test_tasks_come_in_the_order_of_their_creation(shelf: Shelf) -> None:
    tasks = [
        dataclasses.replace(TASK, task_id=name, request=name.encode(), created_ms=number)
        for number, name in enumerate("cab")
    ]
    for each in tasks:
        await shelf.store.create(each, since_ms=SINCE_MS)
    assert await shelf.loaded() == tasks


async def test_changes_are_kept(shelf: Shelf) -> None:
    store, task_id = shelf.store, TASK.task_id
    await store.create(TASK, since_ms=SINCE_MS)
    lists = SubscriptionLists(audio_block=("x",))
    await store.modify(task_id, lists=lists)
    assert await shelf.loaded() == [dataclasses.replace(TASK, lists=lists)]
    slicing = SliceParams(audio=True, video=False, audio_slice_s=60)
    await store.modify(task_id, slicing=slicing)
    assert await shelf.loaded() == [dataclasses.replace(TASK, lists=lists, slicing=slicing)]
    await store.modify(task_id, lists=SubscriptionLists(), slicing=TASK.slicing)
    assert await shelf.loaded() == [dataclasses.replace(TASK, lists=SubscriptionLists())]


async def test_the_first_reason_to_stop_stays(shelf: Shelf) -> None:
    await shelf.store.create(TASK, since_ms=SINCE_MS)
    await shelf.store.set_stopping(TASK.task_id, LeaveCode.STOPPED)
    await shelf.store.set_stopping(TASK.task_id, LeaveCode.IDLE)
    assert await shelf.loaded() == [dataclasses.replace(TASK, leave_code=LeaveCode.STOPPED)]


async def test_a_robots_coming_and_going_is_recorded(shelf: Shelf) -> None:
    store, ref = shelf.store, TASK.ref
    await store.create(TASK, since_ms=SINCE_MS)
    await store.note_entered(ref, has_failed=True)
    assert await shelf.loaded() == [dataclasses.replace(TASK, has_entered=True)]
    assert shelf.events == [RobotEntered(ref, True)]
    await store.finish(ref, LeaveCode.REPLACED)
    assert await shelf.loaded() == []
    assert shelf.events[1:] == [RobotLeft(ref, 101)]


@pytest.mark.parametrize(
    ("changes", "is_repeated"),
    [
        pytest.param({}, True, id="the same"),
        pytest.param({"request": b"another"}, False, id="another request"),
        pytest.param({"created_ms": SINCE_MS}, False, id="of a minute ago"),
        pytest.param({"leave_code": LeaveCode.STOPPED}, False, id="stopping"),
        pytest.param({"lists": SubscriptionLists()}, True, id="modified since"),
    ],
)
async def test_a_repeated_request_makes_no_second_task(
    shelf: Shelf, changes: dict[str, object], is_repeated: bool
) -> None:
    former = dataclasses.replace(TASK, **changes)
    task = dataclasses.replace(TASK, task_id="task-2")
    await shelf.store.create(former, since_ms=SINCE_MS)
    wanted = former if is_repeated else task
    assert await shelf.store.create(task, since_ms=SINCE_MS) == wanted.task_id
    assert len(await shelf.loaded()) == (1 if is_repeated else 2)


async def test_of_requests_at_once_one_makes_a_task(shelf: Shelf) -> None:
    tasks = [dataclasses.replace(TASK, task_id=f"task-{number}") for number in range(5)]
    task_ids = await asyncio.gather(
        *(shelf.store.create(each, since_ms=SINCE_MS) for each in tasks)
    )
    assert len(set(task_ids)) == 1
    assert [each.task_id for each in await shelf.loaded()] == task_ids[:1]


@pytest.mark.parametrize("opener", STORES)
def test_secrets_are_not_readable_on_disk(opener: Opener, tmp_path: Path) -> None:
    async def store() -> None:
        async with opener(tmp_path, []) as opened:
            await opened.create(TASK, since_ms=SINCE_MS)

    asyncio.run(store())
    files = [each for each in tmp_path.rglob("*") if each.is_file()]
    stored = b"".join(each.read_bytes() for each in files)
    assert TASK.task_id.encode() in stored
    assert b"a-readable" not in stored
