"""Tasks come back from disk as they were, and their secrets are not readable there."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloudslice.database import Database
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.secrets import SecretBox
from cloudslice.slicing.params import ImageFormat, SliceParams, SubscriptionLists
from cloudslice.tasks import registry
from cloudslice.tasks.registry import StoredTask

BOX = SecretBox(bytes(32))
TASK = StoredTask(
    task_id="task-1",
    room=RoomKey(1400000001, "room one?", RoomIdType.STRING),
    robot_user_id="robot",
    user_sig="a-readable-usersig",
    private_map_key="a-readable-key",
    slicing=SliceParams(
        audio=True, video=True, max_idle_s=5, video_interval_s=7, image_format=ImageFormat.JPG
    ),
    lists=SubscriptionLists(audio_allow=("a", "b.*$"), video_block=("c",)),
    callable_until_ms=1_700_000_000_000,
)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "test.db", [registry.SCHEMA]) as running:
        yield running


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(TASK, id="all set"),
        pytest.param(dataclasses.replace(TASK, private_map_key=None), id="no private map key"),
        pytest.param(
            dataclasses.replace(
                TASK, room=RoomKey(1400000001, "150", RoomIdType.NUMBER), has_entered=True
            ),
            id="numeric room, entered",
        ),
        pytest.param(dataclasses.replace(TASK, leave_code=LeaveCode.STOPPED), id="stopping by 0"),
    ],
)
async def test_a_task_comes_back_as_it_was_stored(database: Database, task: StoredTask) -> None:
    await database.run(lambda c: registry.insert_task(c, task, BOX))
    assert await database.run(lambda c: registry.load_tasks(c, BOX)) == [task]


async def test_changes_are_kept(database: Database) -> None:
    lists = SubscriptionLists(audio_block=("x",))
    await database.run(lambda c: registry.insert_task(c, TASK, BOX))
    await database.run(lambda c: registry.set_lists(c, TASK.task_id, lists))
    await database.run(lambda c: registry.set_entered(c, TASK.task_id))
    await database.run(lambda c: registry.set_stopping(c, TASK.task_id, LeaveCode.IDLE))
    (loaded,) = await database.run(lambda c: registry.load_tasks(c, BOX))
    assert loaded == dataclasses.replace(
        TASK, lists=lists, has_entered=True, leave_code=LeaveCode.IDLE
    )
    await database.run(lambda c: registry.delete_task(c, TASK.task_id))
    assert await database.run(lambda c: registry.load_tasks(c, BOX)) == []


def test_signatures_are_not_readable_on_disk(tmp_path: Path) -> None:
    async def store() -> None:
        async with Database(tmp_path / "test.db", [registry.SCHEMA]) as database:
            await database.run(lambda c: registry.insert_task(c, TASK, BOX))

    asyncio.run(store())
    stored = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert TASK.task_id.encode() in stored
    assert b"a-readable" not in stored


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("slicing", "{"),
        ("slicing", '{"image_format": "gif"}'),
        ("lists", "[]"),
        ("room_id_type", 7),
        ("leave_code", -1),
        ("user_sig", b"\x01damaged"),
    ],
)
async def test_an_odd_row_keeps_no_other_task_from_going_on(
    database: Database, column: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is left out, left alone and told."""
    other = dataclasses.replace(TASK, task_id="task-2")
    for each in (TASK, other):
        await database.run(lambda c, each=each: registry.insert_task(c, each, BOX))
    await database.run(
        lambda c: c.execute(f"UPDATE tasks SET {column} = ? WHERE rowid = 1", (value,))  # noqa: S608
    )
    assert await database.run(lambda c: registry.load_tasks(c, BOX)) == [other]
    assert "task-1" in capsys.readouterr().out
    assert await database.run(lambda c: c.execute("SELECT count(*) FROM tasks").fetchone()) == (2,)
