"""A UDP relay that loses, delays and repeats datagrams, the same ones at every run."""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_MAX_DATAGRAM = 65_536
_CHECK_WITHIN_S = 5
_STUN_SUCCESS = b"\x01\x01"
"""How an answer to a connectivity check begins (RFC 8489, 5)."""


@dataclass
class Weather:
    """What happens to RTP packets on their way to the server; other datagrams pass.

    Attributes:
        loss: the part that is lost, 0..1; retransmitted ones too.
        repeat: the part that comes twice.
        late: the part that comes `late_s` later than the rest, and so out of order.
        blocks: whether everything is lost, both ways.
        rebind_after_s: seconds from the first RTP packet after which all clients get other ports
            towards the server, as from a NAT that has restarted; None: they never do. It happens
            when a connectivity check has just been answered, as then the next one is far, but no
            more than `_CHECK_WITHIN_S` later.
    """

    loss: float = 0
    repeat: float = 0
    late: float = 0
    late_s: float = 0.05
    blocks: bool = False
    rebind_after_s: float | None = None
    lost: int = 0
    """Packets that were."""
    passed: int = 0
    rebound_at: float | None = None
    """UTC second of the change of ports."""


class LossyRelay:
    """Stands between clients and a server, which sees a port of the relay for each client."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        self._random = random.Random(1)
        self._loop = asyncio.get_running_loop()
        self._server = ("", 0)
        self._client = ("", 0)
        """That sent last."""
        self._outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inner: dict[tuple[str, int], socket.socket] = {}
        """Towards the server, by client."""
        self._first_rtp_at: float | None = None

    def open(self, server: tuple[str, int]) -> int:
        """Begin to relay to `server`; the UDP port that clients are to send to."""
        self._server = server
        self._outer.bind((server[0], 0))
        self._outer.setblocking(False)
        self._loop.add_reader(self._outer, self._read_outer)
        port: int = self._outer.getsockname()[1]
        return port

    def inject(self, datagram: bytes) -> None:
        """Send to the server what the client did not."""
        self._send(datagram, self._client)

    def rebind(self) -> None:
        """Give all clients other ports towards the server; what is sent to the old ones is lost."""
        self._close_inner()
        self.weather.rebound_at = time.time()

    def close(self) -> None:
        self._close_inner()
        self._loop.remove_reader(self._outer)
        self._outer.close()

    def _close_inner(self) -> None:
        while self._inner:
            _client, inner = self._inner.popitem()
            self._loop.remove_reader(inner)
            inner.close()

    def _read_outer(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._from_client(*self._outer.recvfrom(_MAX_DATAGRAM))

    def _read_inner(self, inner: socket.socket, client: tuple[str, int]) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            while True:
                datagram = inner.recv(_MAX_DATAGRAM)
                if not self.weather.blocks:
                    self._outer.sendto(datagram, client)
                if datagram.startswith(_STUN_SUCCESS) and self._is_rebinding_due():
                    self.rebind()
                    return

    def _from_client(self, datagram: bytes, client: tuple[str, int]) -> None:
        self._client = client
        weather = self.weather
        if weather.blocks:
            return
        is_rtp = 128 <= datagram[0] < 192 and not 192 <= datagram[1] <= 223
        if not is_rtp:
            self._send(datagram, client)
            return
        if self._first_rtp_at is None:
            self._first_rtp_at = self._loop.time()
        if self._is_rebinding_due(_CHECK_WITHIN_S):
            self.rebind()
        if self._random.random() < weather.loss:
            weather.lost += 1
            return
        weather.passed += 1
        if self._random.random() < weather.repeat:
            self._send(datagram, client)
        if self._random.random() < weather.late:
            self._loop.call_later(weather.late_s, self._send, datagram, client)
        else:
            self._send(datagram, client)

    def _is_rebinding_due(self, later_s: float = 0) -> bool:
        after_s = self.weather.rebind_after_s
        if after_s is None or self._first_rtp_at is None or self.weather.rebound_at is not None:
            return False
        return self._loop.time() - self._first_rtp_at >= after_s + later_s

    def _send(self, datagram: bytes, client: tuple[str, int]) -> None:
        if self._outer.fileno() < 0:
            return  # it was late, and the relay is closed
        inner = self._inner.get(client)
        if inner is None:
            inner = self._inner[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            inner.setblocking(False)
            inner.connect(self._server)
            self._loop.add_reader(inner, self._read_inner, inner, client)
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            inner.send(datagram)


@asynccontextmanager
async def lossy_relay(
    server: tuple[str, int], weather: Weather
) -> AsyncIterator[tuple[LossyRelay, int]]:
    """A relay to `server`, and the UDP port of the same address that it listens on."""
    relay = LossyRelay(weather)
    try:
        yield relay, relay.open(server)
    finally:
        relay.close()
