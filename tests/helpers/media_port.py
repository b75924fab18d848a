"""A UDP port for media, and the tick that reads it."""

import contextlib
from collections.abc import Iterator

from cloudslice.clock import Clock
from cloudslice.tick import Tick
from cloudslice.webrtc.udp.addresses import AddressRules
from cloudslice.webrtc.udp.port import UdpPort


@contextlib.contextmanager
def media_port(clock: Clock, *advertised: str) -> Iterator[tuple[UdpPort, Tick]]:
    """A port on a free UDP port, which its tick reads once somebody wakes that; both are closed
    in the end."""
    tick = Tick(clock)
    port = UdpPort(0, AddressRules(advertised), clock)
    tick.add(port)
    with contextlib.closing(port), contextlib.closing(tick):
        yield port, tick
