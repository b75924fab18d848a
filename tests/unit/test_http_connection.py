"""No client holds a connection longer than it may, nor more of them than there may be."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from cloudslice.config import HttpSettings
from cloudslice.http_server import HttpServer
from helpers.waiting import eventually

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
SHORT_S = 0.2
"""A deadline that a test waits for."""
WITHIN_S = 5
"""Only a broken server takes so long."""

Application = Callable[..., Any]


async def greet(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer without a look at the body."""
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


async def flood(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer with more than a socket takes from who does not read."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(100):
        await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
    await send({"type": "http.response.body"})


class Client:
    """A connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> bytes:
        """The next answer of `greet`."""
        async with asyncio.timeout(WITHIN_S):
            return await self.reader.readuntil(b"hello")

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(WITHIN_S):
            with suppress(ConnectionResetError):
                return await self.reader.read()
        return b""

    async def is_closed(self) -> bool:
        return await self.rest() == b""


class Server:
    """A server with these limits, and connections to it."""

    def __init__(self, http: HttpServer, port: int, stack: AsyncExitStack) -> None:
        self.http, self.port, self.stack = http, port, stack

    async def connect(self, host: str = "127.0.0.1") -> Client:
        """A connection from `host`; they are accepted in this order."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(host, 0))
        self.stack.callback(writer.close)
        return Client(reader, writer)

    @property
    def connections(self) -> set[Any]:
        return self.http.server_state.connections


@asynccontextmanager
async def serving(app: Application = greet, **limits: float) -> AsyncIterator[Server]:
    settings = HttpSettings.model_validate(limits)
    http = HttpServer(app, settings, shutdown_s=1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
            group.create_task(http.serve(sockets=[listener]))
            stack.callback(http.stop)
            yield Server(http, listener.getsockname()[1], stack)


async def test_a_connection_is_kept_longer_than_proxies_keep_theirs() -> None:
    """150 s by default; uvicorn's own default is 5."""
    async with serving() as server:
        client = await server.connect()
        client.send(GET)
        await client.answer()
        (connection,) = server.connections
        timer = connection.timeout_keep_alive_task
        assert timer.when() - asyncio.get_running_loop().time() > 149


async def test_an_idle_connection_ends_in_its_time() -> None:
    async with serving(keep_alive_s=1) as server:
        client = await server.connect()
        started = time.monotonic()
        client.send(GET)
        await client.answer()
        assert await client.is_closed()
        assert time.monotonic() - started >= 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"GET / HTT", b"HTTP/1.1 408 Request Timeout\r\n", id="half a line"),
        pytest.param(GET[:-2], b"HTTP/1.1 408 Request Timeout\r\n", id="all but the end"),
    ],
)
async def test_a_head_that_does_not_come_is_not_waited_for(sent: bytes, status: bytes) -> None:
    async with serving(header_timeout_s=SHORT_S) as server:
        client = await server.connect()
        client.send(sent)
        rest = await client.rest()
        assert rest.startswith(status)
        assert bool(rest) is bool(status)


async def test_a_head_may_not_trickle() -> None:
    """Each byte would else begin the waiting anew. (What is sent as the connection is closed may
    cost the client the answer.)"""
    async with serving(header_timeout_s=SHORT_S) as server:
        client = await server.connect()
        client.send(b"GET / HTTP/1.1\r\n")
        await eventually(lambda: server.connections, within_s=WITHIN_S)
        (connection,) = server.connections

        def has_more(before: bytes) -> Callable[[], bool]:
            return lambda: connection.conn.trailing_data[0] != before or not server.connections

        async with asyncio.timeout(WITHIN_S):
            while server.connections:
                before = connection.conn.trailing_data[0]
                client.send(b"a")
                await eventually(has_more(before), within_s=WITHIN_S)


async def test_the_next_head_must_come_in_time_too() -> None:
    """It has begun, so that the connection is no longer idle."""
    async with serving(header_timeout_s=SHORT_S) as server:
        client = await server.connect()
        client.send(GET)
        await client.answer()
        client.send(b"GET")
        assert b" 408 " in await client.rest()


