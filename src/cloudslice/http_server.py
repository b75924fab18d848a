"""An HTTP server that is a part of something larger."""

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator
from functools import partial
from urllib.parse import unquote

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from cloudslice.config import HttpSettings
from cloudslice.http_connection import Gate, LimitedConnection

_DATE_S = 1.0
_PROXIES = "127.0.0.1,::1"
"""Whose X-Forwarded-For is believed, if the variable FORWARDED_ALLOW_IPS names no others."""
_ABSOLUTE_FORM = re.compile(rb"https?://(?:[^/@]*@)?([^/]*)(.*)", re.IGNORECASE | re.DOTALL)


class HttpServer(uvicorn.Server):
    """uvicorn as one part among others: signals are its owner's, and so are logs and lifespan.

    Args:
        app: what answers.
        settings: how long connections and requests may take, and how many there may be.
        shutdown_s: how long requests under way may take after `stop`.
    """

    def __init__(
        self, app: ASGIApp, settings: HttpSettings | None = None, *, shutdown_s: int = 5
    ) -> None:
        limits = settings or HttpSettings()
        proxied = ProxyHeadersMiddleware(
            OriginForm(app),  # type: ignore[arg-type]  # Starlette's types of ASGI are wider
            os.environ.get("FORWARDED_ALLOW_IPS", _PROXIES),
        )
        gate = Gate(limits, lambda host: host in proxied.trusted_hosts)
        connection = partial(LimitedConnection, limits=limits, gate=gate)
        super().__init__(
            uvicorn.Config(
                proxied,
                http=connection,  # type: ignore[arg-type]  # it only calls it
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=limits.keep_alive_s,
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


class OriginForm:
    """Gives an application requests with a whole URL in the request line as those with a path.

    Every server must take them; what the URL names counts, not the Host header (RFC 9112, 3.2.2).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and not scope["path"].startswith("/"):
            scope = _in_origin_form(scope)
        await self._app(scope, receive, send)


def _in_origin_form(scope: Scope) -> Scope:
    found = _ABSOLUTE_FORM.fullmatch(scope["raw_path"])
    if found is None:
        return scope
    authority, raw_path = found[1], found[2] or b"/"
    headers = scope["headers"]
    if authority:
        others = [(name, value) for name, value in headers if name != b"host"]
        headers = [(b"host", authority), *others]
    path = unquote(raw_path.decode("ascii"))
    return {**scope, "raw_path": raw_path, "path": path, "headers": headers}
