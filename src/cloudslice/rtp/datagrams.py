"""A UDP socket that is read many datagrams at a time, each with the time at which it came.

The kernel's timestamps (SO_TIMESTAMPNS) make a packet's arrival independent of when we come to read
it.
"""

import socket
import struct
import time
from math import inf

from cloudslice.clock import Clock
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.ice import Address
from cloudslice.rtp.socket_filter import attach, detach

_SO_TIMESTAMPNS = 35
_SAME_MOMENT_S = 0.001
_INET = struct.Struct("=H2s4s20x")
"""Family, port and host of a sockaddr_in."""
_INET6 = struct.Struct("=4xI16sI")
"""Flow, host and scope of a sockaddr_in6, whose family and port are in the same places."""


class DatagramSocket:
    """A UDP socket and what was read from it. Never waits."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket = sock
        self.family = sock.family
        self.send = sock.sendto
        """`socket.socket.sendto`."""
        self.batch = Batch()
        """What was read, until it is cleared."""
        self.is_used = False
        """Whether any datagram was ever read."""

    @property
    def port(self) -> int:
        """The UDP port that it is bound to."""
        port: int = self._socket.getsockname()[1]
        return port

    def filter(self, program: bytes) -> None:
        """Have the kernel see to what comes by a program of `socket_filter`, in place of a former
        one; raises OSError."""
        attach(self._socket, program)

    def unfilter(self) -> None:
        """Let everything through again."""
        detach(self._socket)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def read(self, clock: Clock) -> bool:
        """Take in what has come as far as the batch has room; whether that was all.

        Args:
            clock: of the arrivals.

        Raises:
            OSError: there is nothing but an error, of an earlier datagram that was sent.
        """
        began = clock.monotonic()
        is_all = self._fill()
        self.is_used = self.is_used or self.batch.size > 0
        now, wall = _read_clocks(clock)
        self.batch.group(now, wall, emptied=began if is_all else -inf)
        return is_all

    def _fill(self) -> bool:
        """Read what there is; whether that was all."""
        return self.batch.fill(self._socket.fileno())


def _read_clocks(clock: Clock) -> tuple[float, float]:
    """What the monotonic and the wall clock show at the same moment, even where the process is
    stopped between looking at one and at the other."""
    for _ in range(3):
        before = clock.monotonic()
        wall = time.time()
        now = clock.monotonic()
        if now - before < _SAME_MOMENT_S:
            break
    return now, wall


def unpack_source(source: bytes) -> Address:
    """A raw socket address as `socket` has it."""
    family, port, host = _INET.unpack(source)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, host), int.from_bytes(port)
    flow, host, scope = _INET6.unpack(source)
    return socket.inet_ntop(socket.AF_INET6, host), int.from_bytes(port), flow, scope
