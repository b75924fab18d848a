"""One UDP port for all peer connections.

The socket is emptied on every tick. The native library takes in what is RTP; what remains comes to
the connection whose path it came on. Datagrams of unknown paths are connectivity checks, which
name a connection by its ufrag, or media of a peer whose address has changed, which SRTP proves.
"""

import itertools
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import structlog

from cloudslice.clock import Clock
from cloudslice.faults import Faults
from cloudslice.media.tracks import OpusRun
from cloudslice.webrtc import stun
from cloudslice.webrtc.native import library
from cloudslice.webrtc.native.native_events import (
    Datagram,
    Event,
    Lost,
    Missing,
    Packet,
    Refused,
    Run,
    Stranger,
    Unknown,
)
from cloudslice.webrtc.native.native_port import NativePeer, NativePort, NativeStream
from cloudslice.webrtc.rtp_packet import RtpPacket
from cloudslice.webrtc.udp.addresses import AddressRules, ToldAddresses
from cloudslice.webrtc.udp.paths import family_of, make_path
from cloudslice.webrtc.udp.sockets import bind, read_unreachable

_PATHS_PER_CONNECTION = 16
_READINGS = 64
"""One tick reads at most so often what there is room for: half a million datagrams."""

_BINDING_REQUEST = b"\x00\x01"
"""The first bytes of a connectivity check (RFC 8489, 5); its transaction id is in bytes 8 to 19."""
_MAX_CHECKS = 4096
"""Connectivity checks of ours whose answers are waited for."""

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


class MediaEvents(Protocol):
    """What takes in a connection's media."""

    def on_run(self, track: int, run: OpusRun) -> None:
        """The next Opus packets of a track."""
        ...

    def on_packet(self, track: int, packet: RtpPacket) -> None:
        """A packet of a video that is read."""
        ...

    def on_missing(self, track: int, sequences: tuple[int, ...]) -> None:
        """Packets of a track are to be asked for again."""
        ...

    def on_unknown(self, ssrc: int, packet: RtpPacket) -> None:
        """An authentic packet of an SSRC that nobody receives."""
        ...

    def on_refused(self, ssrc: int, sequence: int) -> None:
        """The first packet of an SSRC, by its 16 bit sequence number, is not authentic."""
        ...


class Connection(Protocol):
    """What a port hands datagrams to, and reminds of what is due."""

    @property
    def next_deadline(self) -> float:
        """The monotonic second by which to call `send_due`."""
        ...

    def send_due(self, now: float) -> None:
        """Send what is due at monotonic second `now`."""
        ...

    def on_datagram(self, data: bytes, path: bytes, arrival: float) -> bool:
        """What is no RTP has come on a path of the connection; a STUN check from elsewhere that
        names it, too. False: it is no DTLS and no RTCP, and no STUN that proves to be the
        peer's."""
        ...

    def on_moved(self, path: bytes, arrival: float) -> None:
        """Authentic media has come from a new address."""
        ...

    def on_unreachable(self, path: bytes) -> None:
        """The network says that nothing can be sent on `path`; it may be another connection's."""
        ...

    @property
    def streams(self) -> MediaEvents:
        """What takes in media."""
        ...

    def close(self) -> None: ...


class _Member:
    """What leads to a connection."""

    def __init__(self, connection: Connection, peer: NativePeer) -> None:
        self.connection = connection
        self.peer = peer
        self.ufrags: frozenset[str] = frozenset()
        self.paths: deque[bytes] = deque()
        self.ssrcs: set[int] = set()