async def test_slow_connections_are_gone_after_the_header_time() -> None:
    """All 500, while others are served."""
    async with serving(header_timeout_s=1, connections_per_address=600) as server:
        slow = []
        for _ in range(500):
            slow.append(await server.connect())
            slow[-1].send(b"GET / HTTP/1.1\r\n")
        client = await server.connect()
        client.send(GET)
        assert b" 200 " in await client.answer()
        for each in slow:
            assert b" 408 " in await each.rest()
        await eventually(lambda: len(server.connections) == 1, within_s=WITHIN_S)


async def test_a_body_that_nobody_reads_must_come_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was answered; what is left of it would else be waited for without an end."""
    monkeypatch.setattr("cloudslice.http_connection._GRACE_S", 0.0)
    async with serving(body_timeout_s=SHORT_S) as server:
        client = await server.connect()
        client.send(POST)
        await client.answer()
        client.send(b"12345")
        assert await client.is_closed()


async def test_after_a_body_that_came_late_the_connection_goes_on() -> None:
    async with serving(keep_alive_s=1) as server:
        client = await server.connect()
        client.send(POST)
        await client.answer()
        client.send(b"1234567890")
        client.send(GET)
        assert b" 200 " in await client.answer()
        assert await client.is_closed()


async def test_after_a_body_that_came_late_it_is_idle() -> None:
    """uvicorn forgets to wait for the next request."""
    async with serving(keep_alive_s=1) as server:
        client = await server.connect()
        client.send(POST)
        await client.answer()
        client.send(b"1234567890")
        assert await client.is_closed()


async def test_requests_in_a_row_are_answered_in_a_row() -> None:
    async with serving() as server:
        client = await server.connect()
        client.send(GET * 3 + GET[:5])
        for _ in range(3):
            assert b" 200 " in await client.answer()
        client.send(GET[5:])
        assert b" 200 " in await client.answer()


async def test_answers_that_nobody_takes_end_a_connection() -> None:
    async with serving(flood, body_timeout_s=SHORT_S) as server:
        client = await server.connect()
        client.writer.transport.pause_reading()
        client.send(GET)
        await eventually(lambda: server.connections, within_s=WITHIN_S)
        await eventually(lambda: not server.connections, within_s=WITHIN_S)


async def test_there_are_so_many_connections_at_most() -> None:
    """What is too much is told to come back; after another's end there is room."""
    async with serving(connections=2) as server:
        first, _ = [await server.connect() for _ in range(2)]
        refused = await server.connect()
        answer = await refused.rest()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5\r\n" in answer.lower()
        first.writer.close()
        await eventually(lambda: len(server.connections) == 1, within_s=WITHIN_S)
        late = await server.connect()
        late.send(GET)
        assert b" 200 " in await late.answer()


async def test_an_idle_connection_makes_room() -> None:
    """The one that has been idle longest; one that is busy stays."""
    async with serving(connections=3) as server:
        busy, old, young = [await server.connect() for _ in range(3)]
        busy.send(POST[:-2])
        for each in (old, young):
            each.send(GET)
            await each.answer()
        new = await server.connect()
        new.send(GET)
        assert b" 200 " in await new.answer()
        assert await old.is_closed()
        for each, rest in ((busy, POST[-2:]), (young, GET)):
            each.send(rest)
            assert b" 200 " in await each.answer()


async def test_one_address_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one still gets in, and so does a proxy that speaks for many."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.3")
    async with serving(connections_per_address=1) as server:
        await server.connect()
        assert (await (await server.connect()).rest()).startswith(b"HTTP/1.1 503 ")
        for host in ("127.0.0.2", "127.0.0.3", "127.0.0.3"):
            client = await server.connect(host)
            client.send(GET)
            assert b" 200 " in await client.answer()


async def test_addresses_that_have_gone_are_forgotten() -> None:
    async with serving() as server:
        client = await server.connect()
        await eventually(lambda: server.connections, within_s=WITHIN_S)
        (connection,) = server.connections
        client.writer.close()
        await eventually(lambda: not server.connections, within_s=WITHIN_S)
        assert not connection._gate._all
        assert not connection._gate._by_host


async def test_refusals_are_logged_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(connections=1) as server:
        await server.connect()
        for _ in range(3):
            await (await server.connect()).rest()
    assert capsys.readouterr().out.count("HTTP connections refused") == 1
