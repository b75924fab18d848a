"""A webhook receiver that does what receivers are told to do: check every signature."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

NO_CONTENT = 204
NO_ANSWER = 0
"""Instead of a status: take the request and never answer it."""


@dataclass(frozen=True)
class Request:
    """One request, as it came.

    Attributes:
        headers: names as they were sent.
        at: monotonic second of its arrival.
    """

    target: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    @property
    def type(self) -> int:
        event_type: int = self.event["EventType"]
        return event_type


class WebhookReceiver:
    """An HTTP server in the test's own loop; an async context manager.

    Leaving it fails the test if any request is not as documented.

    Attributes:
        requests: all that came, in order, repeated ones included.
        answer: decides the status of each answer; None: 200.
    """

    def __init__(
        self, key: str = "", *, answer: Callable[[Request], int] | None = None, port: int = 0
    ) -> None:
        self.requests: list[Request] = []
        self.answer = answer
        self._key = key
        self._port = port
        self._problems: list[str] = []
        self._server: asyncio.Server | None = None
        self._writers: set[StreamWriter] = set()
        self._arrival = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
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
        if exc is None:
            assert not self._problems, self._problems

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/hook?from=cloudslice"

    @property
    def events(self) -> list[dict[str, Any]]:
        """Each event once, in the order of their first arrivals."""
        return [json.loads(body) for body in dict.fromkeys(each.body for each in self.requests)]

    def of_type(self, event_type: int) -> list[dict[str, Any]]:
        """The events of a type, each once."""
        return [event for event in self.events if event["EventType"] == event_type]

    def of_task(self, task_id: str) -> list[dict[str, Any]]:
        """The events of a task, each once."""
        return [event for event in self.events if event["EventInfo"].get("TaskId") == task_id]

    async def wait_for(
        self, predicate: Callable[["WebhookReceiver"], object], within_s: float = 20
    ) -> None:
        """Wait until `predicate` holds of this receiver.

        Raises:
            AssertionError: it does not within `within_s` seconds; the text lists what came.
        """
        try:
            async with asyncio.timeout(within_s), self._arrival:
                await self._arrival.wait_for(lambda: predicate(self))
        except TimeoutError:
            seen = [(each.type, each.event["EventInfo"].get("Payload")) for each in self.requests]
            raise AssertionError(f"not within {within_s} s; what came: {seen}") from None

    async def wait_for_type(self, event_type: int, count: int = 1, within_s: float = 20) -> None:
        """Wait until `count` different events of a type have come."""
        await self.wait_for(lambda r: len(r.of_type(event_type)) >= count, within_s)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while request := await _read(reader):
                self._check(request)
                async with self._arrival:
                    self.requests.append(request)
                    self._arrival.notify_all()
                status = 200 if self.answer is None else self.answer(request)
                if status == NO_ANSWER:
                    await reader.read()
                    return
                head, body = f"HTTP/1.1 {status} Status\r\n", b""
                if status != NO_CONTENT:  # RFC 9110, 8.6: it has no Content-Length
                    body = b'{"code":0}'
                    head += f"Content-Length: {len(body)}\r\n"
                if 300 <= status < 400:
                    head += f"Location: {self.url}\r\n"
                writer.write(head.encode() + b"\r\n" + body)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            self._writers.discard(writer)

    def _check(self, request: Request) -> None:
        if request.headers.get("Content-Type") != "application/json":
            self._problems.append(f"Content-Type: {request.headers}")
        if not request.headers.get("SdkAppId", "").isdecimal():
            self._problems.append(f"SdkAppId: {request.headers}")
        expected = None
        if self._key:
            digest = hmac.new(self._key.encode(), request.body, hashlib.sha256).digest()
            expected = base64.b64encode(digest).decode()
        if request.headers.get("Sign") != expected:
            self._problems.append(f"Sign: {request.headers} for {request.body!r}")


async def _read(reader: StreamReader) -> Request | None:
    """The next request of a connection, or None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(headers["Content-Length"]))
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = lines[0].split(" ")
    assert method == "POST"
    return Request(target, headers, body, time.monotonic())
