"""Between ASGI and the API: a request read within its size limits, and an answer sent."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from cloudslice.api.errors import ApiError, Code, Phrase

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

LARGE_BODY_BYTES = 1024 * 1024
"""A body beyond it is kept only for a sender who may send one. No known client sends as much."""

_MAX_GET_BYTES = 32 * 1024
_MAX_FORM_BYTES = 1024 * 1024
_MAX_POST_BYTES = 10 * 1024 * 1024
_FREE_BYTES = 64 * 1024
"""What of each body does not count as memory of all: so calls, which have a few kilobytes, are
always read."""

_MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""How much of an oversized body is read and thrown away. Most clients read no answer before they
have sent their whole body, so that cutting them off would hide the answer from them."""

_TOO_LARGE = Phrase(
    "The request is larger than the {limit} bytes that are allowed for it.",
    "请求大小超过上限 {limit} 字节。",
)
_TOO_SLOW = Phrase(
    "The request body did not arrive within {seconds} seconds.", "请求正文未在 {seconds} 秒内到达。"
)
_TOO_MUCH = Phrase(
    "Too many large requests are being read; repeat this one later.",
    "正在接收的大请求过多，请稍后重试。",
)


class ClientDisconnectedError(Exception):
    """The client went away before its request was complete: there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body.

    Attributes:
        query: the query string, byte for byte as it was received.
        headers: by lower-case name; of a repeated header the first.
        size: about how many bytes the head took on the wire.
    """

    method: str
    query: bytes
    headers: Mapping[str, str]
    size: int

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request, as much of it as the API looks at."""

    head: Head
    body: bytes


def read_head(scope: Scope) -> Head:
    """The head of the request of an ASGI `scope`."""
    headers: dict[str, str] = {}
    size = len(scope["method"]) + len(scope["path"]) + len(scope["query_string"])
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        size += len(name) + len(value) + len(": \r\n")
    return Head(scope["method"], scope["query_string"], headers, size)


class BodyReader:
    """Reads bodies; all that are being read at a time have bounded memory.

    Args:
        timeout_s: how long each may take.
        memory: bytes that all may take, beside the first 64 KiB of each.
    """

    def __init__(self, timeout_s: float, memory: int) -> None:
        self._timeout_s = timeout_s
        self._memory = _Memory(memory)

    async def read(self, head: Head, receive: Receive, admit: Callable[[], object]) -> bytes:
        """The body that belongs to `head`.

        One that is refused is read on for a while, and thrown away: most clients read no answer
        before they have sent their whole body.

        Args:
            admit: called once before more than `LARGE_BODY_BYTES` are kept. Raises ApiError if the
                sender may not send so much.

        Raises:
            ApiError: what `admit` raises; the request is larger than docs/wire.md, 1, allows, its
                body comes too slowly, or there is no memory for it.
            ClientDisconnectedError: the client went away.
        """
        with contextlib.closing(_Body(head, admit, self._memory)) as body:
            body.expect(_declared_size(head))
            waits = head.headers.get("expect", "").lower() == "100-continue"
            if body.refusal is None or not waits:
                await self._receive(body, receive)
            if body.refusal is not None:
                raise body.refusal
            return bytes(body.kept)

    async def _receive(self, body: "_Body", receive: Receive) -> None:
        has_more = True
        try:
            async with asyncio.timeout(self._timeout_s):
                while has_more and body.received <= _MAX_DISCARDED_BYTES:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnectedError
                    body.add(message.get("body", b""))
                    has_more = message.get("more_body", False)
        except TimeoutError:
            seconds = f"{self._timeout_s:g}"
            body.refuse(ApiError(Code.INVALID_REQUEST, _TOO_SLOW, seconds=seconds))


async def send_answer(send: Send, body: bytes, trace_id: str, *, keep_alive: bool) -> None:
    """Send `body` with status 200 and a Content-Type without a charset (docs/wire.md, 3).

    Args:
        trace_id: what the client sent as X-TC-TraceId, to be echoed; may be empty.
        keep_alive: whether the connection may carry another request.
    """
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
    ]
    if trace_id:
        headers.append((b"x-tc-traceid", trace_id.encode("latin-1")))
    if not keep_alive:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(slots=True)
class _Memory:
    free: int


class _Body:
    """A body on its way.

    Attributes:
        kept: what has come of it; nothing once it is refused.
        received: how many bytes have come.
        refusal: why it is not kept.
    """

    def __init__(self, head: Head, admit: Callable[[], object], memory: _Memory) -> None:
        self.kept = bytearray()
        self.received = 0
        self.refusal: ApiError | None = None
        self._limit = _size_limit(head)
        self._head_size = head.size if head.method == "GET" else 0
        self._admit: Callable[[], object] | None = admit
        self._memory = memory
        self._reserved = 0

    def expect(self, size: int) -> None:
        """It will have at least `size` bytes."""
        if self.refusal is not None:
            return
        if size + self._head_size > self._limit:
            error = ApiError(Code.REQUEST_SIZE_LIMIT_EXCEEDED, _TOO_LARGE, limit=self._limit)
            self.refuse(error)
        elif size > LARGE_BODY_BYTES and self._admit is not None:
            try:
                self._admit()
                self._admit = None
            except ApiError as error:
                self.refuse(error)

    def add(self, chunk: bytes) -> None:
        """This has come."""
        self.received += len(chunk)
        self.expect(self.received)
        if self.refusal is not None:
            return
        needed = max(self.received - _FREE_BYTES - self._reserved, 0)
        if needed > self._memory.free:
            self.refuse(ApiError(Code.REQUEST_LIMIT_EXCEEDED, _TOO_MUCH))
            return
        self._memory.free -= needed
        self._reserved += needed
        self.kept += chunk

    def refuse(self, error: ApiError) -> None:
        """Keep nothing of it. Of several reasons the first counts."""
        self.refusal = self.refusal or error
        self.close()

    def close(self) -> None:
        """Give its memory back."""
        self.kept = bytearray()
        self._memory.free += self._reserved
        self._reserved = 0


def _declared_size(head: Head) -> int:
    text = head.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0


def _size_limit(head: Head) -> int:
    if head.method == "GET":
        return _MAX_GET_BYTES
    return _MAX_FORM_BYTES if head.media_type == FORM else _MAX_POST_BYTES
