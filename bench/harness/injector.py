"""Anchors whose media goes into the server by a `Ring`; all else of them is on a real UDP socket.

What the server's filter would have the kernel drop is numbered, and not even made.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cloudslice.publisher import connection, publisher, sender
from cloudslice.publisher.stream import RtpStream
from cloudslice.rtp.socket_filter import THINNED_TO
from cloudslice.rtp.srtp import SrtpContext
from harness.ring import Ring

_INET = struct.Struct("=H2s4s")
"""The used part of a sockaddr_in."""
_UNMADE = b""


@contextmanager
def injecting(path: Path) -> Iterator[None]:
    """Meanwhile publishers put what they send into the ring at `path`."""
    ring = Ring(path)
    with (
        patch.object(publisher, "Connection", partial(_InjectingConnection, ring)),
        patch.object(sender, "RtpStream", partial(_ThinnedStream, ring.is_dropped)),
    ):
        yield


class _InjectingConnection(connection.Connection):
    """Overrides how RTP packets leave."""

    def __init__(self, ring: Ring, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._put = ring.put
        self._source = b""

    def _begin_media(self, srtp: SrtpContext) -> None:
        super()._begin_media(srtp)
        assert self._socket is not None
        host, port = self._socket.getsockname()
        self._source = _INET.pack(socket.AF_INET, port.to_bytes(2), socket.inet_aton(host))

    def _send_media(self, packet: bytes) -> None:
        self._stats.packets_sent += 1
        if packet is not _UNMADE:
            self._put(self._source, packet, time.time())


class _ThinnedStream(RtpStream):
    """Makes only what the filter lets through."""

    def __init__(self, is_dropped: Callable[[int], bool], **options: Any) -> None:
        super().__init__(**options)
        self._is_dropped = is_dropped

    def packet(self, payload: bytes, ticks: int, *, marker: bool, extension: bytes = b"") -> bytes:
        if self._sequence % THINNED_TO and self._is_dropped(self.ssrc):
            self._sequence = (self._sequence + 1) & 0xFFFF
            self._packets += 1
            self._octets += len(payload)
            return _UNMADE
        return super().packet(payload, ticks, marker=marker, extension=extension)
