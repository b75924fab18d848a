"""One UDP port for all peer connections.

The socket is emptied on every tick. The native library takes in what is RTP; what remains comes to
the connection whose path it came on. Datagrams of unknown paths are connectivity checks, which
name a connection by its ufrag, or media of a peer whose address has changed, which SRTP proves.
"""

import socket
import time
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass

import structlog

from cloudslice.clock import Clock
from cloudslice.faults import Faults
from cloudslice.webrtc.native import library
from cloudslice.webrtc.native.native_events import (
    Datagram,
    Event,
    Missing,
    Packet,
    Refused,
    Run,
    Stranger,
    Unknown,
)
from cloudslice.webrtc.native.native_port import NativePeer, NativePort, NativeStream
from cloudslice.webrtc.udp.addresses import AddressRules, ToldAddresses
from cloudslice.webrtc.udp.connection import Connection
from cloudslice.webrtc.udp.owners import Owners
from cloudslice.webrtc.udp.paths import family_of, make_path
from cloudslice.webrtc.udp.sockets import bind, read_unreachable

_READINGS = 64
"""Readings of one tick at most, each of as many datagrams as there is room for: half a million."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PortOptions:
    """How a port is; by default, for what hundreds of anchors send between two ticks."""

    slots: int = 8192
    """Datagrams of one reading. If there are more, another reading follows at once."""
    receive_buffer: int = 128 << 20
    """Bytes that the kernel keeps, its own account of each datagram included."""
    hears_unreachable: bool = False
    """Whether connections hear by ICMP that nobody listens where they send to. One that sends there
    makes the port lose a datagram of another connection: it is for a port of one."""


_DEFAULT = PortOptions()


class UdpPort:
    """Sends and receives all connections' datagrams; a TickPart. Call `close` at last.

    Args:
        udp_port: bound on all addresses, IPv4 and, where the machine has it, IPv6; 0: any free one.
        rules: which addresses peers are told.
        clock: for arrival times.
        options: how it is.
        faults: counts unforeseen errors, also of other ports.
    """

    def __init__(
        self,
        udp_port: int,
        rules: AddressRules,
        clock: Clock,
        options: PortOptions = _DEFAULT,
        *,
        faults: Faults | None = None,
    ) -> None:
        self._clock = clock
        self._hears_unreachable = options.hears_unreachable
        self._sockets = bind(
            udp_port, options.receive_buffer, hears_unreachable=options.hears_unreachable
        )
        self._by_family: dict[int, int] = {each.family: each.fileno() for each in self._sockets}
        self._told = ToldAddresses(rules, tuple(self._by_family), clock)
        self.udp_port: int = self._sockets[0].getsockname()[1]
        self._native = NativePort(options.slots)
        self.owners = Owners(self._native)
        """The connections that are handed what has come."""
        self._events: deque[Event] = deque()
        self.faults = faults or Faults("peer connection")
        self.foreign = 0
        """Datagrams of nobody that we know, or of no protocol that we know."""
        self.unsent = 0
        """Datagrams that the socket did not take."""

    def close(self) -> None:
        """Close all connections and the sockets. After that nothing comes, and nothing is sent."""
        for connection in self.owners.connections:
            try:
                connection.close()
            except Exception as error:
                self.faults.caught(error)
        self._by_family.clear()
        for each in self._sockets:
            each.close()
        self._native.close()

    @property
    def is_active(self) -> bool:
        return len(self.owners) > 0

    @property
    def datagrams(self) -> int:
        """How many were read so far."""
        return self._native.datagrams

    @property
    def counts(self) -> Counter[str]:
        """Datagrams by what became of them: `received`, and of these `foreign`; `unsent`."""
        return Counter(received=self.datagrams, foreign=self.foreign, unsent=self.unsent)

    @property
    def errors(self) -> int:
        """Exceptions that nobody foresaw, of all connections."""
        return self.faults.errors

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Of the sockets: one can be read when there is something for `tick`."""
        return tuple(self._by_family.values())

    @property
    def candidates(self) -> list[tuple[str, int]]:
        """The addresses and ports that peers may reach us by, the best first."""
        return [(host, self.udp_port) for host in self._told.hosts]

    def send(self, data: bytes, path: bytes) -> None:
        """Send at once, or count it as unsent: like the network, the socket may drop."""
        descriptor = self._by_family.get(family_of(path))
        if descriptor is None or library.send_on_path(descriptor, path, data, len(data)) < 0:
            self.unsent += 1

    def send_check(self, peer: NativePeer, data: bytes, path: bytes) -> None:
        """Send what the peer's ICE agent sends; an answer will find its connection."""
        self.owners.note_check(peer, data)
        self.send(data, path)

    def tick(self, now: float) -> None:
        """Take in what has come by monotonic second `now`, and have sent what is due."""
        self._read(now)
        for connection in self.owners.connections:
            if now >= connection.next_deadline:
                try:
                    connection.send_due(now)
                except Exception as error:
                    self.faults.caught(error)

    def catch_up(self, peers: Collection[NativePeer]) -> None:
        """Take in what these peers have sent until now; to be called before they end, or before
        somebody ceases to listen."""
        self._read(self._clock.monotonic())
        for peer in peers:
            self.flush(peer)

    def _read(self, now: float) -> None:
        if self._native.is_freed:
            return  # who has just lost its connection may still ask for what has come
        for _ in range(_READINGS):
            since_wall = now - time.time()
            is_all = [self._read_socket(each, now, since_wall) for each in self._sockets]
            self._process(now)
            self._native.clear()
            if all(is_all):
                self._native.drained(now, since_wall)
                return

    def _read_socket(self, sock: socket.socket, now: float, since_wall: float) -> bool:
        if self._hears_unreachable:
            self._read_unreachable(sock)
        try:
            return self._native.read(sock.fileno(), now, since_wall)
        except OSError as error:
            _log.debug("udp receive failed", error=str(error))
            return True

    def _read_unreachable(self, sock: socket.socket) -> None:
        for address in read_unreachable(sock):
            for connection in self.owners.connections:
                connection.on_unreachable(make_path(*address))

    def _process(self, now: float) -> None:
        # Where this is called for an event, others wait whose outcome the library goes by.
        self._dispatch()
        while events := [*self._native.process(now)]:
            self._events.extend(events)
            self._dispatch()

    def flush(self, peer: NativePeer) -> None:
        """Hand out all audio of a peer that was taken in, waiting for nothing that is missing."""
        while peer.owner in self.owners and (events := [*self._native.flush(peer)]):
            self._events.extend(events)
            self._dispatch()

    def flush_stream(self, stream: NativeStream) -> None:
        """Hand out all audio of a stream that was taken in, waiting for nothing that is missing."""
        self._events.extend(self._native.flush_stream(stream))
        self._dispatch()

    def _dispatch(self) -> None:
        """Act on all events. What is done for one may lead to further ones, which come after those
        that are there already: so the order of a stream is kept."""
        while self._events:
            try:
                self._act_on(self._events.popleft())
            except Exception as error:
                # Whatever a bug costs this connection, the others' media goes on.
                self.faults.caught(error)

    def _act_on(self, event: Event) -> None:
        if isinstance(event, Stranger):
            self._take_stranger(event)
            return
        connection = self.owners.connection(event.owner)
        if connection is None:
            return
        match event:
            case Run():
                connection.streams.on_run(event.track, event.run)
            case Packet():
                connection.streams.on_packet(event.track, event.packet)
            case Datagram():
                if not connection.on_datagram(event.data, event.path, event.arrival):
                    self._take_refused(event, connection)
            case Unknown():
                connection.streams.on_unknown(event.ssrc, event.packet)
            case Refused():
                connection.streams.on_refused(event.ssrc, event.sequence)
            case Missing():
                connection.streams.on_missing(event.track, event.sequences)

    def _take_refused(self, event: Datagram, refused_by: Connection) -> None:
        """Another connection may have the address now: its checks tell."""
        other = self.owners.find_by_check(event.data) if _is_stun(event.data) else None
        if other in (None, refused_by) or not other.on_datagram(*event[1:]):
            self.foreign += 1

    def _take_stranger(self, event: Stranger) -> None:
        if _is_stun(event.data):
            connection = self.owners.find_by_check(event.data)
            if connection is None or not connection.on_datagram(*event[:3]):
                self.foreign += 1
            return
        connection = self.owners.find_by_proof(event)
        if connection is None:
            self.foreign += 1
        else:
            connection.on_moved(event.path, event.arrival)


def _is_stun(data: bytes) -> bool:
    """By its first byte (RFC 7983)."""
    return data[:1] < b"\x04"
