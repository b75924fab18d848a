"""The UDP ports of many connections that send, of which few have something to read."""

import select

from cloudslice.clock import Clock
from cloudslice.webrtc.udp.addresses import AddressRules
from cloudslice.webrtc.udp.port import PortOptions, UdpPort

# A receiver sends a few datagrams a second.
_OPTIONS = PortOptions(slots=64, receive_buffer=1 << 18, hears_unreachable=True)


class SenderPort(UdpPort):
    """The port of one connection that sends."""

    is_cut = False
    """While set, nothing leaves, as if its cable were cut."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(0, AddressRules(), clock, _OPTIONS)

    def send(self, data: bytes, path: bytes) -> None:
        if not self.is_cut:
            super().send(data, path)


class ReadyPorts:
    """Reads those ports that have something to read.

    To ask each of hundreds of ports, fifty times a second, would cost more than to send. The kernel
    tells for all at once. Call `close` at last.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ports: dict[int, UdpPort] = {}

    def add(self, port: UdpPort) -> None:
        """Read it from now on."""
        for descriptor in port.descriptors:
            self._epoll.register(descriptor, select.EPOLLIN)
            self._ports[descriptor] = port

    def remove(self, port: UdpPort) -> None:
        """Read it no more, before it is closed; harmless when it is not there."""
        for descriptor in port.descriptors:
            if self._ports.get(descriptor) is port:
                del self._ports[descriptor]
                self._epoll.unregister(descriptor)

    def read(self, now: float) -> None:
        """Have the ports take in what has come by monotonic second `now`."""
        ready = {self._ports[descriptor] for descriptor, _ in self._epoll.poll(0)}
        for port in ready:
            port.tick(now)

    def close(self) -> None:
        """Free the kernel's part."""
        self._epoll.close()
