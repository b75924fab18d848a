"""The lite side of ICE (RFC 8445, 2.5) on a port that many sessions share.

A lite agent sends no checks of its own: it answers the peer's, which prove that the peer knows the
session's password and receives at its address, and takes the address that the peer nominates.
"""

import secrets
import struct
from dataclasses import dataclass, field

from aioice import stun

Address = tuple[str, int] | tuple[str, int, int, int]
"""A socket address as `recvfrom` gives it: two members for IPv4, four for IPv6."""


class StunError(Exception):
    """A datagram that is not a STUN message, or one that is not for us."""


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """``a=ice-ufrag`` and ``a=ice-pwd`` of one side."""

    ufrag: str
    password: str = field(repr=False)

    @classmethod
    def generate(cls) -> "IceCredentials":
        """New random ones (RFC 8445, 5.3: at least 24 and 128 bits)."""
        return cls(secrets.token_hex(8), secrets.token_hex(16))


def parse_stun(datagram: bytes) -> stun.Message:
    """A STUN message with its FINGERPRINT, if any, checked. Raises StunError."""
    try:
        return stun.parse_message(datagram)
    except (ValueError, struct.error) as error:
        raise StunError(f"not a STUN message: {error}") from error


def addressed_ufrag(message: stun.Message) -> str:
    """Whose session a binding request is for: the first half of its USERNAME. Raises StunError."""
    if (message.message_method, message.message_class) != (
        stun.Method.BINDING,
        stun.Class.REQUEST,
    ):
        raise StunError("not a binding request")
    username = message.attributes.get("USERNAME")
    if not isinstance(username, str) or ":" not in username:
        raise StunError("binding request without USERNAME")
    return username.partition(":")[0]


@dataclass(frozen=True, slots=True)
class CheckAnswer:
    """What a connectivity check leads to: the response, and whether its address is nominated."""

    response: bytes
    is_valid: bool
    is_nominated: bool


def answer_check(
    request: stun.Message, local: IceCredentials, remote_ufrag: str, source: Address
) -> CheckAnswer:
    """Answer a binding request that names `local`'s ufrag.

    Raises:
        StunError: it is not signed with our password, or not from the announced peer.
    """
    key = local.password.encode()
    if not request.check_message_integrity(key):
        raise StunError("binding request with a wrong MESSAGE-INTEGRITY")
    if request.attributes["USERNAME"] != f"{local.ufrag}:{remote_ufrag}":
        raise StunError("binding request from another peer")
    if "ICE-CONTROLLED" in request.attributes:
        # RFC 8445, 7.3.1.1: a lite agent is always controlled, so the peer must switch roles.
        response = _response(request, stun.Class.ERROR, key, "ERROR-CODE", (487, "Role Conflict"))
        return CheckAnswer(response, is_valid=False, is_nominated=False)
    response = _response(request, stun.Class.RESPONSE, key, "XOR-MAPPED-ADDRESS", source[:2])
    return CheckAnswer(response, is_valid=True, is_nominated="USE-CANDIDATE" in request.attributes)


def _response(
    request: stun.Message, kind: stun.Class, key: bytes, attribute: str, value: object
) -> bytes:
    response = stun.Message(
        message_method=stun.Method.BINDING,
        message_class=kind,
        transaction_id=request.transaction_id,
        attributes={attribute: value},
    )
    response.add_message_integrity(key)
    return bytes(response)
