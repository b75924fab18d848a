"""A WHIP endpoint that hands requests on, and has media go through a lossy relay."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from helpers.asgi_server import serving
from helpers.lossy_relay import LossyRelay, Weather

_CANDIDATE = re.compile(r"a=candidate:\S+ 1 \S+ \d+ (?P<host>[0-9.]+) (?P<port>\d+) typ host")
_METHODS = ["POST", "PATCH", "DELETE", "OPTIONS"]
_OF_ONE_HOP = {"host", "content-length", "connection", "transfer-encoding", "date", "server"}


class _WhipRelay:
    """For one client."""

    def __init__(self, server_url: str, weather: Weather, client: httpx.AsyncClient) -> None:
        self._server_url = server_url
        self._client = client
        self._udp = LossyRelay(weather)
        self._port: int | None = None

    async def handle(self, request: Request) -> Response:
        answer = await self._client.request(
            request.method,
            self._server_url + request.url.path,
            headers=[each for each in request.headers.items() if each[0] not in _OF_ONE_HOP],
            content=await request.body(),
        )
        body = answer.text
        if answer.headers.get("content-type") == "application/sdp":
            body = self._through_the_relay(body)
        response = Response(body, answer.status_code)
        for name, value in answer.headers.multi_items():
            if name not in _OF_ONE_HOP:
                response.headers.append(name, value)
        return response

    def close(self) -> None:
        self._udp.close()

    def _through_the_relay(self, answer: str) -> str:
        """The answer with one candidate, the relay's, in place of the first one with IPv4."""
        found = _CANDIDATE.search(answer)
        assert found, f"no candidate with IPv4 in {answer}"
        host, port = found["host"], int(found["port"])
        if self._port is None:
            self._port = self._udp.open((host, port))
        rest = re.sub(rf"a=candidate:(?!.* {re.escape(host)} {port} ).*\r\n", "", answer)
        return rest.replace(f" {host} {port} ", f" {host} {self._port} ")


@asynccontextmanager
async def whip_relay(server_url: str, weather: Weather) -> AsyncIterator[str]:
    """Relay one client's requests and media to `server_url`; gives the URL for the client.

    Both have the form http://host:port, without a path.
    """
    async with httpx.AsyncClient() as client:
        relay = _WhipRelay(server_url, weather, client)
        app = Starlette(routes=[Route("/{path:path}", relay.handle, methods=_METHODS)])
        try:
            async with serving(app) as port:
                yield f"http://127.0.0.1:{port}"
        finally:
            relay.close()
