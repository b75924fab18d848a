"""The lite side of ICE (RFC 8445, 2.5) on a port that many sessions share.

A lite agent sends no checks of its own: it answers the peer's, which prove that the peer knows the
session's password and receives at its address, and takes the address that the peer nominates. Every
anchor sends one every few seconds for as long as it is there, so they are read here, without more
of STUN (RFC 8489) than they need.
"""

import hmac
import secrets
import socket
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

Address = tuple[str, int] | tuple[str, int, int, int]
"""A socket address as `recvfrom` gives it: two members for IPv4, four for IPv6."""

_HEADER = struct.Struct(">HHI12s")
"""Type, length of what follows, magic cookie, transaction id (RFC 8489, 5)."""
_ATTRIBUTE = struct.Struct(">HH")
_BINDING_REQUEST, _BINDING_RESPONSE, _BINDING_ERROR = 0x0001, 0x0101, 0x0111
_COOKIE = 0x2112A442
_COOKIE_BYTES = _COOKIE.to_bytes(4)
_USERNAME, _MESSAGE_INTEGRITY, _ERROR_CODE, _XOR_MAPPED_ADDRESS = 0x0006, 0x0008, 0x0009, 0x0020
_USE_CANDIDATE, _FINGERPRINT, _ICE_CONTROLLED = 0x0025, 0x8028, 0x8029
_INTEGRITY_BYTES = 4 + 20
_FINGERPRINT_BYTES = 4 + 4
_FINGERPRINT_XOR = 0x5354554E
_ROLE_CONFLICT = b"\0\0\x04\x57Role Conflict"


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


@dataclass(frozen=True, slots=True)
class Check:
    """A binding request that names a session.

    Attributes:
        username: the ufrags of both sides.
        is_controlled: whether the sender holds itself for the controlled side.
        is_nominating: whether it chose this address.
    """

    transaction_id: bytes
    username: str
    is_controlled: bool
    is_nominating: bool
    signed: bytes
    """What its signature covers."""
    signature: bytes
    """HMAC-SHA1; empty if there is none."""

    @property
    def addressed_ufrag(self) -> str:
        """Whose session it is for."""
        return self.username.partition(":")[0]


def parse_check(datagram: bytes) -> Check:
    """A connectivity check with its FINGERPRINT, if any, verified.

    Raises:
        StunError: it is something else, or malformed.
    """
    if len(datagram) < _HEADER.size:
        raise StunError("too short for a STUN message")
    kind, length, cookie, transaction_id = _HEADER.unpack_from(datagram)
    if kind != _BINDING_REQUEST or cookie != _COOKIE or length != len(datagram) - _HEADER.size:
        raise StunError("not a binding request")
    username = None
    is_controlled = is_nominating = False
    signed = signature = b""
    for number, value, start in _attributes(datagram):
        if number == _USERNAME:
            username = _decode(value)
        elif number == _ICE_CONTROLLED:
            is_controlled = True
        elif number == _USE_CANDIDATE:
            is_nominating = True
        elif number == _MESSAGE_INTEGRITY:
            # The length is that of a message which ends here (RFC 8489, 14.5).
            end = start + _INTEGRITY_BYTES - _HEADER.size
            signed = datagram[:2] + end.to_bytes(2) + datagram[4:start]
            signature = value
        elif number == _FINGERPRINT and value != _fingerprint(datagram[:start]):
            raise StunError("wrong FINGERPRINT")
    if username is None or ":" not in username:
        raise StunError("binding request without USERNAME")
    return Check(transaction_id, username, is_controlled, is_nominating, signed, signature)


@dataclass(frozen=True, slots=True)
class CheckAnswer:
    """What a connectivity check leads to: the response, and whether its address is nominated."""

    response: bytes
    is_valid: bool
    is_nominated: bool


def answer_check(
    check: Check, local: IceCredentials, remote_ufrag: str, source: Address
) -> CheckAnswer:
    """Answer a check that names `local`'s ufrag.

    Raises:
        StunError: it is not signed with our password, or not from the announced peer.
    """
    key = local.password.encode()
    if not hmac.compare_digest(check.signature, hmac.digest(key, check.signed, "sha1")):
        raise StunError("binding request with a wrong MESSAGE-INTEGRITY")
    if check.username != f"{local.ufrag}:{remote_ufrag}":
        raise StunError("binding request from another peer")
    if check.is_controlled:
        # RFC 8445, 7.3.1.1: a lite agent is always controlled, so the peer must switch roles.
        attribute = _pack(_ERROR_CODE, _ROLE_CONFLICT)
        response = _respond(_BINDING_ERROR, check.transaction_id, attribute, key)
        return CheckAnswer(response, is_valid=False, is_nominated=False)
    attribute = _pack(_XOR_MAPPED_ADDRESS, _xor_address(source, check.transaction_id))
    response = _respond(_BINDING_RESPONSE, check.transaction_id, attribute, key)
    return CheckAnswer(response, is_valid=True, is_nominated=check.is_nominating)


def _attributes(datagram: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Type, value and place of each, up to a signature; behind it only a FINGERPRINT counts (RFC
    8489, 14.5)."""
    at, end = _HEADER.size, len(datagram)
    is_signed = False
    while at < end:
        if at + _ATTRIBUTE.size > end:
            raise StunError("an attribute is cut off")
        number, length = _ATTRIBUTE.unpack_from(datagram, at)
        value = datagram[at + 4 : at + 4 + length]
        if len(value) < length:
            raise StunError("an attribute is cut off")
        if not is_signed or number == _FINGERPRINT:
            yield number, value, at
        is_signed |= number == _MESSAGE_INTEGRITY
        at += 4 + length + -length % 4


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise StunError("USERNAME is not UTF-8") from error


def _xor_address(source: Address, transaction_id: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS (RFC 8489, 14.2)."""
    is_ipv6 = len(source) == 4
    family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    host = socket.inet_pton(family, source[0].partition("%")[0])
    mask = (_COOKIE_BYTES + transaction_id)[: len(host)]
    masked = int.from_bytes(host) ^ int.from_bytes(mask)
    port = source[1] ^ (_COOKIE >> 16)
    return struct.pack(">HH", 2 if is_ipv6 else 1, port) + masked.to_bytes(len(host))


def _respond(kind: int, transaction_id: bytes, attribute: bytes, key: bytes) -> bytes:
    """A message of one attribute, signed and with its FINGERPRINT."""

    def header(length: int) -> bytes:
        return _HEADER.pack(kind, length, _COOKIE, transaction_id)

    length = len(attribute) + _INTEGRITY_BYTES
    signature = hmac.digest(key, header(length) + attribute, "sha1")
    length += _FINGERPRINT_BYTES
    message = header(length) + attribute + _pack(_MESSAGE_INTEGRITY, signature)
    return message + _pack(_FINGERPRINT, _fingerprint(message))


def _pack(number: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(number, len(value)) + value + bytes(-len(value) % 4)


def _fingerprint(message: bytes) -> bytes:
    """Of what precedes it, the length telling of it already (RFC 8489, 14.7)."""
    return (zlib.crc32(message) ^ _FINGERPRINT_XOR).to_bytes(4)
