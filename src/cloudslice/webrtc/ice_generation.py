"""What both sides of an ICE connection know of each other until the next restart."""

import secrets

from cloudslice.webrtc import stun
from cloudslice.webrtc.candidates import PEER_REFLEXIVE_PRIORITY, IceCredentials
from cloudslice.webrtc.udp.paths import Path


class IceRole:
    """Which side nominates (RFC 8445, 6.1.1), and how a conflict is decided."""

    def __init__(self, *, is_controlling: bool) -> None:
        self.is_controlling = is_controlling
        self.tie_breaker = secrets.randbits(64)

    def switch(self) -> None:
        """Take the other role, with a new tie-breaker (RFC 8445, 7.2.5.1)."""
        self.is_controlling = not self.is_controlling
        self.tie_breaker = secrets.randbits(64)


class IceGeneration:
    """The credentials of both sides; the messages that they sign, and those they prove."""

    def __init__(self) -> None:
        self.local = IceCredentials.generate()
        self.remote: IceCredentials | None = None
        self._local_key = self.local.password.encode()
        self._remote_key = b""
        self._incoming = f"{self.local.ufrag}:".encode()
        """The USERNAME of the peer's requests, or what it begins with while the peer is unknown."""
        self._outgoing = b""

    def set_remote(self, remote: IceCredentials) -> None:
        """Learn the peer's credentials."""
        self.remote = remote
        self._remote_key = remote.password.encode()
        self._incoming = f"{self.local.ufrag}:{remote.ufrag}".encode()
        self._outgoing = f"{remote.ufrag}:{self.local.ufrag}".encode()

    def is_addressed(self, request: stun.StunMessage) -> bool:
        """Whether a request names this generation. While the peer is unknown anybody's does."""
        if self.remote is None:
            return request.username.startswith(self._incoming)
        return request.username == self._incoming

    def proves_request(self, request: stun.StunMessage) -> bool:
        """Whether a request is the peer's, and names this generation."""
        return self.is_addressed(request) and request.is_signed_with(self._local_key)

    def proves_response(self, response: stun.StunMessage) -> bool:
        """Whether a response or error is the peer's."""
        return self.remote is not None and response.is_signed_with(self._remote_key)

    def request(
        self, transaction_id: bytes, role: IceRole, *, is_nominating: bool = False
    ) -> bytes:
        """A check, to be sent to the peer."""
        return stun.build_request(
            transaction_id,
            username=self._outgoing,
            key=self._remote_key,
            priority=PEER_REFLEXIVE_PRIORITY,
            is_controlling=role.is_controlling,
            tie_breaker=role.tie_breaker,
            is_nominating=is_nominating,
        )

    def response(self, request: stun.StunMessage, path: Path) -> bytes:
        """The answer to the peer's check that came on `path`."""
        return stun.build_response(request.transaction_id, path, self._local_key)

    def role_conflict(self, request: stun.StunMessage) -> bytes:
        """The refusal that has the peer switch roles."""
        return stun.build_error(
            request.transaction_id, stun.ROLE_CONFLICT, "Role Conflict", self._local_key
        )
