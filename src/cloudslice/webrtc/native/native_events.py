"""What the native library has made of datagrams: its events as Python's objects, which outlive its
memory."""

import struct
from collections.abc import Callable, Iterator
from ctypes import string_at
from typing import Any, NamedTuple

from cloudslice.media.tracks import Levels, OpusRun
from cloudslice.webrtc.native import EVENT, PATH_BYTES
from cloudslice.webrtc.rtp_packet import RtpPacket

_RUN, _PACKET, _UNKNOWN, _REFUSED, _OTHER, _STRANGER, _MISSING = range(1, 8)


class Run(NamedTuple):
    """Opus packets that follow each other without a gap."""

    owner: int
    track: int
    run: OpusRun


class Packet(NamedTuple):
    """A packet of a video that is read."""

    owner: int
    track: int
    packet: RtpPacket


class Unknown(NamedTuple):
    """An authentic packet of an SSRC that is no stream's. It is dropped unless the next `process`
    finds a stream of that SSRC."""

    owner: int
    ssrc: int
    packet: RtpPacket


class Refused(NamedTuple):
    """A packet of an unknown SSRC that is not authentic with the roll-over counter 0. It is
    dropped unless it is authentic at the next `process`."""

    owner: int
    ssrc: int
    sequence: int
    """16 bits."""


class Datagram(NamedTuple):
    """What came on a peer's path and is no RTP: STUN, DTLS, SRTCP."""

    owner: int
    data: bytes
    path: bytes
    arrival: float


class Stranger(NamedTuple):
    """A datagram of an unknown path. RTP may be adopted by a peer before the next `process`."""

    data: bytes
    path: bytes
    arrival: float
    ssrc: int
    slot: int
    reading: int


class Missing(NamedTuple):
    """Packets to ask for again, by extended sequence numbers, ascending."""

    owner: int
    track: int
    sequences: tuple[int, ...]


Event = Run | Packet | Unknown | Refused | Datagram | Stranger | Missing


def take_events(address: int, count: int) -> Iterator[Event]:
    """The first `count` events at an address in memory."""
    for fields in EVENT.iter_unpack(string_at(address, count * EVENT.size)):
        make = _MAKERS[fields[18]]
        yield make(fields)


def _run(fields: tuple[Any, ...]) -> Run:
    data, sizes, _, _, _, timestamp, arrival, last, earliest, owner, track, size, count = fields[
        :13
    ]
    packet_sizes = memoryview(string_at(sizes, 2 * count)).cast("H").tolist()
    lost, energy, leveled, voiced, peak = fields[21:]
    levels = Levels(leveled, voiced, peak, energy) if leveled else None
    run = OpusRun(
        string_at(data, size), packet_sizes, timestamp, arrival, last, earliest, lost, levels
    )
    return Run(owner, track, run)


def _rtp(fields: tuple[Any, ...]) -> RtpPacket:
    (
        data, _, extension, _, sequence, timestamp, arrival, _, _, _, _, size, _, _, _, _,
        extension_size, profile, _, payload_type, marker, _, _, _, _, _,
    ) = fields  # fmt: skip
    return RtpPacket(
        payload_type,
        marker,
        sequence,
        timestamp,
        string_at(data, size),
        arrival,
        string_at(extension, extension_size) if extension_size else b"",
        profile,
    )


def _packet(fields: tuple[Any, ...]) -> Packet:
    return Packet(fields[9], fields[10], _rtp(fields))


def _unknown(fields: tuple[Any, ...]) -> Unknown:
    return Unknown(fields[9], fields[13], _rtp(fields))


def _refused(fields: tuple[Any, ...]) -> Refused:
    return Refused(fields[9], fields[13], fields[4])


def _datagram(fields: tuple[Any, ...]) -> Datagram:
    return Datagram(
        fields[9], string_at(fields[0], fields[11]), string_at(fields[3], PATH_BYTES), fields[6]
    )


def _stranger(fields: tuple[Any, ...]) -> Stranger:
    data, path = string_at(fields[0], fields[11]), string_at(fields[3], PATH_BYTES)
    return Stranger(data, path, fields[6], *fields[13:16])


def _missing(fields: tuple[Any, ...]) -> Missing:
    sequences = struct.unpack(f"={fields[12]}q", string_at(fields[1], 8 * fields[12]))
    return Missing(fields[9], fields[10], sequences)


_MAKERS: dict[int, Callable[[tuple[Any, ...]], Event]] = {
    _RUN: _run,
    _PACKET: _packet,
    _UNKNOWN: _unknown,
    _REFUSED: _refused,
    _OTHER: _datagram,
    _STRANGER: _stranger,
    _MISSING: _missing,
}
