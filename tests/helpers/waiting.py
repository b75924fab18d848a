"""Waiting for a state that no event tells of."""

import asyncio
from collections.abc import Callable

_POLL_S = 0.001


async def eventually(condition: Callable[[], object], within_s: float = 20) -> None:
    """Wait until `condition`, which is cheap, holds; TimeoutError if it does not in time."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - there is no event, or it would be awaited
            await asyncio.sleep(_POLL_S)
