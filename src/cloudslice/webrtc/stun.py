"""STUN messages (RFC 8489) as connectivity checks use them (RFC 8445, 7): read and written.

Every peer sends a check every few seconds for as long as it is there, so a message is read in one
pass and nothing of it is decoded that no check needs. Attributes that are not known are passed
over: a peer of WebRTC puts many into its checks.
"""

import hmac
import struct
import zlib
from enum import IntEnum

from cloudslice.webrtc.udp.paths import Path, remote_bytes

_HEADER = struct.Struct(">HHI12s")
"""Type, length of what follows, magic cookie, transaction id (RFC 8489, 5)."""
_HEADER_BYTES = 20
_COOKIE = 0x2112A442
_COOKIE_BYTES = _COOKIE.to_bytes(4)
_ATTRIBUTE = struct.Struct(">HH")
_UINT32 = struct.Struct(">I")
_UINT64 = struct.Struct(">Q")

_USERNAME, _MESSAGE_INTEGRITY, _ERROR_CODE, _XOR_MAPPED_ADDRESS = 0x0006, 0x0008, 0x0009, 0x0020
_PRIORITY, _USE_CANDIDATE = 0x0024, 0x0025
_FINGERPRINT, _ICE_CONTROLLED, _ICE_CONTROLLING = 0x8028, 0x8029, 0x802A
_LENGTHS = {
    _MESSAGE_INTEGRITY: 20,
    _PRIORITY: 4,
    _USE_CANDIDATE: 0,
    _FINGERPRINT: 4,
    _ICE_CONTROLLED: 8,
    _ICE_CONTROLLING: 8,
}
"""Of values that have but one length."""
_INTEGRITY_BYTES = 4 + 20
_FINGERPRINT_BYTES = 4 + 4
_FINGERPRINT_XOR = 0x5354554E
_INTEGRITY_HEADER = _ATTRIBUTE.pack(_MESSAGE_INTEGRITY, 20)
_FINGERPRINT_HEADER = _ATTRIBUTE.pack(_FINGERPRINT, 4)
_MAPPED_IPV4 = _ATTRIBUTE.pack(_XOR_MAPPED_ADDRESS, 8) + b"\0\1"
_MAPPED_IPV6 = _ATTRIBUTE.pack(_XOR_MAPPED_ADDRESS, 20) + b"\0\2"
_PORT_MASK = _COOKIE_BYTES[:2] + _COOKIE_BYTES
"""What the port and the beginning of the address are masked with."""

ROLE_CONFLICT = 487
"""The error code by which a peer is told to switch roles (RFC 8445, 7.3.1.1)."""


class StunError(Exception):
    """A datagram that is not a STUN message of a connectivity check, or a malformed one."""


class StunKind(IntEnum):
    """The types of messages that connectivity checks use."""

    REQUEST = 0x0001
    RESPONSE = 0x0101
    ERROR = 0x0111


_KINDS = {int(kind): kind for kind in StunKind}
_REQUEST, _RESPONSE, _ERROR = (kind.to_bytes(2) for kind in StunKind)


class StunMessage:
    """A message that was received; `parse` makes it. Nothing in it is authentic before
    `is_signed_with` has said so."""

    __slots__ = (
        "_datagram",
        "error_code",
        "is_controlling",
        "is_nominating",
        "kind",
        "priority",
        "signature_at",
        "tie_breaker",
        "transaction_id",
        "username",
    )

    def __init__(self, kind: StunKind, transaction_id: bytes, datagram: bytes) -> None:
        self.kind = kind
        self.transaction_id = transaction_id
        self.username = b""
        """The ufrags of the receiver and the sender, with a colon between; empty if missing."""
        self.priority: int | None = None
        """That of the candidate which the receiver learns by this request."""
        self.is_nominating = False
        """Whether the request has USE-CANDIDATE."""
        self.is_controlling: bool | None = None
        """The role that the sender holds itself for; None: it does not say."""
        self.tie_breaker = 0
        self.error_code: int | None = None
        self._datagram = datagram
        self.signature_at = 0
        """Where MESSAGE-INTEGRITY begins; 0: there is none."""

    @property
    def addressed_ufrag(self) -> str:
        """Whom a request is for: the receiver's ufrag."""
        return self.username.partition(b":")[0].decode("latin-1")

    def is_signed_with(self, key: bytes) -> bool:
        """Whether MESSAGE-INTEGRITY is there, and made with this password."""
        at = self.signature_at
        if not at:
            return False
        datagram = self._datagram
        # The length is that of a message which ends with the signature (RFC 8489, 14.5).
        length = (at + _INTEGRITY_BYTES - _HEADER_BYTES).to_bytes(2)
        signed = b"%b%b%b" % (datagram[:2], length, datagram[4:at])
        signature = datagram[at + 4 : at + _INTEGRITY_BYTES]
        return hmac.compare_digest(signature, hmac.digest(key, signed, "sha1"))


