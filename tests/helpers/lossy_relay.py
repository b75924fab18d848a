"""A UDP relay that loses, delays and repeats datagrams, the same ones at every run."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass
class Weather:
    """What happens to RTP packets on their way to the server; other datagrams pass.

    Attributes:
        loss: the part that is lost, 0..1; retransmitted ones too.
        repeat: the part that comes twice.
        late: the part that comes `late_s` later than the rest, and so out of order.
        blocks: whether everything is lost, both ways.
    """

    loss: float = 0
    repeat: float = 0
    late: float = 0
    late_s: float = 0.05
    blocks: bool = False
    lost: int = 0
    """Packets that were."""
    passed: int = 0


class _Side(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._receive(data, addr)


class LossyRelay:
    """Stands between one client and a server."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        self._random = random.Random(1)
        self._client: tuple[str, int] | None = None
        self._outer: asyncio.DatagramTransport
        self._inner: asyncio.DatagramTransport

    async def open(self, server: tuple[str, int]) -> int:
        """Begin to relay to `server`; the UDP port that clients are to send to."""
        loop = asyncio.get_running_loop()
        self._outer, _ = await loop.create_datagram_endpoint(
            lambda: _Side(self._from_client), (server[0], 0)
        )
        self._inner, _ = await loop.create_datagram_endpoint(
            lambda: _Side(self._from_server), remote_addr=server
        )
        port: int = self._outer.get_extra_info("sockname")[1]
        return port

    def inject(self, datagram: bytes) -> None:
        """Send to the server what the client did not."""
        self._inner.sendto(datagram)

    def close(self) -> None:
        self._outer.close()
        self._inner.close()

    def _from_client(self, datagram: bytes, address: tuple[str, int]) -> None:
        self._client = address
        weather = self.weather
        if weather.blocks:
            return
        is_rtp = 128 <= datagram[0] < 192 and not 192 <= datagram[1] <= 223
        if not is_rtp:
            self._inner.sendto(datagram)
        elif self._random.random() < weather.loss:
            weather.lost += 1
        else:
            weather.passed += 1
            if self._random.random() < weather.repeat:
                self._inner.sendto(datagram)
            if self._random.random() < weather.late:
                asyncio.get_running_loop().call_later(weather.late_s, self._inner.sendto, datagram)
            else:
                self._inner.sendto(datagram)

    def _from_server(self, datagram: bytes, _address: tuple[str, int]) -> None:
        if self._client is not None and not self.weather.blocks:
            self._outer.sendto(datagram, self._client)


@asynccontextmanager
async def lossy_relay(
    server: tuple[str, int], weather: Weather
) -> AsyncIterator[tuple[LossyRelay, int]]:
    """A relay to `server`, and the UDP port of the same address that it listens on."""
    relay = LossyRelay(weather)
    port = await relay.open(server)
    try:
        yield relay, port
    finally:
        relay.close()
