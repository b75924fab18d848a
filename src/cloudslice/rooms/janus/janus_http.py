"""Janus's HTTP transport (Janus's documentation, "Plain HTTP REST Interface").

A request is a POST to the URL of what it is for: the server, a session, or a handle. What Janus
tells by itself, and what its plugin answers later, comes as the answer to a GET that waits for it.
"""

import asyncio
import json
from typing import Any

import aiohttp
from yarl import URL

from cloudslice.http_client import find_proxy
from cloudslice.rooms.janus.janus_channel import JanusAddress, Message
from cloudslice.rooms.janus.janus_errors import SignallingLostError
from cloudslice.rooms.remote.connection_failures import explain_failure
from cloudslice.rooms.remote.room_server import UnreachableError

_CONNECT_S = 4.0
_REQUEST_S = 15.0
_POLL_S = 45.0
"""Janus answers after 30 s when it has nothing to tell."""
_EVENTS_AT_ONCE = 20
_PAUSE_S = 0.25
"""Before a loss is told, so that what is lost at once each time is not made anew at once."""

_Failure = (aiohttp.ClientError, OSError, TimeoutError, ValueError)


async def speaks_http(http: aiohttp.ClientSession, address: JanusAddress) -> bool:
    """Whether Janus's HTTP transport is at an address, which may also be that of a WebSocket."""
    try:
        return (await _info(http, address)).get("janus") == "server_info"
    except _Failure:
        return False


class JanusHttp:
    """A `JanusChannel`. It is lost with the first request that fails.

    Args:
        http: makes the requests.
        address: where to.
    """

    def __init__(self, http: aiohttp.ClientSession, address: JanusAddress) -> None:
        self._http = http
        self._address = address
        self._proxy = find_proxy(URL(address.url))
        self._incoming: asyncio.Queue[Message | None] = asyncio.Queue()
        self._session: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._polling: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """See `JanusChannel`."""
        await self.close()
        try:
            await _info(self._http, self._address)
        except TimeoutError as error:
            raise UnreachableError(
                f"Janus at {self._address.url} gave no answer in {_CONNECT_S:g} s"
            ) from error
        except _Failure as error:
            raise UnreachableError(
                f"Janus at {self._address.url} {explain_failure(error)}"
            ) from error
        self._incoming = asyncio.Queue()
        self._polling = asyncio.create_task(self._poll(self._incoming))

    async def send(self, message: Message) -> None:
        """See `JanusChannel`. Returns when Janus has answered, if only that it has heard."""
        body = dict(message)
        session, handle = body.pop("session_id", None), body.pop("handle_id", None)
        if self._address.api_secret:
            body["apisecret"] = self._address.api_secret
        incoming = self._incoming
        try:
            async with self._http.post(
                _url(self._address, session, handle),
                json=body,
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(total=_REQUEST_S, sock_connect=_CONNECT_S),
            ) as response:
                answer = await _object(response)
        except _Failure as error:
            if self._polling is not None:
                self._polling.cancel()
            raise SignallingLostError(self._address.url) from error
        if body["janus"] == "create" and answer.get("janus") == "success":
            self._session.set_result(answer["data"]["id"])
        incoming.put_nowait(answer)

    async def receive(self) -> Message | None:
        """See `JanusChannel`."""
        return await self._incoming.get()

    async def close(self) -> None:
        """See `JanusChannel`."""
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            await asyncio.wait([polling])

    async def _poll(self, incoming: asyncio.Queue[Message | None]) -> None:
        """Ask for what Janus has to tell, until it does not answer or has no such session."""
        try:
            session = await asyncio.shield(self._session)
            while True:
                for message in await self._next_messages(session):
                    if message.get("janus") == "error":
                        return
                    incoming.put_nowait(message)
        except _Failure:
            await asyncio.sleep(_PAUSE_S)
        finally:
            incoming.put_nowait(None)

    async def _next_messages(self, session: int) -> list[Message]:
        query = {"maxev": str(_EVENTS_AT_ONCE)}
        if self._address.api_secret:
            query["apisecret"] = self._address.api_secret
        async with self._http.get(
            _url(self._address, session).with_query(query),
            proxy=self._proxy,
            timeout=aiohttp.ClientTimeout(total=_POLL_S, sock_connect=_CONNECT_S),
        ) as response:
            content = await _content(response)
        messages = content if isinstance(content, list) else [content]
        return [each for each in messages if isinstance(each, dict)]


async def _info(http: aiohttp.ClientSession, address: JanusAddress) -> Message:
    url = _url(address, "info")
    timeout = aiohttp.ClientTimeout(total=_CONNECT_S)
    async with http.get(url, proxy=find_proxy(url), timeout=timeout) as response:
        return await _object(response)


def _url(address: JanusAddress, *parts: int | str | None) -> URL:
    """Of the server, or of what is in it."""
    url = URL(address.url.rstrip("/"))
    return url.joinpath(*(str(part) for part in parts if part is not None))


async def _object(response: aiohttp.ClientResponse) -> Message:
    """Raises ValueError: it is none."""
    content = await _content(response)
    if not isinstance(content, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - of what somebody else has sent
    return content


async def _content(response: aiohttp.ClientResponse) -> Any:
    return json.loads(await response.read())
