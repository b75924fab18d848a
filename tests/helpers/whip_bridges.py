"""WHIP (RFC 9725) in front of other people's rooms, so that whoever publishes by WHIP gets there.

The bridge passes an offer on to the server's signalling, and the server's answer back; media goes
its own way. It is a proxy for tests and benchmarks: a session is one publisher.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any, Protocol

import aiohttp
from livekit.protocol import models, rtc
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from helpers.asgi_server import serving

_ANSWER_TIMEOUT_S = 10
_CANDIDATES_S = 0.5
"""The server's candidates have come by then."""


class Publishing(Protocol):
    """How one server is published to."""

    def publish(self, room: str, user_id: str, offer: str) -> AbstractAsyncContextManager[str]:
        """Publish by an SDP offer until the context is left; the SDP answer."""
        ...


class WhipBridge:
    """Takes WHIP requests for one server; see `bridging`."""

    def __init__(self, publishing: Publishing) -> None:
        self._publishing = publishing
        self._sessions: dict[str, AsyncExitStack] = {}
        self.port = 0

    def url(self, room: str, user_id: str) -> str:
        """Where `user_id` publishes into `room`."""
        return f"http://127.0.0.1:{self.port}/whip/{room}/{user_id}"

    @property
    def app(self) -> Starlette:
        """The routes."""
        return Starlette(
            routes=[
                Route("/whip/{room}/{user_id}", self._offer, methods=["POST"]),
                Route("/session/{session}", self._end, methods=["DELETE"]),
            ]
        )

    async def close(self) -> None:
        """End all sessions."""
        for session in list(self._sessions):
            await self._sessions.pop(session).aclose()

    async def _offer(self, request: Request) -> Response:
        offer = (await request.body()).decode()
        room, user_id = request.path_params["room"], request.path_params["user_id"]
        stack = AsyncExitStack()
        answer = await stack.enter_async_context(self._publishing.publish(room, user_id, offer))
        session = secrets.token_hex(8)
        self._sessions[session] = stack
        headers = {"Location": f"/session/{session}", "Content-Type": "application/sdp"}
        return Response(answer, 201, headers)

    async def _end(self, request: Request) -> Response:
        stack = self._sessions.pop(request.path_params["session"], None)
        if stack is not None:
            await stack.aclose()
        return Response(status_code=200 if stack else 404)


@asynccontextmanager
async def bridging(publishing: Publishing) -> AsyncIterator[WhipBridge]:
    """A bridge on a port of this machine."""
    bridge = WhipBridge(publishing)
    async with serving(bridge.app) as bridge.port:
        try:
            yield bridge
        finally:
            await bridge.close()


class LivekitPublishing:
    """Publishes into rooms of a LiveKit server by its signalling of one connection (`/rtc/v1`).

    Args:
        url: of the server, with ws://.
        api_key, api_secret: of the server's configuration.
    """

    def __init__(self, url: str, api_key: str, api_secret: str) -> None:
        self._url = url
        self._api_key = api_key
        self._api_secret = api_secret

    @asynccontextmanager
    async def publish(self, room: str, user_id: str, offer: str) -> AsyncIterator[str]:
        """See `Publishing`."""
        join = rtc.JoinRequest(
            client_info=models.ClientInfo(protocol=15),
            connection_settings=rtc.ConnectionSettings(auto_subscribe=False),
            add_track_requests=_tracks(offer),
            publisher_offer=rtc.SessionDescription(type="offer", sdp=offer, id=1),
        )
        async with self._joined(room, user_id, join) as socket:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                answer = await _livekit_answer(socket)
            async with asyncio.TaskGroup() as group:
                staying = group.create_task(_stay_in_livekit(socket))
                try:
                    yield answer
                finally:
                    staying.cancel()

    async def look_on(self, room: str, user_id: str, has_joined: asyncio.Event) -> None:
        """Be a member that sends and receives nothing, until cancelled."""
        join = rtc.JoinRequest(
            client_info=models.ClientInfo(protocol=15),
            connection_settings=rtc.ConnectionSettings(auto_subscribe=False),
        )
        async with self._joined(room, user_id, join) as socket:
            await socket.receive()
            has_joined.set()
            await _stay_in_livekit(socket)

    @asynccontextmanager
    async def _joined(
        self, room: str, user_id: str, join: rtc.JoinRequest
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        wrapped = rtc.WrappedJoinRequest(join_request=join.SerializeToString())
        query = {
            "access_token": self._token(room, user_id),
            "join_request": base64.urlsafe_b64encode(wrapped.SerializeToString()).decode(),
        }
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{self._url}/rtc/v1", params=query) as socket,
        ):
            yield socket
            await socket.send_bytes(rtc.SignalRequest(leave=rtc.LeaveRequest()).SerializeToString())

    def _token(self, room: str, user_id: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self._api_key,
            "sub": user_id,
            "nbf": now - 60,
            "exp": now + 3600,
            "video": {"room": room, "roomJoin": True, "canPublish": True},
        }
        parts = [_encode(json.dumps(each).encode()) for each in ({"alg": "HS256"}, claims)]
        text = ".".join(parts)
        signature = hmac.digest(self._api_secret.encode(), text.encode(), hashlib.sha256)
        return f"{text}.{_encode(signature)}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _tracks(offer: str) -> list[rtc.AddTrackRequest]:
    """An announcement of each track that an offer sends: microphone, camera, screen share."""
    video_sources = iter((models.TrackSource.CAMERA, models.TrackSource.SCREEN_SHARE))
    tracks = []
    for section in offer.split("\r\nm=")[1:]:
        lines = section.split("\r\n")
        track = next(line.split()[-1] for line in lines if line.startswith("a=msid:"))
        is_audio = section.startswith("audio")
        tracks.append(
            rtc.AddTrackRequest(
                cid=track,
                type=models.TrackType.AUDIO if is_audio else models.TrackType.VIDEO,
                source=models.TrackSource.MICROPHONE if is_audio else next(video_sources),
                width=0 if is_audio else 1280,
                height=0 if is_audio else 720,
                disable_red=True,
            )
        )
    return tracks


