"""The clock for long terms: no step of the wall clock moves it, over restarts too."""

from pathlib import Path

import pytest

from cloudslice.database import Database
from cloudslice.steady_clock import SCHEMA, SteadyClock
from helpers.slice_store import UTC_AT_ZERO_MS, SettableClock
from helpers.waiting import eventually

HOUR_MS = 3_600_000


async def test_it_goes_with_the_monotonic_clock(tmp_path: Path) -> None:
    clock = SettableClock()
    async with (
        Database(tmp_path / "test.db", [SCHEMA]) as database,
        SteadyClock(database, clock) as steady,
    ):
        assert steady.is_new
        assert steady.now_ms() == UTC_AT_ZERO_MS
        clock.now += 3600
        clock.step_ms = 25 * HOUR_MS
        assert steady.now_ms() == UTC_AT_ZERO_MS + HOUR_MS


@pytest.mark.parametrize("step_ms", [25 * HOUR_MS, -25 * HOUR_MS])
async def test_it_stands_still_between_processes(tmp_path: Path, step_ms: int) -> None:
    """What the wall clock says of that time may be wrong; the monotonic one begins anew."""
    clock = SettableClock()
    async with (
        Database(tmp_path / "test.db", [SCHEMA]) as database,
        SteadyClock(database, clock),
    ):
        clock.now += 3600
    clock.now, clock.step_ms = 7.0, step_ms
    async with (
        Database(tmp_path / "test.db", [SCHEMA]) as database,
        SteadyClock(database, clock) as steady,
    ):
        assert not steady.is_new
        assert steady.now_ms() == UTC_AT_ZERO_MS + HOUR_MS
        clock.now += 5
        assert steady.now_ms() == UTC_AT_ZERO_MS + HOUR_MS + 5000


@pytest.mark.parametrize("reading", ["yesterday", b"now", 1e300])
async def test_a_reading_that_is_no_number_is_none(tmp_path: Path, reading: object) -> None:
    """The clock begins anew, and the start goes on."""
    clock = SettableClock()
    async with Database(tmp_path / "test.db", [SCHEMA]) as database:
        await database.run(
            lambda c: c.execute("INSERT INTO steady_clock VALUES ('tasks', ?)", (reading,))
        )
        async with SteadyClock(database, clock) as steady:
            assert steady.is_new
            assert steady.now_ms() == UTC_AT_ZERO_MS


async def test_it_is_saved_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill costs the time since the last save only."""
    monkeypatch.setattr("cloudslice.steady_clock._SAVE_EVERY_S", 0.001)
    clock = SettableClock()
    async with (
        Database(tmp_path / "test.db", [SCHEMA]) as database,
        SteadyClock(database, clock) as steady,
    ):
        clock.now += 10
        saved: list[int] = []

        def read() -> bool:
            query = "SELECT now_ms FROM steady_clock"
            database.post(lambda c: saved.extend(c.execute(query).fetchone()), "read")
            return steady.now_ms() in saved

        await eventually(read)
