"""A peer of the native library, and a sender that protects its packets by the real libsrtp."""

import ctypes
import socket
import struct
from collections.abc import Iterable, Iterator

from cloudslice.webrtc import srtp
from cloudslice.webrtc.native import PeerState
from cloudslice.webrtc.native.native_events import (
    Event,
    Missing,
    Packet,
    Refused,
    Run,
    Unknown,
)
from cloudslice.webrtc.native.native_port import NativePeer, NativePort, NativeStream, StreamKind
from cloudslice.webrtc.srtp import PROFILES, SrtpContext, SrtpKeys

PATH = struct.pack("=H", socket.AF_INET) + b"\x13\x88\xc0\x00\x02\x01" + bytes(36)
"""192.0.2.1:5000, to any address of ours."""
OTHER_PATH = struct.pack("=H", socket.AF_INET) + b"\x13\x89\xc0\x00\x02\x01" + bytes(36)
AUDIO_SSRC, VIDEO_SSRC = 0xA0, 0xB0
OPUS, H264 = 111, 102
_FRAME_20_MS = b"\xf8"
"""The TOC byte of a CELT frame of 20 ms."""


def rtp(
    ssrc: int,
    sequence: int,
    timestamp: int,
    payload: bytes,
    *,
    payload_type: int = OPUS,
    marker: bool = False,
) -> bytes:
    """An RTP packet (RFC 3550, 5.1)."""
    second = marker << 7 | payload_type
    header = (0x80, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    return struct.pack(">BBHII", *header) + payload


def srtp_pair() -> tuple[SrtpContext, SrtpContext]:
    """Both sides of one association."""
    profile = PROFILES[0]
    size = profile.key_length + profile.salt_length
    keys = bytes(range(size)), bytes(range(100, 100 + size))
    return (
        SrtpContext(SrtpKeys(profile.libsrtp_profile, local=keys[0], remote=keys[1])),
        SrtpContext(SrtpKeys(profile.libsrtp_profile, local=keys[1], remote=keys[0])),
    )


def protect_large(context: SrtpContext, packet: bytes) -> bytes:
    """By libsrtp itself: its Python binding has a buffer of 2 KB."""
    protect = srtp._libsrtp.srtp_protect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))
    session = int(srtp.ffi.cast("uintptr_t", context._outbound._srtp[0]))
    buffer = ctypes.create_string_buffer(packet, len(packet) + 64)
    length = ctypes.c_int(len(packet))
    assert protect(session, buffer, ctypes.byref(length)) == 0
    return buffer.raw[: length.value]


class SrtpReader:
    """Opens the SRTP packets of a context's peer, whatever their SSRCs."""

    def __init__(self, srtp: SrtpContext) -> None:
        self._port = NativePort(1)
        self._peer = NativePeer(self._port, owner=1)
        self._peer.add_path(PATH)
        self._peer.set_srtp(srtp)

    @property
    def state(self) -> PeerState:
        """What was refused is counted here."""
        return self._peer.state

    def open(self, packet: bytes) -> bytes | None:
        """The RTP packet in an SRTP packet without extensions; None if it is refused."""
        assert self._port.put(packet, PATH, 0.0)
        found: list[Event] = []
        while new := list(self._port.process(0.0)):
            found += new
        self._port.clear()
        return next((packet[:12] + each.packet.payload for each in unknown(found)), None)


class Receiving:
    """A port with one peer, and what comes of the packets that are put in."""

    def __init__(self, *, slots: int = 4096) -> None:
        self.sender, self.srtp = srtp_pair()
        self.port = NativePort(slots)
        self.peer = NativePeer(self.port, owner=7)
        self.peer.add_path(PATH)
        self.peer.set_srtp(self.srtp)
        self.events: list[Event] = []
        self.now = 0.0

    def close(self) -> None:
        self.peer.close()
        self.port.close()

    def audio(self, *, attempts: int = 3, patience_s: float = 0.7, track: int = 1) -> NativeStream:
        return self.peer.add_stream(
            AUDIO_SSRC,
            track,
            StreamKind.AUDIO,
            clock_rate=48_000,
            payload_types=(OPUS,),
            attempts=attempts,
            patience_s=patience_s,
        )

    def video(self, *, attempts: int = 5) -> NativeStream:
        return self.peer.add_stream(
            VIDEO_SSRC, 2, StreamKind.VIDEO, clock_rate=90_000, attempts=attempts
        )

    def put(self, *packets: bytes, arrival: float | None = None, path: bytes = PATH) -> None:
        """Have packets come, protected already."""
        for each in packets:
            assert self.port.put(each, path, self.now if arrival is None else arrival)

    def protect(self, packet: bytes) -> bytes:
        return self.sender.protect(packet)

    def process(self, now: float | None = None) -> list[Event]:
        """Take in what came; these events, which are kept in `events`, too."""
        self.now = self.now if now is None else now
        found: list[Event] = []
        while new := list(self.port.process(self.now)):
            found += new
        self.port.clear()
        self.events += found
        return found

    def flush(self) -> list[Event]:
        found: list[Event] = []
        while new := list(self.port.flush(self.peer)):
            found += new
        self.events += found
        return found


class OpusSender:
    """Protected packets of 20 ms, one after the other."""

    def __init__(self, receiving: Receiving, *, sequence: int = 0, timestamp: int = 0) -> None:
        self._receiving = receiving
        self.sequence = sequence
        self.timestamp = timestamp

    def packet(self, payload: bytes | None = None) -> bytes:
        """The next one."""
        if payload is None:
            payload = _FRAME_20_MS + struct.pack(">Q", self.sequence)
        packet = rtp(AUDIO_SSRC, self.sequence, self.timestamp, payload)
        self.sequence += 1
        self.timestamp += 960
        return self._receiving.protect(packet)

    def packets(self, count: int) -> list[bytes]:
        return [self.packet() for _ in range(count)]


def numbers(events: Iterable[Event]) -> list[int]:
    """The sequence numbers in the payloads of an `OpusSender`'s packets."""
    return [number for run in runs(events) for number in _numbers(run)]


def _numbers(event: Run) -> Iterator[int]:
    for packet in event.run.packets():
        yield struct.unpack(">Q", packet[1:9])[0]


def runs(events: Iterable[Event]) -> list[Run]:
    return [each for each in events if isinstance(each, Run)]


def packets(events: Iterable[Event]) -> list[Packet]:
    return [each for each in events if isinstance(each, Packet)]


def missing(events: Iterable[Event]) -> list[int]:
    return [number for each in events if isinstance(each, Missing) for number in each.sequences]


def unknown(events: Iterable[Event]) -> list[Unknown]:
    return [each for each in events if isinstance(each, Unknown)]


def refused(events: Iterable[Event]) -> list[Refused]:
    return [each for each in events if isinstance(each, Refused)]
