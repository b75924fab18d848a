"""What a session with Janus is carried by: one of Janus's transports."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from yarl import URL

Message = dict[str, Any]
"""A JSON object. Ids in it have 64 bits, and are whole numbers."""


@dataclass(frozen=True, slots=True)
class JanusAddress:
    """Where a Janus is.

    Attributes:
        url: of its WebSocket, with ws:// or wss://; or with http:// or https://, of its HTTP
            transport, or of a WebSocket all the same.
        api_secret: what requests carry; none if empty.
    """

    url: str
    api_secret: str = field(repr=False)

    @property
    def may_be_http(self) -> bool:
        """Whether the URL may be that of Janus's HTTP transport."""
        return URL(self.url).scheme in ("http", "https")

    @property
    def socket_url(self) -> URL:
        """Of the WebSocket."""
        url = URL(self.url)
        return url.with_scheme({"http": "ws", "https": "wss"}.get(url.scheme, url.scheme))


class JanusChannel(Protocol):
    """Carries JSON objects both ways. It may be made again when it is lost."""

    async def connect(self) -> None:
        """Make it, instead of a former one. Raises UnreachableError."""

    async def send(self, message: Message) -> None:
        """Send a message, with the secret that requests carry. Raises SignallingLostError."""

    async def receive(self) -> Message | None:
        """The next message; None: it is lost."""

    async def close(self) -> None:
        """End it, if it is there."""
