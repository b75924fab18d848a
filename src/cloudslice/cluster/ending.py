"""How a task that waits for the registry is ended."""

import asyncio

_AGAIN_S = 0.2


async def end(*tasks: "asyncio.Task[None]") -> None:
    """Cancel tasks and wait until they have ended.

    They are cancelled again and again: the registry's client waits by `asyncio.wait_for`, which up
    to Python 3.11 loses a cancellation that comes together with what is waited for.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
