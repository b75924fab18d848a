"""Rows that cannot be what we wrote end one task, and never the start."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloudslice.bus import Bus
from cloudslice.database import Database
from cloudslice.rooms.base import LeaveCode
from cloudslice.secrets import SecretBox
from cloudslice.tasks.sqlite_store import SCHEMA, SqliteTaskStore
from helpers.task_stores import DATABASE, SINCE_MS, TASK

OTHER = dataclasses.replace(TASK, task_id="task-2", request=b"other")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / DATABASE, [SCHEMA]) as running:
        yield running


@pytest.fixture
async def store(database: Database) -> SqliteTaskStore:
    store = SqliteTaskStore(database, SecretBox(bytes(32)), Bus(database))
    for each in (TASK, OTHER):
        await store.create(each, since_ms=SINCE_MS)
    return store


async def damage(database: Database, column: str, value: str) -> None:
    """Set a column of TASK to an expression of SQL."""
    await database.run(
        lambda c: c.execute(f"UPDATE tasks SET {column} = {value} WHERE task_id = 'task-1'")  # noqa: S608
    )


@pytest.mark.parametrize(
    ("column", "value", "changes"),
    [
        ("slicing", "'{'", {}),
        ("slicing", """'{"image_format": "gif"}'""", {}),
        ("slicing", "replace(slicing, '15', '\"15\"')", {}),
        ("slicing", "CAST(x'c328' AS TEXT)", {}),
        ("lists", "'[]'", {}),
        ("lists", """'{"audio_allow": [1]}'""", {}),
        ("lists", """'{"audio_allow": "abc"}'""", {}),
        ("room_id_type", "7", {}),
        ("room_id_type", "1", {}),
        ("room_id", "CAST(x'c328' AS TEXT)", {"room_id": "b'\\xc3('"}),
        ("sdk_app_id", "'x'", {"sdk_app_id": 0}),
        ("leave_code", "-1", {}),
        ("user_sig", "x'01646461'", {}),
        ("bucket", "x'01646461'", {}),
        ("bucket", "'text'", {}),
        ("created_ms", "'x'", {}),
    ],
)
async def test_a_row_that_cannot_be_read_is_told_from_the_others(
    database: Database, store: SqliteTaskStore, column: str, value: str, changes: dict[str, object]
) -> None:
    """With all that is known of whose it is: somebody is to hear of the task's end."""
    await damage(database, column, value)
    tasks, (broken,) = await store.load()
    assert tasks == [OTHER]
    assert broken.ref == dataclasses.replace(TASK.ref, **changes)
    assert "cannot be read" in broken.fault
    assert await database.run(lambda c: c.execute("SELECT count(*) FROM tasks").fetchone()) == (2,)


async def test_a_row_of_no_task_id_is_forgotten(
    database: Database, store: SqliteTaskStore, capsys: pytest.CaptureFixture[str]
) -> None:
    await damage(database, "task_id", "CAST(x'c328' AS TEXT)")
    assert await store.load() == ([OTHER], [])
    assert "row deleted" in capsys.readouterr().out
    assert await database.run(lambda c: c.execute("SELECT count(*) FROM tasks").fetchone()) == (1,)


async def test_rows_that_are_damaged_later_keep_nothing_from_being_written(
    database: Database, store: SqliteTaskStore
) -> None:
    """Nothing reads them while the process runs."""
    for column in ("slicing", "lists", "robot_user_id", "user_sig"):
        await damage(database, column, "CAST(x'c328' AS TEXT)")
    another = dataclasses.replace(TASK, task_id="task-3", request=b"another")
    assert await store.create(another, since_ms=SINCE_MS) == "task-3"
    await store.note_entered(TASK.ref, has_failed=False)
    await store.set_stopping(TASK.task_id, LeaveCode.IDLE)
    await store.finish(TASK.ref, LeaveCode.IDLE)
    assert await store.load() == ([OTHER, another], [])
