"""The HTTP server wakes for nothing but the date of its answers, and stops when told."""

import asyncio
import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

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
