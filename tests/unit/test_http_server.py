"""The HTTP server wakes for nothing but the date of its answers, and stops when told."""

import asyncio
import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cloudslice.http_server import HttpServer


async def _greet(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def test_it_answers_with_the_date_and_stops_at_once() -> None:
    server = HttpServer(Starlette(routes=[Route("/", _greet)]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve(sockets=[listener]))
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"http://127.0.0.1:{port}/")
            assert answer.text == "hello"
            assert answer.headers["date"].endswith("GMT")
            server.stop()
            async with asyncio.timeout(5):
                await serving


@pytest.mark.parametrize(
    ("line", "host", "told"),
    [
        pytest.param("/a%20b?c=%20", "h", "h /a b c=%20", id="a path"),
        pytest.param("http://other:81/a%20b?c=%20", "h", "other:81 /a b c=%20", id="a URL"),
        pytest.param("HTTPS://me@other", "h", "other / ", id="a URL without a path"),
        pytest.param("http://other?c=/", "h", "other / c=/", id="a URL with a query alone"),
        pytest.param("http:///a", "h", "h /a ", id="a URL without a host"),
        pytest.param("ftp://other/a", "h", "h ftp://other/a ", id="another URL"),
        pytest.param("*", "h", "h * ", id="no URL"),
    ],
)
async def test_a_request_line_may_have_a_whole_url(line: str, host: str, told: str) -> None:
    """Its host counts, and not that of the header (RFC 9112, 3.2.2)."""

    async def tell(scope: Scope, _receive: Receive, send: Send) -> None:
        request = Request(scope)
        text = f"{request.headers['host']} {scope['path']} {scope['query_string'].decode()}"
        await PlainTextResponse(text)(scope, _receive, send)

    server = HttpServer(tell)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listener]))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(
                f"GET {line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            )
            answer = await reader.read()
            writer.close()
            server.stop()
    assert answer.decode().partition("\r\n\r\n")[2] == told


async def test_it_ticks_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn's own loop wakes ten times a second."""
    server = HttpServer(Starlette())
    waits: list[float] = []

    async def wait_for(waiting: asyncio.Future[bool], seconds: float) -> None:
        waits.append(seconds)
        waiting.close()  # type: ignore[attr-defined] # a coroutine
        if len(waits) == 3:
            server.stop()

    monkeypatch.setattr(asyncio, "wait_for", wait_for)
    await server.main_loop()
    assert waits == [1.0, 1.0, 1.0]
    assert server.server_state.default_headers[0][0] == b"date"
