"""LiveKit's signalling: protobuf messages over a WebSocket (livekit/protocol, `livekit_rtc.proto`).

By `/rtc/v1`, which servers have since 1.9.2: one peer connection, of which the client makes the
offers. The older way takes two of them, of which the server opens data channels on ours.
"""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
from google.protobuf.message import DecodeError
from livekit.protocol import rtc
from yarl import URL

from cloudslice.http_client import find_proxy
from cloudslice.rooms.base import RoomEntryError
from cloudslice.rooms.livekit.livekit_failures import explain_refusal
from cloudslice.rooms.remote.connection_failures import explain_failure
from cloudslice.rooms.remote.room_server import UnreachableError

_CONNECT_S = 8.0
"""For the WebSocket and the first message."""
_PING_INTERVAL_S, _PING_TIMEOUT_S = 10.0, 15.0
"""Where the server says nothing of them."""
_MAX_MESSAGE = 16 << 20
"""Bytes: of hundreds of members at once."""
_MAX_REASON = 1024
"""Bytes."""


class SignallingLostError(Exception):
    """Signalling is closed, or nothing came for too long; the text says which."""


class Signalling:
    """An open WebSocket.

    Attributes:
        first: the server's first message.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, first: rtc.SignalResponse) -> None:
        self.first = first
        self._socket = socket
        self._timeout_s = first.join.ping_timeout or _PING_TIMEOUT_S
        self._ping_interval_s = first.join.ping_interval or _PING_INTERVAL_S
        self._requests = asyncio.Queue[rtc.SignalRequest]()

    def send(self, request: rtc.SignalRequest) -> None:
        """Have a message sent, after those before it."""
        self._requests.put_nowait(request)

    async def receive(self) -> rtc.SignalResponse:
        """The next message.

        Raises:
            SignallingLostError
        """
        try:
            return await _receive(self._socket, self._timeout_s)
        except TimeoutError as error:
            text = f"the server sent nothing for {self._timeout_s:g} s"
            raise SignallingLostError(text) from error

    async def write(self) -> None:
        """Send what is to be sent, and a ping when its time has come; never returns."""
        next_ping = 0.0
        while True:
            try:
                async with asyncio.timeout(max(0.0, next_ping - time.monotonic())):
                    request = await self._requests.get()
            except TimeoutError:
                request = rtc.SignalRequest(
                    ping_req=rtc.Ping(timestamp=time.time_ns() // 1_000_000, rtt=0)
                )
                next_ping = time.monotonic() + self._ping_interval_s
            try:
                await self._socket.send_bytes(request.SerializeToString())
            except (aiohttp.ClientError, ConnectionError):
                return  # who receives hears of it

    async def say_goodbye(self) -> None:
        """Tell the server that we leave, if it can still be told."""
        request = rtc.SignalRequest(leave=rtc.LeaveRequest())
        try:
            await self._socket.send_bytes(request.SerializeToString())
        except (aiohttp.ClientError, ConnectionError):
            return


@asynccontextmanager
async def open_signalling(url: str, token: str, join: rtc.JoinRequest) -> AsyncIterator[Signalling]:
    """Connect, join or resume, and leave the WebSocket at the end of the context.

    Args:
        url: of the server: ws, wss, http or https.
        token: the access token.
        join: how we join, or resume.

    Raises:
        RoomEntryError: the server refuses us; no other try helps.
        UnreachableError: it gives no answer, or none that can be understood.
    """
    base = URL(url)
    shown = f"the LiveKit server {base.origin()}"
    wrapped = rtc.WrappedJoinRequest(join_request=join.SerializeToString())
    place = (
        base.with_scheme({"ws": "http", "wss": "https"}.get(base.scheme, base.scheme)) / "rtc/v1"
    )
    query = {"join_request": base64.urlsafe_b64encode(wrapped.SerializeToString()).decode()}
    head = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session:
        try:
            async with asyncio.timeout(_CONNECT_S):
                socket = await session.ws_connect(
                    place.with_query(query),
                    headers=head,
                    max_msg_size=_MAX_MESSAGE,
                    proxy=find_proxy(place),
                )
                first = await _receive(socket, _CONNECT_S)
        except aiohttp.WSServerHandshakeError as error:
            body = await _ask_why(session, place / "validate", query, head)
            raise _refusal(shown, error.status, body) from error
        except TimeoutError as error:
            raise UnreachableError(f"{shown} gave no answer in {_CONNECT_S:g} s") from error
        except SignallingLostError as error:
            raise UnreachableError(f"{shown} let us not in: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"{shown} {explain_failure(error)}") from error
        try:
            yield Signalling(socket, first)
        finally:
            await socket.close()


async def _receive(socket: aiohttp.ClientWebSocketResponse, timeout_s: float) -> rtc.SignalResponse:
    """Raises SignallingLostError, TimeoutError."""
    while True:
        message = await socket.receive(timeout_s)
        if message.type is aiohttp.WSMsgType.BINARY:
            try:
                return rtc.SignalResponse.FromString(message.data)
            except DecodeError as error:
                raise SignallingLostError(f"the server sent what is no message: {error}") from error
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise SignallingLostError(f"the server closed the WebSocket ({socket.close_code})")


async def _ask_why(
    session: aiohttp.ClientSession, place: URL, query: dict[str, str], head: dict[str, str]
) -> bytes:
    """The server's words for a refusal, which a WebSocket's client does not get to see."""
    try:
        async with (
            asyncio.timeout(_CONNECT_S),
            session.get(place.with_query(query), headers=head, proxy=find_proxy(place)) as answer,
        ):
            return await answer.content.read(_MAX_REASON)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return b""


def _refusal(shown: str, status: int, body: bytes) -> Exception:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        reason = explain_refusal(body)
        if reason is not None:
            return RoomEntryError(f"{shown} {reason}")
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        return RoomEntryError(
            f"{shown} has no room for us: it is older than 1.9.2, or makes no rooms by itself, or "
            "is no LiveKit server"
        )
    return UnreachableError(f"{shown} answered with HTTP status {status}")
