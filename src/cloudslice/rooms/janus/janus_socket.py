"""The WebSocket to Janus's API: JSON objects both ways."""

import asyncio
import json
from contextlib import suppress

import aiohttp

from cloudslice.http_client import find_proxy
from cloudslice.rooms.janus.janus_channel import JanusAddress, Message
from cloudslice.rooms.janus.janus_errors import SignallingLostError
from cloudslice.rooms.remote.connection_failures import explain_failure
from cloudslice.rooms.remote.room_server import UnreachableError

_PROTOCOL = "janus-protocol"
_HEARTBEAT_S = 8.0
"""A WebSocket is lost that has not answered a ping for half of that."""
_CONNECT_S = 4.0
_CLOSE_S = 1.0
_MAX_MESSAGE = 16 << 20


class JanusSocket:
    """A `JanusChannel` of one WebSocket after the other.

    Args:
        http: makes it.
        address: where to.
    """

    def __init__(self, http: aiohttp.ClientSession, address: JanusAddress) -> None:
        self._http = http
        self._address = address
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def connect(self) -> None:
        """See `JanusChannel`."""
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
        """See `JanusChannel`."""
        if self._socket is None or self._socket.closed:
            raise SignallingLostError(self._address.url)
        if self._address.api_secret:
            message = message | {"apisecret": self._address.api_secret}
        try:
            await self._socket.send_str(json.dumps(message))
        except (aiohttp.ClientError, OSError) as error:
            raise SignallingLostError(self._address.url) from error

    async def receive(self) -> Message | None:
        """See `JanusChannel`."""
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
        """See `JanusChannel`."""
        if self._socket is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._socket.close()

    def _not_janus(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"Janus at {self._address.url} does not answer as Janus's WebSocket does ({why}): "
            "is the URL right?"
        )
