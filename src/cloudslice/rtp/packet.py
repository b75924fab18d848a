"""RTP packets on the hot path (RFC 3550, 5.1): just the parts that slicing needs."""

import struct
from typing import NamedTuple

HEADER_LENGTH = 12
PLAIN_HEADER = 0x80
"""The flags of a packet whose payload follows the fixed header and ends with the packet."""
Datagram = bytes | memoryview
"""What came from the socket: a view is of a buffer that is overwritten by the next datagram."""

Header = tuple[int, int, int, int, int]
"""Flags, marker and payload type, sequence number, timestamp, SSRC."""
unpack_header = struct.Struct(">BBHII").unpack_from
"""The `Header` of a packet of at least `HEADER_LENGTH` bytes, encrypted or not."""

_ONE_BYTE_PROFILE = 0xBEDE
_TWO_BYTE_PROFILE = 0x1000


class RtpParseError(Exception):
    """Bytes that are not an RTP packet."""


class RtpPacket(NamedTuple):
    """An RTP packet, taken apart."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    payload: bytes
    """Without padding; may be empty."""
    extensions: bytes
    """The header extension's body, empty if there is none."""
    extension_profile: int


def parse_rtp(packet: bytes) -> RtpPacket:
    """Take an RTP packet apart. Raises RtpParseError."""
    if len(packet) < HEADER_LENGTH or packet[0] >> 6 != 2:
        raise RtpParseError("not an RTP packet")
    flags, second, sequence, timestamp, _ssrc = unpack_header(packet)
    start, end = HEADER_LENGTH, len(packet)
    extensions, profile = b"", 0
    if flags & 0x3F:  # padding, extension or contributing sources
        start += 4 * (flags & 0x0F)
        if flags & 0x10:
            profile = int.from_bytes(packet[start : start + 2])
            length = 4 * int.from_bytes(packet[start + 2 : start + 4])
            extensions = packet[start + 4 : start + 4 + length]
            start += 4 + length
        if flags & 0x20:
            end -= packet[-1]
        if start > end:
            raise RtpParseError("RTP header longer than its packet")
    return RtpPacket(
        second & 0x7F,
        second >= 0x80,
        sequence,
        timestamp,
        packet[start:end],
        extensions,
        profile,
    )


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
