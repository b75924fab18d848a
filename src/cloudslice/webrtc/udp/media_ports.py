"""The UDP ports of a node: one that all connections share, and others for as long as they are
needed."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cloudslice.tick import Tick
from cloudslice.webrtc.udp.port import UdpPort


class MediaPorts:
    """See the module.

    Attributes:
        shared: is there all the time.

    Args:
        shared: see there; the tick reads it.
        open_port: makes a further port.
        tick: reads the further ones.
    """

    def __init__(self, shared: UdpPort, open_port: Callable[[], UdpPort], tick: Tick) -> None:
        self.shared = shared
        self._open_port = open_port
        self._tick = tick
        self._ports = [shared]
        self._counts_of_closed = Counter[str]()

    @contextmanager
    def opened(self) -> Iterator[UdpPort]:
        """A further port, until the context is left.

        Raises:
            PortInUseError: there is none.
        """
        port = self._open_port()
        self._ports.append(port)
        self._tick.add(port, is_first=True)
        try:
            yield port
        finally:
            self._tick.remove(port)
            port.close()
            self._ports.remove(port)
            self._counts_of_closed.update(port.counts)

    @property
    def counts(self) -> Counter[str]:
        """What all of them have come to, the closed ones too: see `UdpPort.counts`."""
        total = self._counts_of_closed.copy()
        for port in self._ports:
            total.update(port.counts)
        return total

    @property
    def errors(self) -> int:
        """Exceptions that nobody foresaw, of all connections."""
        return self.shared.errors
