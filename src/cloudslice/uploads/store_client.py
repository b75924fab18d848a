"""Sends requests to stores and reads their answers: aiohttp, bounded in time and memory.

1. No redirect is followed: what another page answers says nothing of an object.
2. A connection that ends without an answer was idle, as a rule, and given up by the store. The
   request is sent once more at once, on a new connection: other idle ones may be as dead.
3. Of an error's body the beginning is read, of a success's body nothing.
"""

import asyncio
import io
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import aiohttp
from yarl import URL

from cloudslice.http_client import HeadFirstConnector, Proxies
from cloudslice.uploads.storage_errors import Answer

_CONNECT_S = 5.0
_KEEP_IDLE_S = 60.0
"""Longer than the 15 s between two audio slices, shorter than routers on the way remember."""
_BODY_BYTES = 64 * 1024
_BODY_S = 1.0
"""An error's body has so long: its status is known, and the body may never end."""
_PLAIN_BYTES = 2**20
"""aiohttp warns of a larger body if it is bytes, which are written in one piece."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to a store."""

    method: str
    url: URL
    headers: Mapping[str, str]
    data: bytes | None
    tls: ssl.SSLContext | bool
    """How the store's certificate is checked; True: by the system's authorities."""


class _HungUpError(Exception):
    """The connection ended before there was an answer."""


class StoreClient:
    """A pool of connections for all stores; an async context manager."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._proxies = Proxies()

    async def __aenter__(self) -> Self:
        self._session = _open_session(_KEEP_IDLE_S)
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, request: Request) -> Answer:
        """A store's answer to a request that may be repeated. Bound its time by a timeout.

        Raises:
            TimeoutError: no connection came about in time.
            aiohttp.ClientError, OSError, ValueError: there was no answer, or none that is HTTP.
        """
        if self._session is None:
            raise RuntimeError("the client is not open")
        try:
            answer = await self._send(self._session, request)
        except _HungUpError:
            answer = None
        if answer is not None and not answer.gave_up_waiting:
            return answer
        async with _open_session(0) as fresh:
            try:
                return await self._send(fresh, request)
            except _HungUpError as error:
                raise error.__cause__ or error from None

    async def _send(self, session: aiohttp.ClientSession, request: Request) -> Answer:
        data = request.data
        async with session.request(
            request.method,
            request.url,
            headers=request.headers,
            data=io.BytesIO(data) if data is not None and len(data) > _PLAIN_BYTES else data,
            proxy=self._proxies.find(request.url),
            ssl=request.tls,
            allow_redirects=False,
        ) as response:
            body = b"" if 200 <= response.status < 300 else await _read_beginning(response)
            return Answer(response.status, response.headers, body)


def _open_session(keep_idle_s: float) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=HeadFirstConnector(keep_idle_s=keep_idle_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        # Who compresses an answer need not tell its size.
        headers={"Accept-Encoding": "identity", "User-Agent": "cloudslice"},
        timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_S),
        auto_decompress=False,
        middlewares=(_name_hang_ups,),
    )


async def _name_hang_ups(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Hides a lost connection from aiohttp, which would send again on one that is as old."""
    try:
        return await send(request)
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
        raise
    except aiohttp.ClientConnectionError as error:
        raise _HungUpError from error


async def _read_beginning(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for piece in response.content.iter_any():
                body += piece
                if len(body) >= _BODY_BYTES:
                    break
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass  # the status is there, and what came of the body
    return bytes(body[:_BODY_BYTES])
