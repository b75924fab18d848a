"""An HTTP server that is a part of something larger."""

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

_DATE_S = 1.0


class HttpServer(uvicorn.Server):
    """uvicorn as one part among others: signals are its owner's, and so are logs and lifespan.

    Args:
        app: what answers.
        shutdown_s: how long requests under way may take after `stop`.
    """

    def __init__(self, app: Starlette, *, shutdown_s: int = 5) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=shutdown_s,
            )
        )
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let `serve` come to its end."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Keep the date of the answers until `stop`. uvicorn's own loop wakes ten times a second,
        which costs an idle node more than all else."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _DATE_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers as they are."""
        yield
