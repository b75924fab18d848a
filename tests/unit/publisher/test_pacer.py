"""The one timer of all publishers."""

import asyncio

from cloudslice.clock import SystemClock
from cloudslice_publisher.pacer import Pacer


class Beats:
    """Counts beats and lets a test wait for a number of them."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self._changed = asyncio.Event()

    def beat(self, now: float) -> None:
        self.at.append(now)
        self._changed.set()

    async def wait_for(self, count: int) -> None:
        while len(self.at) < count:
            self._changed.clear()
            await self._changed.wait()


async def test_everybody_beats_at_one_instant_fifty_times_a_second() -> None:
    """All get the same time; ten beats take about 0.2 s, never less than 0.15 s."""
    pacer, one, other = Pacer(SystemClock()), Beats(), Beats()
    pacer.add(one.beat)
    pacer.add(other.beat)
    running = asyncio.create_task(pacer.run())
    await one.wait_for(11)
    running.cancel()
    assert one.at[:10] == other.at[:10]
    assert one.at[10] - one.at[0] >= 0.15


async def test_who_is_removed_beats_no_more() -> None:
    """Removing twice is harmless, and so is removing oneself in the middle of a beat."""
    pacer, stays = Pacer(SystemClock()), Beats()
    calls = 0

    def leave(_now: float) -> None:
        nonlocal calls
        calls += 1
        pacer.remove(leave)
        pacer.remove(leave)

    pacer.add(leave)
    pacer.add(stays.beat)
    running = asyncio.create_task(pacer.run())
    await stays.wait_for(3)
    running.cancel()
    assert calls == 1


class SleepyClock(SystemClock):
    """A second passes between any two looks at it."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += 1
        return self._now


async def test_missed_beats_are_not_made_up_for() -> None:
    """Each beat comes once, with the time that it is."""
    pacer, beats = Pacer(SleepyClock()), Beats()
    pacer.add(beats.beat)
    running = asyncio.create_task(pacer.run())
    await beats.wait_for(3)
    running.cancel()
    assert beats.at[:3] == [2, 3, 4]
