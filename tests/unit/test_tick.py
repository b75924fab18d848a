"""One tick does all that is periodic, in its order, while somebody needs it."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from itertools import pairwise

import pytest
import uvloop

from cloudslice.clock import SystemClock
from cloudslice.tick import PERIOD_S, Tick, next_tick
from helpers.virtual_time import LoopClock, run_in_virtual_time


class Part:
    """A TickPart that keeps when it was called, and does something then."""

    def __init__(self, name: str, calls: list[str], act: Callable[[], None] = lambda: None) -> None:
        self.is_active = True
        self.times: list[float] = []
        self._name = name
        self._calls = calls
        self._act = act

    def tick(self, now: float) -> None:
        self.times.append(now)
        self._calls.append(self._name)
        self._act()


def fail() -> None:
    raise ZeroDivisionError("a bug")


def test_ticks_are_at_multiples_of_the_period() -> None:
    async def main() -> None:
        tick, part = Tick(LoopClock()), Part("a", [])
        tick.add(part)
        await asyncio.sleep(0.02)
        tick.wake()
        await asyncio.sleep(1.01)
        tick.close()
        assert [round(each / PERIOD_S, 1) for each in part.times] == list(range(1, 13))

    run_in_virtual_time(main())


def test_a_second_and_a_check_of_connectivity_consist_of_ticks() -> None:
    assert (1 / PERIOD_S).is_integer()
    assert PERIOD_S < 0.1


@pytest.mark.parametrize("now", [0.0, 0.01, PERIOD_S, 100.0, 12345.678])
def test_the_next_tick_is_ahead(now: float) -> None:
    assert now < next_tick(now) <= now + PERIOD_S + 1e-9


def test_ticks_do_not_run_in_the_context_of_who_woke_them() -> None:
    """Nor do later ones: a call's `request_id` is bound in such a context."""
    bound: ContextVar[str] = ContextVar("bound", default="")

    async def main() -> None:
        seen: list[str] = []
        tick = Tick(LoopClock())
        tick.add(Part("a", [], lambda: seen.append(bound.get())))
        bound.set("of a call")
        tick.wake()
        await asyncio.sleep(3 * PERIOD_S)
        tick.close()
        assert set(seen) == {""}

    run_in_virtual_time(main())


def test_parts_are_called_in_their_order() -> None:
    async def main() -> None:
        calls: list[str] = []
        tick = Tick(LoopClock())
        first, second, third = (Part(name, calls) for name in "abc")
        for each in (first, second, third):
            tick.add(each)
        tick.remove(second)
        tick.remove(second)
        tick.wake()
        await asyncio.sleep(2.5 * PERIOD_S)
        assert calls == ["a", "c", "a", "c"]
        tick.close()

    run_in_virtual_time(main())


def test_there_is_no_tick_while_nobody_needs_one() -> None:
    """Nor before it is woken; an idle part is called as long as another one is active."""

    async def main() -> None:
        tick, idle, busy = Tick(LoopClock()), Part("idle", []), Part("busy", [])
        idle.is_active = False
        for each in (idle, busy):
            tick.add(each)
        await asyncio.sleep(1.01)
        assert busy.times == []
        tick.wake()
        await asyncio.sleep(1.01)
        busy.is_active = False
        await asyncio.sleep(1.01)
        count = len(busy.times)
        assert len(idle.times) == count == 13  # the last one finds out
        busy.is_active = True
        tick.wake()
        tick.wake()
        await asyncio.sleep(2.5 * PERIOD_S)
        assert len(busy.times) == count + 2
        tick.close()

    run_in_virtual_time(main())


def test_one_that_wakes_the_tick_on_a_tick_does_not_double_it() -> None:
    async def main() -> None:
        tick = Tick(LoopClock())
        part = Part("a", [], tick.wake)
        tick.add(part)
        tick.wake()
        await asyncio.sleep(1.01)
        assert len(part.times) == 12
        part.is_active = False
        await asyncio.sleep(1.01)
        count = len(part.times)
        await asyncio.sleep(1.01)
        assert len(part.times) > count, "it goes on waking"
        tick.close()

    run_in_virtual_time(main())


def test_a_part_that_breaks_keeps_nobody_from_its_turn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is counted, logged once, and called again."""

    async def main() -> None:
        calls: list[str] = []
        tick = Tick(LoopClock())
        tick.add(Part("broken", calls, fail))
        tick.add(Part("sound", calls))
        tick.wake()
        await asyncio.sleep(2.5 * PERIOD_S)
        assert calls == ["broken", "sound"] * 2
        assert tick.faults.errors == 2
        tick.close()

    run_in_virtual_time(main())
    assert capsys.readouterr().out.count("unforeseen error") == 1


def test_a_part_may_close_the_tick_or_remove_itself() -> None:
    async def main() -> None:
        calls: list[str] = []
        tick = Tick(LoopClock())
        leaving = Part("leaving", calls, lambda: tick.remove(leaving))
        closing = Part("closing", calls, tick.close)
        for each in (leaving, closing):
            tick.add(each)
        tick.wake()
        await asyncio.sleep(1.01)
        assert calls == ["leaving", "closing"]
        tick.close()

    run_in_virtual_time(main())


def test_after_a_stall_there_is_one_tick_at_the_next_multiple() -> None:
    """Those that were missed are not made up for."""

    async def main() -> None:
        clock = LoopClock()
        tick = Tick(clock)
        loop = asyncio.get_running_loop()
        stalls = [0.5]

        def stall_once() -> None:
            if stalls:
                loop._jumping.now += stalls.pop()  # type: ignore[attr-defined]

        part = Part("a", [], stall_once)
        tick.add(part)
        tick.wake()
        await asyncio.sleep(1.01)
        tick.close()
        assert part.times[1] - part.times[0] == pytest.approx(7 * PERIOD_S, abs=0.01)
        assert part.times[2] - part.times[1] == pytest.approx(PERIOD_S, abs=0.01)

    run_in_virtual_time(main())


@pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_no_tick_comes_twice(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Event loops count in milliseconds, and may call a little early."""

    async def main() -> list[float]:
        tick, part = Tick(SystemClock()), Part("a", [])
        tick.add(part)
        tick.wake()
        await asyncio.sleep(2)
        tick.close()
        return part.times

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        times = runner.run(main())
    assert len(times) > 3
    assert all(later // PERIOD_S > earlier // PERIOD_S for earlier, later in pairwise(times))
