"""Ports come and go; what they have come to is kept."""

import socket

from cloudslice.clock import SystemClock
from cloudslice.webrtc.udp.addresses import AddressRules
from cloudslice.webrtc.udp.media_ports import MediaPorts
from cloudslice.webrtc.udp.port import UdpPort
from helpers.media_port import media_port


async def test_what_a_closed_port_has_received_still_counts() -> None:
    clock = SystemClock()
    with media_port(clock, "127.0.0.1") as (shared, tick):
        ports = MediaPorts(shared, lambda: UdpPort(0, AddressRules(), clock), tick)
        with ports.opened() as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.connect(("127.0.0.1", port.udp_port))
            stranger.send(b"of no protocol")
            stranger.send(b"nor this")
            port.catch_up([])
            assert ports.counts == {"received": 2, "foreign": 2, "unsent": 0}
        assert ports.counts == {"received": 2, "foreign": 2, "unsent": 0}
        assert shared.counts["received"] == 0