def parse(datagram: bytes) -> StunMessage:
    """Read a binding request, response or error. A FINGERPRINT, if there is one, is verified; a
    signature is not.

    Raises:
        StunError: it is something else, or malformed.
    """
    end = len(datagram)
    if end < _HEADER_BYTES:
        raise StunError("too short for a STUN message")
    number, length, cookie, transaction_id = _HEADER.unpack_from(datagram)
    kind = _KINDS.get(number)
    if kind is None or cookie != _COOKIE or length != end - _HEADER_BYTES:
        raise StunError("not a STUN binding message")
    message = StunMessage(kind, transaction_id, datagram)
    at = _HEADER_BYTES
    while at < end:
        if at + 4 > end:
            raise StunError("an attribute is cut off")
        number, length = _ATTRIBUTE.unpack_from(datagram, at)
        after = at + 4 + length + -length % 4
        if after > end:
            raise StunError("an attribute is cut off")
        if _LENGTHS.get(number, length) != length:
            raise StunError(f"attribute {number:#06x} has {length} bytes")
        if number == _FINGERPRINT:
            if datagram[at + 4 : after] != _fingerprint(datagram[:at]) or after != end:
                raise StunError("wrong FINGERPRINT")
        # Behind a signature only a FINGERPRINT counts (RFC 8489, 14.5).
        elif not message.signature_at:
            _take(message, number, datagram, at, length)
        at = after
    return message


def _take(message: StunMessage, number: int, datagram: bytes, at: int, length: int) -> None:
    """Take in one attribute."""
    if number == _MESSAGE_INTEGRITY:
        message.signature_at = at
    elif number == _USERNAME:
        message.username = datagram[at + 4 : at + 4 + length]
    elif number == _PRIORITY:
        message.priority = _UINT32.unpack_from(datagram, at + 4)[0]
    elif number == _USE_CANDIDATE:
        message.is_nominating = True
    elif number in (_ICE_CONTROLLED, _ICE_CONTROLLING):
        message.is_controlling = number == _ICE_CONTROLLING
        message.tie_breaker = _UINT64.unpack_from(datagram, at + 4)[0]
    elif number == _ERROR_CODE:
        if length < 4:
            raise StunError("ERROR-CODE is too short")
        # RFC 8489, 14.8: hundreds, and the rest.
        message.error_code = (datagram[at + 6] & 7) * 100 + datagram[at + 7]


def build_request(
    transaction_id: bytes,
    *,
    username: bytes,
    key: bytes,
    priority: int,
    is_controlling: bool,
    tie_breaker: int,
    is_nominating: bool,
) -> bytes:
    """A connectivity check (RFC 8445, 7.2.2).

    Args:
        transaction_id: 12 random bytes.
        username: the ufrags of the receiver and of ourselves, with a colon between.
        key: the receiver's password.
        priority: of the candidate that the receiver may learn by the check.
        tie_breaker: 64 bits.
    """
    role = _ICE_CONTROLLING if is_controlling else _ICE_CONTROLLED
    attributes = (
        _pack(_USERNAME, username)
        + _pack(_PRIORITY, _UINT32.pack(priority))
        + _pack(role, _UINT64.pack(tie_breaker))
        + (_pack(_USE_CANDIDATE, b"") if is_nominating else b"")
    )
    return _sign(_REQUEST, transaction_id, attributes, key)


def build_response(transaction_id: bytes, path: Path, key: bytes) -> bytes:
    """The answer to a valid check that came on `path`, signed with our password."""
    host, port = remote_bytes(path)
    # RFC 8489, 14.2: masked, so that no NAT rewrites it.
    value = int.from_bytes(port + host)
    mask = int.from_bytes((_PORT_MASK + transaction_id)[: 2 + len(host)])
    header = _MAPPED_IPV4 if len(host) == 4 else _MAPPED_IPV6
    attribute = header + (value ^ mask).to_bytes(2 + len(host))
    return _sign(_RESPONSE, transaction_id, attribute, key)


def build_error(transaction_id: bytes, code: int, reason: str, key: bytes) -> bytes:
    """The refusal of a check, signed with our password. `code`: 300..699."""
    value = bytes((0, 0, code // 100, code % 100)) + reason.encode()
    return _sign(_ERROR, transaction_id, _pack(_ERROR_CODE, value), key)


def _sign(kind: bytes, transaction_id: bytes, attributes: bytes, key: bytes) -> bytes:
    """A message with MESSAGE-INTEGRITY and FINGERPRINT."""
    length = len(attributes) + _INTEGRITY_BYTES
    body = _COOKIE_BYTES + transaction_id + attributes
    signature = hmac.digest(key, kind + length.to_bytes(2) + body, "sha1")
    length += _FINGERPRINT_BYTES
    message = kind + length.to_bytes(2) + body + _INTEGRITY_HEADER + signature
    return message + _FINGERPRINT_HEADER + _fingerprint(message)


def _pack(number: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(number, len(value)) + value + bytes(-len(value) % 4)


def _fingerprint(message: bytes) -> bytes:
    """Of what precedes it, the length telling of it already (RFC 8489, 14.7)."""
    return (zlib.crc32(message) ^ _FINGERPRINT_XOR).to_bytes(4)
