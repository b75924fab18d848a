"""Between ASGI and the API: a request read within its size limits, and an answer sent."""

import asyncio
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

_MAX_GET_BYTES = 32 * 1024
_MAX_FORM_BYTES = 1024 * 1024
_MAX_POST_BYTES = 10 * 1024 * 1024

_MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""How much of an oversized body is read and thrown away. Most clients read no answer before they
have sent their whole body, so that cutting them off would hide the answer from them."""

_BODY_TIMEOUT_S = 60
"""The clients' own default timeout: after that nobody waits for the answer any more."""

_TOO_LARGE = Phrase(
    "The request is larger than the {limit} bytes that are allowed for it.",
    "请求大小超过上限 {limit} 字节。",
)
_TOO_SLOW = Phrase(
    "The request body did not arrive within {seconds} seconds.", "请求正文未在 {seconds} 秒内到达。"
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


async def read_body(head: Head, receive: Receive) -> bytes:
    """The body that belongs to `head`; never holds more than its limit in memory.

    Raises:
        ApiError: the request is larger than docs/wire.md, 1, allows, or its body comes too slowly.
        ClientDisconnectedError: the client went away.
    """
    limit = _size_limit(head)
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            return await _receive_up_to(limit - (head.size if head.method == "GET" else 0), receive)
    except TimeoutError:
        raise ApiError(Code.INVALID_REQUEST, _TOO_SLOW, seconds=_BODY_TIMEOUT_S) from None
    except _BodyTooLargeError:
        raise ApiError(Code.REQUEST_SIZE_LIMIT_EXCEEDED, _TOO_LARGE, limit=limit) from None


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


class _BodyTooLargeError(Exception):
    pass


def _size_limit(head: Head) -> int:
    if head.method == "GET":
        return _MAX_GET_BYTES
    return _MAX_FORM_BYTES if head.media_type == FORM else _MAX_POST_BYTES


async def _receive_up_to(limit: int, receive: Receive) -> bytes:
    body = bytearray()
    received = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        chunk = message.get("body", b"")
        received += len(chunk)
        if received <= limit:
            body += chunk
        else:
            body.clear()
            if received > _MAX_DISCARDED_BYTES:
                raise _BodyTooLargeError
        if not message.get("more_body", False):
            break
    if received > limit:
        raise _BodyTooLargeError
    return bytes(body)