async def _livekit_answer(socket: aiohttp.ClientWebSocketResponse) -> str:
    """The server's answer, with the candidates that follow it."""
    answer, candidates, loop = "", list[str](), asyncio.get_running_loop()
    until = loop.time() + _ANSWER_TIMEOUT_S
    while (left := until - loop.time()) > 0:
        try:
            message = await socket.receive(left)
        except TimeoutError:
            break
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise ConnectionError(f"the server closed signalling: {message}")
        response = rtc.SignalResponse.FromString(message.data)
        kind = response.WhichOneof("message")
        if kind == "answer":
            answer, until = response.answer.sdp, loop.time() + _CANDIDATES_S
        elif kind == "trickle" and response.trickle.candidateInit:
            candidate = json.loads(response.trickle.candidateInit)["candidate"]
            candidates += [candidate] if candidate else []
        if kind == "trickle" and response.trickle.final:
            break
    before, first, rest = answer.partition("\r\nm=")
    section, following, others = rest.partition("\r\nm=")
    lines = [section.removesuffix("\r\n"), *(f"a={each}" for each in dict.fromkeys(candidates))]
    end = "" if following else "\r\n"
    return before + first + "\r\n".join(lines) + end + following + others


async def _stay_in_livekit(socket: aiohttp.ClientWebSocketResponse) -> None:
    async def ping() -> None:
        while True:
            request = rtc.SignalRequest(ping_req=rtc.Ping(timestamp=round(time.time() * 1000)))
            await socket.send_bytes(request.SerializeToString())
            await asyncio.sleep(5)

    async with asyncio.TaskGroup() as group:
        pinging = group.create_task(ping())
        async for _ in socket:
            pass
        pinging.cancel()


class JanusPublishing:
    """Publishes into VideoRooms of a Janus gateway.

    Args:
        url: of its WebSocket API, with ws://.
        api_secret: what its requests carry.
        join: what requests to join a room say besides, such as its pin.
        has_text_ids: whether the rooms' and publishers' ids are texts; then the latter are the
            UserIds.
    """

    def __init__(
        self,
        url: str,
        api_secret: str,
        join: Mapping[str, str] = MappingProxyType({}),
        *,
        has_text_ids: bool = False,
    ) -> None:
        self._url = url
        self._api_secret = api_secret
        self._join = join
        self._has_text_ids = has_text_ids

    @asynccontextmanager
    async def publish(self, room: str, user_id: str, offer: str) -> AsyncIterator[str]:
        """See `Publishing`."""
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(self._url, protocols=["janus-protocol"]) as socket,
        ):
            janus = _Janus(socket, self._api_secret)
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                join = {
                    "room": room if self._has_text_ids or not room.isdecimal() else int(room),
                    "display": user_id,
                    **({"id": user_id} if self._has_text_ids else {}),
                    **self._join,
                }
                answer = await janus.publish(join, offer)
            async with asyncio.TaskGroup() as group:
                staying = group.create_task(janus.stay())
                try:
                    yield answer
                finally:
                    staying.cancel()
            await janus.send("destroy")


class _Janus:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse, api_secret: str) -> None:
        self._socket = socket
        self._common: dict[str, Any] = {"apisecret": api_secret} if api_secret else {}

    async def publish(self, join: Mapping[str, object], offer: str) -> str:
        """Join and publish; the SDP answer."""
        await self.send("create")
        self._common["session_id"] = (await self._receive("success"))["data"]["id"]
        await self.send("attach", plugin="janus.plugin.videoroom")
        self._common["handle_id"] = (await self._receive("success"))["data"]["id"]
        await self.send("message", body={"request": "join", "ptype": "publisher", **join})
        await self._receive("event")
        body = {"request": "publish"}
        await self.send("message", body=body, jsep={"type": "offer", "sdp": offer})
        while "jsep" not in (event := await self._receive("event")):
            pass
        return str(event["jsep"]["sdp"])

    async def stay(self) -> None:
        """Keep the session alive."""

        async def keep_alive() -> None:
            while True:
                await asyncio.sleep(20)
                await self.send("keepalive")

        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(keep_alive())
            async for _ in self._socket:
                pass
            keeping.cancel()

    async def send(self, what: str, **more: object) -> None:
        """Send a request."""
        request = {"janus": what, "transaction": secrets.token_hex(6), **self._common, **more}
        await self._socket.send_json(request)

    async def _receive(self, what: str) -> Any:
        while True:
            message = await self._socket.receive_json()
            error = message.get("error") or message.get("plugindata", {}).get("data", {}).get(
                "error"
            )
            if error:
                raise ConnectionError(f"Janus refuses: {error}")
            if message["janus"] == what:
                return message
