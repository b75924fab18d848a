"""An HTTP server that is a part of something larger."""

import contextlib
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette


class HttpServer(uvicorn.Server):
    """uvicorn as one part among others: signals are its owner's, and so are logs and lifespan.

    Args:
        app: what answers.
        shutdown_s: how long requests under way may take once `should_exit` is set.
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

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers as they are."""
        yield
