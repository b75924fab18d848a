"""A real HTTP server that answers each request with the bytes that the test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = Callable[[str, dict[str, str], bytes], bytes]
"""Makes the whole answer of a path, headers by lower-case names, and a body."""


@dataclass
class ScriptedHttp:
    """What it does, and what it was asked.

    Attributes:
        answer: of each request; empty bytes: none, and the connection is closed.
        is_silent: whether it says nothing and keeps the connection.
    """

    answer: Answer = lambda _path, _headers, _body: b""
    is_silent: bool = False
    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            lines = [line.partition(":") for line in head[1:] if line]
            headers = {name.lower(): value.strip() for name, _, value in lines}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            path = head[0].split(" ")[1]
            self.requests.append((path, headers, body))
            if self.is_silent:
                await reader.read()
            else:
                writer.write(self.answer(path, headers, body))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted_http(tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedHttp]:
    """A server on a port of its own."""
    site = ScriptedHttp()
    server = await asyncio.start_server(site._serve, "127.0.0.1", 0, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    async with server:
        yield site


def respond(status: int, body: bytes, content_type: str = "application/json") -> bytes:
    """A whole answer."""
    return (
        b"HTTP/1.1 %d Status\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        % (status, content_type.encode(), len(body))
    ) + body
