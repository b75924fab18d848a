"""Recording in groups: in order, one operation for many, none left out."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from cloudslice.database import Database, Operation
from cloudslice.gathering import Gatherer
from cloudslice.migrations import Schema
from cloudslice.sqlite_file import DatabaseError


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be recorded is tried again soon."""
    monkeypatch.setattr("cloudslice.gathering._RETRY_S", 0.05)


NUMBERS = Schema("numbers", ("CREATE TABLE numbers (n INTEGER);",))


def all_numbers(connection: sqlite3.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT n FROM numbers ORDER BY rowid")]


class Records:
    """What a gatherer tells of."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.errors: list[Exception] = []
        self.bad_number: int | None = None
        """Cannot be recorded."""
        self.untellable: int | None = None
        """Raises when it is told."""
        self.has_failed = asyncio.Event()
        self._news = asyncio.Event()

    def caught(self, error: Exception) -> None:
        self.errors.append(error)
        self.has_failed.set()

    def insert(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
        connection.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in numbers])
        if self.bad_number in numbers:
            raise ValueError(numbers)

    def note(self, numbers: Sequence[int]) -> None:
        self.groups.append(list(numbers))
        self._news.set()
        if self.untellable in numbers:
            raise ValueError(numbers)

    async def wait_for(self, count: int) -> None:
        while sum(map(len, self.groups)) < count:
            self._news.clear()
            await self._news.wait()


def make(database: Database, records: Records, within_s: float) -> Gatherer[int]:
    return Gatherer(
        database,
        records.insert,
        records.note,
        within_s=within_s,
        what="record numbers",
        caught=records.caught,
    )


async def test_what_comes_meanwhile_goes_along(tmp_path: Path) -> None:
    """Numbers that come one by one are recorded together, in order, and told."""
    async with Database(tmp_path / "test.db", [NUMBERS]) as database:
        records = Records()
        gatherer = make(database, records, within_s=3600)
        running = asyncio.create_task(gatherer.run())
        for number in range(10):
            gatherer.add(number)
            await asyncio.sleep(0)
        assert await database.run(all_numbers) == list(range(10))
        await records.wait_for(10)
        assert records.groups == [list(range(10))]
        gatherer.add(10)
        await asyncio.sleep(0)
        await database.run(all_numbers)
        await records.wait_for(11)
        running.cancel()


async def test_a_disk_that_refuses_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try records what was to be recorded, and what has come since, each once."""
    monkeypatch.setattr("cloudslice.database._RETRY_S", 0)
    async with Database(tmp_path / "test.db", [NUMBERS]) as database:
        records = Records()
        gatherer = make(database, records, within_s=0.001)
        commit, refusals = database.persist, [0]

        async def refuse(operation: Operation[object], *, within_s: float) -> object:
            def attempt(connection: sqlite3.Connection) -> object:
                result = operation(connection)
                if refusals[0] < 2:
                    refusals[0] += 1
                    gatherer.add(2 + refusals[0])
                    raise DatabaseError("the disk is full")
                return result

            return await commit(attempt, within_s=within_s)

        monkeypatch.setattr(database, "persist", refuse)
        running = asyncio.create_task(gatherer.run())
        gatherer.add(1)
        gatherer.add(2)
        await records.wait_for(4)
        running.cancel()
        assert await database.run(all_numbers) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "is_queued", [pytest.param(True, id="already queued"), pytest.param(False, id="not yet")]
)
async def test_what_is_left_at_the_end_is_recorded(tmp_path: Path, *, is_queued: bool) -> None:
    """Being cancelled it leaves the rest to the database, which carries it out as it closes."""
    async with Database(tmp_path / "test.db", [NUMBERS]) as database:
        gatherer = make(database, Records(), within_s=3600)
        running = asyncio.create_task(gatherer.run())
        await asyncio.sleep(0)
        gatherer.add(1)
        if is_queued:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    async with Database(tmp_path / "test.db", [NUMBERS]) as database:
        assert await database.run(all_numbers) == [1]


async def test_one_that_cannot_be_recorded_holds_up_no_other(tmp_path: Path) -> None:
    """It waits for its next try, in which it may be recorded after all; each is recorded once."""
    async with Database(tmp_path / "test.db", [NUMBERS]) as database:
        records = Records()
        records.bad_number = 2
        gatherer = make(database, records, within_s=0)
        running = asyncio.create_task(gatherer.run())
        for number in range(5):
            gatherer.add(number)
        await records.wait_for(4)
        gatherer.add(5)
        await records.wait_for(5)
        assert await database.run(all_numbers) == [0, 1, 3, 4, 5]
        assert len(records.errors) == 1
        records.bad_number = None
        await records.wait_for(6)
        assert await database.run(all_numbers) == [0, 1, 3, 4, 5, 2]
        running.cancel()


async def test_what_is_set_aside_at_the_end_takes_no_other_along(tmp_path: Path) -> None:
    """Ending, it leaves each to the database by itself."""
    async with Database(tmp_path / "test.db", [NUMBERS]) as database:
        records = Records()
        records.bad_number = 1
        gatherer = make(database, records, within_s=0)
        running = asyncio.create_task(gatherer.run())
        gatherer.add(1)
        await records.has_failed.wait()
        gatherer.add(2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    async with Database(tmp_path / "test.db", [NUMBERS]) as database:
        assert await database.run(all_numbers) == [2]


async def test_who_is_told_may_raise(tmp_path: Path) -> None:
    """What is on record stays so, and recording goes on."""
    async with Database(tmp_path / "test.db", [NUMBERS]) as database:
        records = Records()
        records.untellable = 1
        gatherer = make(database, records, within_s=0)
        running = asyncio.create_task(gatherer.run())
        gatherer.add(1)
        await records.wait_for(1)
        gatherer.add(2)
        await records.wait_for(2)
        assert await database.run(all_numbers) == [1, 2]
        assert len(records.errors) == 1
        running.cancel()
