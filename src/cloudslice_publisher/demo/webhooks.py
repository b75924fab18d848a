"""The demo's webhook receiver: checks signatures as a user's own receiver should."""

import base64
import hashlib
import hmac
import json
import socket
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cloudslice.http_server import HttpServer

OnEvent = Callable[[dict[str, Any], bool], None]
"""Told of each event, and whether its signature is right."""


class WebhookReceiver:
    """Receives events on a free port of this machine.

    Args:
        on_event: told of each event.
    """

    def __init__(self, on_event: OnEvent) -> None:
        self.callback_key = ""
        self._on_event = on_event
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        app = Starlette(routes=[Route("/callback", self._receive, methods=["POST"])])
        self._server = HttpServer(app, shutdown_s=1)

    async def run(self) -> None:
        """Receive until `stop`."""
        with self._listener:
            await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Let `run` come to its end."""
        self._server.stop()

    async def _receive(self, request: Request) -> Response:
        body = await request.body()
        digest = hmac.digest(self.callback_key.encode(), body, hashlib.sha256)
        is_signed = hmac.compare_digest(
            base64.b64encode(digest).decode(), request.headers.get("sign", "")
        )
        self._on_event(json.loads(body), is_signed)
        return JSONResponse({"code": 0})
