"""A value that is expensive to have, and need not be of this very moment."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Asks for a value at most once in some seconds, however many want it at once.

    Args:
        ask: gives the value; what it raises, `get` raises.
        max_age_s: how old the value may be that `get` gives.
        clock: seconds of a clock that never steps.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        max_age_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._max_age_s = max_age_s
        self._clock = clock
        self._turn = asyncio.Lock()
        self._asked_at = -math.inf
        self._value: T

    async def get(self) -> T:
        """The value, as it was `max_age_s` ago at the earliest."""
        async with self._turn:
            now = self._clock()
            if now - self._asked_at >= self._max_age_s:
                self._value = await self._ask()
                self._asked_at = now
            return self._value
