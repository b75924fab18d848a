"""RTP without encryption, for receivers that are tested alone."""

import ctypes
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from cloudslice.codecs.opus import packet_samples
from cloudslice.media.tracks import OpusRun
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.ice import Address
from cloudslice.rtp.native import PeerStruct, StreamStruct
from cloudslice.rtp.packet import RtpPacket
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.srtp import SrtpContext

SSRC = 0x1234
SOURCE = b"\x02\x00\x13\x88\xc0\x00\x02\x01" + bytes(20)
"""A raw socket address, as a Batch has it: 192.0.2.1:5000."""

_FORGED = b"this is forged"
_AUTHENTICATION_FAILURE = 7
"""srtp_err_status_auth_fail of srtp.h."""

Unprotect = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)
)
"""libsrtp's srtp_unprotect, as `native.h` has it."""
GetRoc = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32)
)
SetRoc = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)


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


def one_byte_extension(*elements: tuple[int, bytes]) -> bytes:
    """A header extension of one-byte elements (RFC 8285, 4.2)."""
    body = b"".join(bytes([number << 4 | len(data) - 1]) + data for number, data in elements)
    body += bytes(-len(body) % 4)
    return struct.pack(">HH", 0xBEDE, len(body) // 4) + body


def forged(packet: bytes) -> bytes:
    """A packet with the header of this one, which `ClearSrtp` refuses."""
    return packet[:12] + _FORGED


def pack_source(address: Address) -> bytes:
    """An IPv4 socket address as a Batch has it."""
    host = socket.inet_aton(address[0])
    return struct.pack("=H2s4s20x", socket.AF_INET, address[1].to_bytes(2), host)


class ClearSrtp:
    """An SrtpContext that encrypts nothing; what is `forged` is not authentic."""

    def __init__(self) -> None:
        self.opened = 0
        self.forgotten: list[int] = []
        self._unprotect = Unprotect(self._open)

    def open_packets_of(self, peer: PeerStruct) -> None:
        peer.unprotect = ctypes.cast(self._unprotect, ctypes.c_void_p).value

    def forget(self, ssrc: int) -> None:
        self.forgotten.append(ssrc)

    @property
    def context(self) -> SrtpContext:
        return cast(SrtpContext, self)

    def _open(self, _srtp: int | None, packet: int, length: Any) -> int:
        if ctypes.string_at(packet, length[0]).endswith(_FORGED):
            return _AUTHENTICATION_FAILURE
        self.opened += 1
        return 0


def make_batch(*datagrams: bytes, arrivals: Sequence[float] = (), slots: int = 0) -> Batch:
    """A batch of these from one source, which came at second 0 or at `arrivals`."""
    batch = Batch(slots or max(1, len(datagrams)))
    refill(batch, list(zip(datagrams, arrivals or [0.0] * len(datagrams), strict=True)))
    return batch


def refill(batch: Batch, datagrams: Sequence[tuple[bytes, float]]) -> None:
    """Replace what is in a batch by these from one source, which came at these seconds."""
    batch.clear()
    for datagram, arrival in datagrams:
        batch.put(datagram, SOURCE, arrival)
    batch.group(0.0, wall=0.0)
    for slot, (_datagram, arrival) in enumerate(datagrams):
        batch.arrivals[slot] = arrival  # however far apart they are


def take_in(
    batch: Batch, peer: PeerStruct, take: Callable[[int, RtpPacket | OpusRun], None]
) -> Iterator[int]:
    """Have the first source's datagrams received as a session does, and yield the slots of those
    that are none of the peer's streams'."""
    slot = 0 if batch.size else -1
    while slot >= 0:
        slot = batch.receive(slot, peer)
        for track, media in batch.received():
            take(track, media)
        if slot >= 0 and not batch.is_more:
            yield slot
            slot = batch.next[slot]


def feed(
    receiver: Receiver, packet: bytes, arrival: float, srtp: ClearSrtp | None = None
) -> PeerStruct:
    """Have a receiver take in a packet of its SSRC that is not encrypted, as its session would.

    Returns:
        What was counted of it.
    """
    peer = PeerStruct()
    (srtp or _SRTP).open_packets_of(peer)
    peer.listen_to([receiver.stream])
    refill(_BATCH, [(packet, arrival)])
    others = list(take_in(_BATCH, peer, lambda _track, media: receiver.receive(media)))
    assert others == [], "this is no RTP packet of the receiver's SSRC"
    return peer


class SrtpReader:
    """Opens the SRTP packets of a context's peer, whatever their SSRCs."""

    def __init__(self, srtp: SrtpContext) -> None:
        self._srtp = srtp
        self.peer = PeerStruct()
        """What was refused is counted here."""
        srtp.open_packets_of(self.peer)

    def open(self, packet: bytes) -> bytes | None:
        """The RTP packet in an SRTP packet; None if it is refused."""
        refill(_BATCH, [(packet, 0.0)])
        return None if _BATCH.open(0, self.peer) is None else _BATCH.datagram(0)


def parse(packet: bytes) -> RtpPacket | None:
    """An RTP packet that is not encrypted, taken apart; None if it is malformed."""
    peer = PeerStruct()
    _SRTP.open_packets_of(peer)
    refill(_BATCH, [(packet, 0.0)])
    return _BATCH.open(0, peer)


def ssrcs_heard(peer: PeerStruct) -> list[int]:
    """Those of the streams that a peer's packets are received for."""
    found = []
    address = peer.streams
    while address is not None:
        stream = StreamStruct.from_address(address)
        found.append(stream.ssrc)
        address = stream.next
    return found


_SRTP = ClearSrtp()
_BATCH = Batch(slots=1)


class RecordingSink:
    """An AudioSink that keeps what it is told."""

    def __init__(self) -> None:
        self.runs: list[OpusRun] = []
        self.packets: list[tuple[bytes, int]] = []
        """Each with its timestamp."""
        self.restarts: list[int] = []
        """How many packets had come at each restart."""
        self.sender_times: list[tuple[int, float]] = []

    @property
    def payloads(self) -> list[bytes]:
        return [payload for payload, _timestamp in self.packets]

    @property
    def timestamps(self) -> list[int]:
        return [timestamp for _payload, timestamp in self.packets]

    @property
    def arrivals(self) -> list[float]:
        """Of each run's first packet."""
        return [run.arrival for run in self.runs]

    def on_opus(self, run: OpusRun) -> None:
        self.runs.append(run)
        self.packets += unpack_run(run)

    def on_restart(self) -> None:
        self.restarts.append(len(self.packets))

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        self.sender_times.append((timestamp, utc_ms))


class BrokenSink:
    """An AudioSink with a bug."""

    def on_opus(self, run: OpusRun) -> None:
        raise RuntimeError("a bug in on_opus")

    def on_restart(self) -> None:
        raise RuntimeError("a bug in on_restart")

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        raise RuntimeError("a bug in on_sender_time")


def unpack_run(run: OpusRun) -> Iterator[tuple[bytes, int]]:
    """Each packet of a run with its timestamp."""
    samples = packet_samples(run.data[: run.sizes[0]]) if len(run.sizes) > 1 else 0
    for index, payload in enumerate(run.packets()):
        yield payload, run.timestamp + index * samples


def runs(sequences: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (first, last) of each unbroken run."""
    found: list[tuple[int, int]] = []
    for each in sequences:
        if found and found[-1][1] + 1 == each:
            found[-1] = (found[-1][0], each)
        else:
            found.append((each, each))
    return found
