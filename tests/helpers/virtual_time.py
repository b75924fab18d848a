"""An event loop whose time is moved by itself: it jumps to the next timer when nothing is left to
do, so that hours pass in a moment and always in the same way."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class StuckError(Exception):
    """Everything waits, and nothing is left that could ever end the waiting."""


class _JumpingSelector(selectors.DefaultSelector):
    """Moves the time by as much as it is asked to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For code that waits for timers and its own tasks only, for no thread and no socket."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class LoopClock:
    """A Clock that goes with the running loop; the wall clock can be set."""

    def __init__(self) -> None:
        self.wall_at_zero_ms = 1_700_000_000_000

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def utc_ms(self, at: float | None = None) -> int:
        return self.wall_at_zero_ms + round((self.monotonic() if at is None else at) * 1000)


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """The result of `main`.

    Raises:
        StuckError: it waits for something that cannot happen any more.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