class UdpPort:
    """Sends and receives all connections' datagrams; a TickPart. Call `close` at last.

    Args:
        udp_port: bound on all addresses, IPv4 and, where the machine has it, IPv6; 0: any free one.
        rules: which addresses peers are told.
        clock: for arrival times.
        options: how it is.
    """

    def __init__(
        self, udp_port: int, rules: AddressRules, clock: Clock, options: PortOptions = _DEFAULT
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
        self._owners = itertools.count(1)
        self._members: dict[int, _Member] = {}
        """By the number that events name them by."""
        self._by_ufrag: dict[str, _Member] = {}
        self._by_ssrc: dict[int, set[int]] = {}
        """The owners that receive an SSRC."""
        self._checks: OrderedDict[bytes, int] = OrderedDict()
        """The owners of connectivity checks of ours, by transaction id, the oldest first."""
        self._events: deque[Event] = deque()
        self._faults = Faults("peer connection")
        self.foreign = 0
        """Datagrams of nobody that we know, or of no protocol that we know."""
        self.unsent = 0
        """Datagrams that the socket did not take."""

    def close(self) -> None:
        """Close all connections and the sockets."""
        for member in list(self._members.values()):
            try:
                member.connection.close()
            except Exception as error:
                self._faults.caught(error)
        for each in self._sockets:
            each.close()
        self._native.close()

    @property
    def is_active(self) -> bool:
        return bool(self._members)

    @property
    def datagrams(self) -> int:
        """How many were read so far."""
        return self._native.datagrams

    @property
    def errors(self) -> int:
        """Exceptions that nobody foresaw, of all connections."""
        return self._faults.errors

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Of the sockets: one can be read when there is something for `tick`."""
        return tuple(self._by_family.values())

    @property
    def candidates(self) -> list[tuple[str, int]]:
        """The addresses and ports that peers may reach us by, the best first."""
        return [(host, self.udp_port) for host in self._told.hosts]

    def attach(self, connection: Connection) -> NativePeer:
        """Give `connection` the datagrams that are its own, until `detach`."""
        owner = next(self._owners)
        peer = NativePeer(self._native, owner)
        self._members[owner] = _Member(connection, peer)
        return peer

    def detach(self, peer: NativePeer) -> None:
        """Forget the connection that was given `peer`; harmless when that was done."""
        member = self._members.get(peer.owner)
        if member is None:
            return
        self.set_ufrags(peer, ())
        for ssrc in list(member.ssrcs):
            self.forget_ssrc(peer, ssrc)
        del self._members[peer.owner]
        peer.close()

    def set_ufrags(self, peer: NativePeer, ufrags: Collection[str]) -> None:
        """Connectivity checks that name one of these are for this peer's connection; no longer
        those that name a former one."""
        member = self._members[peer.owner]
        for ufrag in member.ufrags.difference(ufrags):
            self._by_ufrag.pop(ufrag, None)
        member.ufrags = frozenset(ufrags)
        for ufrag in member.ufrags:
            self._by_ufrag[ufrag] = member

    def add_path(self, peer: NativePeer, path: bytes) -> None:
        """What comes on `path` is this peer's. Of a peer that moves again and again the oldest
        paths are forgotten."""
        peer.add_path(path)
        paths = self._members[peer.owner].paths
        if path in paths:
            return
        paths.append(path)
        if len(paths) > _PATHS_PER_CONNECTION:
            peer.remove_path(paths.popleft())

    def note_ssrc(self, peer: NativePeer, ssrc: int) -> None:
        """The peer's connection receives this SSRC: by it media from a new address is offered to
        it."""
        self._members[peer.owner].ssrcs.add(ssrc)
        self._by_ssrc.setdefault(ssrc, set()).add(peer.owner)

    def forget_ssrc(self, peer: NativePeer, ssrc: int) -> None:
        """It receives it no longer."""
        member = self._members.get(peer.owner)
        if member is not None:
            member.ssrcs.discard(ssrc)
        owners = self._by_ssrc.get(ssrc, set())
        owners.discard(peer.owner)
        if not owners:
            self._by_ssrc.pop(ssrc, None)

    def send(self, data: bytes, path: bytes) -> None:
        """Send at once, or count it as unsent: like the network, the socket may drop."""
        descriptor = self._by_family.get(family_of(path))
        if descriptor is None or library.send_on_path(descriptor, path, data, len(data)) < 0:
            self.unsent += 1

    def send_check(self, peer: NativePeer, data: bytes, path: bytes) -> None:
        """Send what the peer's ICE agent sends. An answer to a request names nobody, and may come
        on a path that is nobody's yet: it is known by its transaction id."""
        if data[:2] == _BINDING_REQUEST:
            self._checks[data[8:20]] = peer.owner
            if len(self._checks) > _MAX_CHECKS:
                self._checks.popitem(last=False)
        self.send(data, path)

    def tick(self, now: float) -> None:
        """Take in what has come by monotonic second `now`, and have sent what is due."""
        self._read(now)
        for member in list(self._members.values()):
            if now >= member.connection.next_deadline:
                try:
                    member.connection.send_due(now)
                except Exception as error:
                    self._faults.caught(error)

    def catch_up(self, peers: Collection[NativePeer]) -> None:
        """Take in what these peers have sent so far: before they end, or somebody ceases to
        listen."""
        self._read(self._clock.monotonic())
        for peer in peers:
            if peer.owner in self._members:
                self.flush(peer)

    def _read(self, now: float) -> None:
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
            for member in list(self._members.values()):
                member.connection.on_unreachable(make_path(*address))

    def _process(self, now: float) -> None:
        # Where this is called for an event, others wait whose outcome the library goes by.
        self._dispatch()
        while events := [*self._native.process(now)]:
            self._events.extend(events)
            self._dispatch()

    def flush(self, peer: NativePeer) -> None:
        """Hand out all audio of a peer that was taken in, waiting for nothing that is missing."""
        while peer.owner in self._members and (events := [*self._native.flush(peer)]):
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
            event = self._events.popleft()
            member = self._find(event)
            if member is None:
                continue
            try:
                self._hand_over(member.connection, event)
            except Exception as error:
                # Whatever a bug costs this connection, the others' media goes on.
                self._faults.caught(error)

    def _find(self, event: Event) -> _Member | None:
        if not isinstance(event, Stranger):
            known = self._members.get(event.owner)
            if isinstance(event, Datagram) and event.data[:1] < b"\x04":
                # Another connection may have the address now: its checks tell.
                return self._find_by_check(event) or known
            return known
        if event.data[:1] < b"\x04":  # RFC 7983
            member = self._find_by_check(event)
        else:
            member = self._find_by_proof(event)
        self.foreign += member is None
        return member

    def _find_by_check(self, event: Datagram | Stranger) -> _Member | None:
        try:
            message = stun.parse(event.data)
        except stun.StunError:
            return None
        if message.kind is stun.StunKind.REQUEST:
            return self._by_ufrag.get(message.addressed_ufrag)
        return self._members.get(self._checks.get(message.transaction_id, 0))

    def _find_by_proof(self, event: Stranger) -> _Member | None:
        for owner in self._by_ssrc.get(event.ssrc, ()):
            if self._members[owner].peer.adopt(event):
                return self._members[owner]
        return None

    def _hand_over(self, connection: Connection, event: Event) -> None:
        match event:
            case Run():
                connection.streams.on_run(event.track, event.run)
            case Packet():
                connection.streams.on_packet(event.track, event.packet)
            case Stranger() if event.data[:1] >= b"\x04":
                connection.on_moved(event.path, event.arrival)
            case Datagram() | Stranger():
                self.foreign += not connection.on_datagram(event.data, event.path, event.arrival)
            case Unknown():
                connection.streams.on_unknown(event.ssrc, event.packet)
            case Refused():
                connection.streams.on_refused(event.ssrc, event.sequence)
            case Missing():
                connection.streams.on_missing(event.track, event.sequences)
            case Lost():
                pass  # the stream counts them
