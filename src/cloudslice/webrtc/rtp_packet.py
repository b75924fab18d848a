"""RTP packets (RFC 3550, 5.1): the parts that slicing needs."""

from typing import NamedTuple

_ONE_BYTE_PROFILE = 0xBEDE
_TWO_BYTE_PROFILE = 0x1000


class RtpPacket(NamedTuple):
    """An RTP packet, decrypted and taken apart."""

    payload_type: int
    marker: bool
    sequence: int
    """Extended, if its SSRC is a stream's."""
    timestamp: int
    payload: bytes
    """Without padding; may be empty."""
    arrival: float
    """Monotonic second."""
    extensions: bytes
    """The header extension's body, empty if there is none."""
    extension_profile: int


def find_extension(packet: RtpPacket, identifier: int) -> bytes | None:
    """The header extension element `identifier` (RFC 8285), or None if it is not there."""
    body, position = packet.extensions, 0
    is_two_byte = packet.extension_profile & 0xFFF0 == _TWO_BYTE_PROFILE
    if not is_two_byte and packet.extension_profile != _ONE_BYTE_PROFILE:
        return None
    while position < len(body):
        if body[position] == 0:
            position += 1
            continue
        if is_two_byte:
            if position + 1 >= len(body):
                return None
            found, length = body[position], body[position + 1]
            position += 2
        else:
            found, length = body[position] >> 4, (body[position] & 0x0F) + 1
            position += 1
            if found == 15:
                return None
        if found == identifier:
            return body[position : position + length]
        position += length
    return None
