"""What is said where the URL of a Janus leads to something else, or nowhere."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from cloudslice.rooms.janus.janus_channel import JanusAddress
from cloudslice.rooms.janus.janus_socket import JanusSocket
from cloudslice.rooms.remote.room_server import UnreachableError
from helpers.certificates import PrivateAuthority
from helpers.scripted_http import respond, scripted_http

NOT_JANUS = "does not answer as Janus's WebSocket does"


async def complaint(url: str) -> str:
    """What `connect` raises, without the URL before it."""
    async with aiohttp.ClientSession() as http:
        with pytest.raises(UnreachableError) as error:
            await JanusSocket(http, JanusAddress(url, "TOPSECRET")).connect()
    text = str(error.value)
    assert text.startswith(f"Janus at {url} ")
    assert len(text) < 200
    assert "TOPSECRET" not in text
    return text.removeprefix(f"Janus at {url} ")


@asynccontextmanager
async def web_server(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[int]:
    """A whole one; its port."""
    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert await complaint(f"ws://127.0.0.1:{port}") == "cannot be reached: Connection refused"


async def test_no_such_host() -> None:
    text = await complaint("ws://janus.invalid:8188")
    assert text == "cannot be reached: its host name is not known"


async def test_tls_to_a_server_without_it() -> None:
    async def greet(_request: web.Request) -> web.Response:
        return web.Response()

    async with web_server(greet) as port:
        text = await complaint(f"wss://127.0.0.1:{port}")
    assert text == "does not speak TLS on this port: try ws://"


async def test_no_tls_to_a_server_with_it(tmp_path: Path) -> None:
    tls = PrivateAuthority(tmp_path).issue("127.0.0.1")
    async with scripted_http(tls) as site:
        text = await complaint(f"ws://127.0.0.1:{site.port}")
    assert text == "has closed the connection without an answer"


async def test_a_certificate_that_nobody_knows(tmp_path: Path) -> None:
    tls = PrivateAuthority(tmp_path).issue("127.0.0.1")
    async with scripted_http(tls) as site:
        text = await complaint(f"wss://127.0.0.1:{site.port}")
    assert text == "cannot be trusted: unable to get local issuer certificate"


@pytest.mark.parametrize("status", [200, 403, 404, 502])
async def test_a_web_server(status: int) -> None:
    """LiveKit is one: it says OK to whoever asks for `/`."""
    async with scripted_http() as site:
        site.answer = lambda *_: respond(status, b"OK", "text/plain")
        text = await complaint(f"ws://127.0.0.1:{site.port}")
    assert text == f"{NOT_JANUS} (it answered with HTTP status {status}): is the URL right?"


async def test_a_handshake_that_is_none() -> None:
    """Its status is the right one, the rest is not."""
    async with scripted_http() as site:
        site.answer = lambda *_: b"HTTP/1.1 101 Switching\r\nUpgrade: tea\r\n\r\n"
        text = await complaint(f"ws://127.0.0.1:{site.port}")
    assert text == f"{NOT_JANUS} (it answered with HTTP status 101): is the URL right?"


async def test_a_server_that_speaks_no_http() -> None:
    """What it sends is not shown."""
    async with scripted_http() as site:
        site.answer = lambda *_: bytes(range(256)) * 20
        text = await complaint(f"ws://127.0.0.1:{site.port}")
    assert text == "does not speak HTTP as it should: is the URL right?"


async def test_a_server_that_hangs_up() -> None:
    async with scripted_http() as site:
        text = await complaint(f"ws://127.0.0.1:{site.port}")
    assert text == "has closed the connection without an answer"


async def test_a_websocket_of_somebody_else() -> None:
    async def greet(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        return answer

    async with web_server(greet) as port:
        text = await complaint(f"ws://127.0.0.1:{port}")
    assert text == f"{NOT_JANUS} (it does not speak janus-protocol): is the URL right?"


async def test_a_proxy_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, so that nobody looks for the fault at Janus."""
    async with scripted_http() as site:
        site.answer = lambda *_: respond(407, b"", "text/plain")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{site.port}")
        refused = await complaint("wss://janus.invalid")
    assert refused == "cannot be reached: its proxy answered with HTTP status 407"
    silent = await complaint("wss://janus.invalid")
    assert silent == "cannot be reached: its proxy: Connection refused"
