"""The WebSocket to Janus's API: JSON objects both ways."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from cloudslice.http_client import find_proxy
from cloudslice.rooms.janus.janus_errors import SignallingLostError
from cloudslice.rooms.remote.connection_failures import explain_failure
from cloudslice.rooms.remote.room_server import UnreachableError

Message = dict[str, Any]
"""A JSON object. Ids in it have 64 bits, and are whole numbers."""

_PROTOCOL = "janus-protocol"
_HEARTBEAT_S = 8.0
"""A WebSocket is lost that has not answered a ping for half of that."""
_CONNECT_S = 4.0
_CLOSE_S = 1.0
_MAX_MESSAGE = 16 << 20


@dataclass(frozen=True, slots=True)
class JanusAddress:
    """Where a Janus is.

    Attributes:
        url: of its WebSocket, with ws:// or wss://; http:// and https:// stand for these.
        api_secret: what requests carry; none if empty.
    """

    url: str
    api_secret: str = field(repr=False)

    @property
    def socket_url(self) -> URL:
        """Of the WebSocket."""
        url = URL(self.url)
        return url.with_scheme({"http": "ws", "https": "wss"}.get(url.scheme, url.scheme))


class JanusSocket:
    """A WebSocket that may be made again when it is lost.

    Args:
        http: makes it.
        address: where to.
    """

    def __init__(self, http: aiohttp.ClientSession, address: JanusAddress) -> None:
        self._http = http
        self._address = address
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def connect(self) -> None:
        """Open it, instead of a former one.

        Raises:
            UnreachableError
        """
        url, shown = self._address.socket_url, self._address.url
        try:
            async with asyncio.timeout(_CONNECT_S):
                self._socket = await self._http.ws_connect(
                    url,
                    protocols=(_PROTOCOL,),
                    heartbeat=_HEARTBEAT_S,
                    max_msg_size=_MAX_MESSAGE,
                    proxy=find_proxy(url.with_scheme("https" if url.scheme == "wss" else "http")),
                )
        except TimeoutError as error:
            raise UnreachableError(
                f"Janus at {shown} gave no answer in {_CONNECT_S:g} s"
            ) from error
        except aiohttp.WSServerHandshakeError as error:
            raise self._not_janus(f"it answered with HTTP status {error.status}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(f"Janus at {shown} {explain_failure(error)}") from error
        if self._socket.protocol != _PROTOCOL:
            await self.close()
            raise self._not_janus(f"it does not speak {_PROTOCOL}")

    async def send(self, message: Message) -> None:
        """Send a message, with the secret that requests carry.

        Raises:
            SignallingLostError
        """
        if self._socket is None or self._socket.closed:
            raise self.lost()
        if self._address.api_secret:
            message = message | {"apisecret": self._address.api_secret}
        try:
            await self._socket.send_str(json.dumps(message))
        except (aiohttp.ClientError, OSError) as error:
            raise self.lost() from error

    async def receive(self) -> Message | None:
        """The next message; None: the WebSocket has ended."""
        while self._socket is not None:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                try:
                    content = json.loads(message.data)
                except ValueError:
                    continue
                if isinstance(content, dict):
                    return content
            elif message.type is not aiohttp.WSMsgType.BINARY:
                return None
        return None

    async def close(self) -> None:
        """Close it, if it is open."""
        if self._socket is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._socket.close()

    def _not_janus(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"Janus at {self._address.url} does not answer as Janus's WebSocket does ({why}): "
            "is the URL right?"
        )

    def lost(self) -> SignallingLostError:
        """What to raise when it is lost."""
        return SignallingLostError(f"the connection to Janus at {self._address.url} is lost")
