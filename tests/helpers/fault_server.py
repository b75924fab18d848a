"""An S3 server of a few lines that misbehaves as it is told to; see `s3_server` for a real one."""

import asyncio
import hashlib
import ssl
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import unquote

_REASONS = {200: "OK", 201: "Created", 204: "No Content", 403: "Forbidden", 404: "Not Found"}
_DENIAL = b"<Error><Code>AccessDenied</Code><Message>with an explicit deny</Message></Error>"
_DENIED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(_DENIAL), _DENIAL)
_ZEROS = bytes(50_000)
_LOGIN = "/login"
"""Where its redirects lead: a page that answers anything alike."""


@dataclass
class FaultServer:
    """Takes PUT and HEAD of any object; an async context manager.

    Attributes:
        objects: what it has stored, by its path, bucket included.
        requests: the method of each request that came whole.
        connections: how many there were.
        put_status: what it answers to a PUT that has worked.
        login_status: what it answers to whoever follows its redirects.
        put_lines: further header lines of its answers to PUT; Content-Length among them is taken.
        put_body: what its answers to PUT say.
        trailing_bytes: how many zeros follow `put_body`.
        trailed: how many of them it could send.
        has_etag: whether its answers have an ETag.
        etag: the ETag of its answers; None: the body's MD5.
        keeps: whether it stores what it is given; one that does not lies.
        head_status: what it answers to HEAD instead of the truth.
        head_size: the size that HEAD shows instead of the true one.
        head_lines: further header lines of its answers to HEAD.
        hangs_up_on_reuse: whether it closes a connection at its second request, unanswered.
        tires_on_reuse: whether it answers 408 to that and closes the connection.
        hangs_up_always: whether it does so at the first.
        hangs_up_after: whether it closes a connection after its answer.
        is_silent: whether it does not answer at all.
        tls: its certificate, if it speaks TLS.
        demands: a header line that a PUT must have, else it is refused; lower-case name.
        reads_body: whether it takes a body before it answers; else it closes the connection then.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    put_status: int = 200
    login_status: int = 200
    put_lines: str = ""
    put_body: bytes = b""
    trailing_bytes: int = 0
    trailed: int = 0
    has_etag: bool = True
    etag: str | None = None
    keeps: bool = True
    head_status: int | None = None
    head_size: int | None = None
    head_lines: str = ""
    hangs_up_on_reuse: bool = False
    tires_on_reuse: bool = False
    hangs_up_always: bool = False
    hangs_up_after: bool = False
    is_silent: bool = False
    tls: ssl.SSLContext | None = None
    demands: str = ""
    reads_body: bool = True
    _server: asyncio.Server | None = None
    _writers: set[StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        while self._writers:
            for writer in list(self._writers):
                writer.close()
            await asyncio.sleep(0)

    @property
    def url(self) -> str:
        assert self._server is not None
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        is_reused = False
        try:
            while True:
                method, path, head, body = await _read(reader, with_body=self.reads_body)
                if self.is_silent:
                    await reader.read()
                    return
                if self.hangs_up_always or (is_reused and self.hangs_up_on_reuse):
                    return
                if is_reused and self.tires_on_reuse:
                    writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
                    await writer.drain()
                    return
                is_reused = True
                self.requests.append(method)
                if method == "PUT" and self.demands not in head.lower():
                    writer.write(_DENIED)
                else:
                    writer.write(self._reply(method, path, body))
                await writer.drain()
                for _ in range(self.trailing_bytes // len(_ZEROS)):
                    writer.write(_ZEROS)
                    await writer.drain()
                    self.trailed += len(_ZEROS)
                if self.hangs_up_after or not self.reads_body:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)

    def _reply(self, method: str, path: str, body: bytes) -> bytes:
        if path == _LOGIN:
            return self._answer(self.login_status, 0, b"")
        return self._put(path, body) if method == "PUT" else self._head(path)

    def _put(self, path: str, body: bytes) -> bytes:
        if self.keeps:
            self.objects[path] = body
        size = len(self.put_body) + self.trailing_bytes
        head = self._answer(self.put_status, size, body, self.put_lines)
        return head + self.put_body

    def _head(self, path: str) -> bytes:
        data = self.objects.get(path)
        status = self.head_status or (404 if data is None else 200)
        size = len(data or b"") if self.head_size is None else self.head_size
        return self._answer(status, size if status == 200 else 0, data or b"", self.head_lines)

    def _answer(self, status: int, size: int, body: bytes, lines: str = "") -> bytes:
        head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n{lines}"
        is_framed = "Transfer-Encoding" in lines or "Content-Length" in lines
        if status != 204 and not is_framed:  # RFC 9110, 8.6
            head += f"Content-Length: {size}\r\n"
        if 300 <= status < 400:
            head += f"Location: {_LOGIN}\r\n"
        if self.has_etag:
            etag = self.etag or hashlib.md5(body, usedforsecurity=False).hexdigest()
            head += f'ETag: "{etag}"\r\n'
        return f"{head}\r\n".encode()


async def _read(reader: StreamReader, *, with_body: bool) -> tuple[str, str, str, bytes]:
    """Method, path, head and body of the next request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = head.split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    size = int(headers.get("content-length", "0")) if with_body else 0
    body = await reader.readexactly(size)
    return method, unquote(target.partition("?")[0]), head, body
