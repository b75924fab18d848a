"""RTP without encryption, for receivers that are tested alone."""

import struct
from collections.abc import Sequence
from typing import cast

from cloudslice.rtp.packet import unpack_header
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.srtp import SrtpContext, SrtpError

SSRC = 0x1234


def rtp_packet(
    sequence: int,
    timestamp: int,
    payload: bytes = b"\x01",
    *,
    payload_type: int = 111,
    marker: bool = False,
    ssrc: int = SSRC,
    extension: bytes = b"",
) -> bytes:
    """An RTP packet; `extension` is the whole header extension (RFC 3550, 5.3.1), if any."""
    return (
        struct.pack(
            ">BBHII",
            0x90 if extension else 0x80,
            marker << 7 | payload_type,
            sequence & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            ssrc,
        )
        + extension
        + payload
    )


def feed(receiver: Receiver, packet: bytes, arrival: float) -> None:
    """Have a receiver take in a packet, as its session would."""
    receiver.receive(unpack_header(packet), packet, arrival)


def one_byte_extension(*elements: tuple[int, bytes]) -> bytes:
    """A header extension of one-byte elements (RFC 8285, 4.2)."""
    body = b"".join(bytes([number << 4 | len(data) - 1]) + data for number, data in elements)
    body += bytes(-len(body) % 4)
    return struct.pack(">HH", 0xBEDE, len(body) // 4) + body


class ClearSrtp:
    """An SrtpContext that encrypts nothing; packets that start with 0xFF are not authentic."""

    def __init__(self) -> None:
        self.opened = 0
        self.forgotten: list[int] = []

    def unprotect(self, packet: bytes) -> bytes:
        if packet[:1] == b"\xff":
            raise SrtpError("authentication failure")
        self.opened += 1
        return packet

    def forget(self, ssrc: int) -> None:
        self.forgotten.append(ssrc)

    @property
    def context(self) -> SrtpContext:
        return cast(SrtpContext, self)


class RecordingSink:
    """An AudioSink that keeps what it is told."""

    def __init__(self) -> None:
        self.packets: list[tuple[bytes, int, float]] = []
        self.restarts: list[int] = []
        """How many packets had come at each restart."""
        self.sender_times: list[tuple[int, float]] = []

    @property
    def payloads(self) -> list[bytes]:
        return [payload for payload, _timestamp, _arrival in self.packets]

    @property
    def timestamps(self) -> list[int]:
        return [timestamp for _payload, timestamp, _arrival in self.packets]

    def on_opus(self, payload: bytes, timestamp: int, arrival: float) -> None:
        self.packets.append((payload, timestamp, arrival))

    def on_restart(self) -> None:
        self.restarts.append(len(self.packets))

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        self.sender_times.append((timestamp, utc_ms))


class BrokenSink:
    """An AudioSink with a bug."""

    def on_opus(self, payload: bytes, timestamp: int, arrival: float) -> None:
        raise RuntimeError("a bug in on_opus")

    def on_restart(self) -> None:
        raise RuntimeError("a bug in on_restart")

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        raise RuntimeError("a bug in on_sender_time")


def runs(sequences: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (first, last) of each unbroken run."""
    found: list[tuple[int, int]] = []
    for each in sequences:
        if found and found[-1][1] + 1 == each:
            found[-1] = (found[-1][0], each)
        else:
            found.append((each, each))
    return found
