"""A `Peer` on a UDP socket of its own, and a port that is read when the test says so."""

import contextlib
import socket

from cloudslice.webrtc.udp.port import UdpPort
from helpers.peer import Peer


class UdpPeer:
    """Exchanges datagrams with an UdpPort by calling its `tick`.

    Args:
        peer: whose datagrams.
        answer: to its offer.
    """

    def __init__(self, port: UdpPort, peer: Peer, answer: str, *, host: str) -> None:
        self.peer = peer
        self.host = host
        self.sockets: list[socket.socket] = []
        self._port = port
        self.move()
        peer.begin(answer)

    @property
    def socket(self) -> socket.socket:
        return self.sockets[-1]

    def move(self) -> None:
        """Send from another address from now on."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.connect((self.host, self._port.udp_port))
        self.sockets.append(opened)

    def connect(self) -> None:
        """Exchange datagrams until the peer can send media."""
        while self.peer.srtp is None:
            self.exchange()
        self.exchange()

    def exchange(self) -> None:
        """Send what is in the peer's outbox, read the port, and receive what it answers."""
        self.tick()  # what comes next comes later, however far a test has moved the clock
        while self.peer.outbox:
            self.socket.send(self.peer.outbox.pop(0))
        self.tick()
        self.receive()

    def tick(self) -> None:
        """Have the port read what has come, and send what is due."""
        self._port.tick(self._port._clock.monotonic())

    def receive(self) -> None:
        """Receive what was sent to the peer."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.peer.receive(self.socket.recv(2048))

    def send(self, *datagrams: bytes) -> None:
        """Send these, and have the port read them."""
        self.tick()
        for each in datagrams:
            self.socket.send(each)
        self.tick()

    def close(self) -> None:
        for each in self.sockets:
            each.close()
