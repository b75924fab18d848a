"""What a peer connection is to those who use it: how it behaves, where it is, why it has ended."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cloudslice.webrtc.accepting import ReceivePolicy


class ConnectionState(Enum):
    """Where a connection is on its way; it never goes back."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"


class CloseReason(Enum):
    """Why a connection ended."""

    LEFT = "left"
    """The peer said goodbye."""
    LOST = "lost"
    """Nothing authentic came from the peer for too long."""
    FAILED = "failed"
    """The connection was never made."""
    ENDED = "ended"
    """We ended it."""


class ConnectionUser(Protocol):
    """Who uses a connection. Called on the event loop; must not block."""

    def on_connected(self) -> None:
        """Media can come. Called once."""
        ...

    def on_closed(self, reason: CloseReason, failure: str) -> None:
        """The connection has ended, whoever ended it. Called once.

        Args:
            reason: why.
            failure: what went wrong with the transport; empty if nothing did.
        """
        ...


class RtcpListener(Protocol):
    """Hears what the peer says of the media that we send. Called on the event loop."""

    def on_rtcp(self, packet: bytes) -> None:
        """An RTCP compound packet has come that is surely the peer's."""
        ...


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How a connection behaves.

    Attributes:
        policy: what is received, and whether we are ICE-lite.
        consent_timeout_s: the peer is lost when nothing authentic came for so long.
        is_controlling: whether a full ICE agent of ours chooses the path.
    """

    policy: ReceivePolicy
    consent_timeout_s: float
    is_controlling: bool = False
