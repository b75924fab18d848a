"""Anchors whose media goes into the server by a `Ring`; all else of them is on a real UDP socket.

What the server's filter would have the kernel drop is numbered and counted, and not made.
"""

import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cloudslice.publisher import connection, pacer, publisher, sender
from cloudslice.publisher.stream import RtpStream
from cloudslice.rtp.socket_filter import THINNED_TO
from cloudslice.rtp.srtp import SrtpContext
from harness.ring import Ring

_INET = struct.Struct("=H2s4s")
"""The used part of a sockaddr_in."""
_NICENESS = 10
_BEAT_S = 0.04
"""Twice the publisher's own, half as often: the server reads more seldom anyway."""


@contextmanager
def injecting(path: Path) -> Iterator[None]:
    """Meanwhile publishers put what they send into the ring at `path`.

    They get what CPU time the server leaves, as if they were elsewhere.
    """
    os.nice(_NICENESS)
    ring = Ring(path)
    with (
        patch.object(pacer, "_INTERVAL_S", _BEAT_S),
        patch.object(publisher, "Connection", partial(_InjectingConnection, ring)),
        patch.object(sender, "RtpStream", _ThinnableStream),
        patch.object(sender, "VideoSender", partial(_ThinningSender, ring)),
    ):
        yield


class _InjectingConnection(connection.Connection):
    """Overrides how RTP packets leave."""

    def __init__(self, ring: Ring, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._put = ring.put
        self._source = b""
        self._leave_at = 0.0

    def beat(self, now: float) -> None:
        # Before a filter is looked at: a packet never seems to have come under a later one.
        self._leave_at = time.time()
        super().beat(now)

    def _receive_rtcp(self, datagram: bytes) -> None:
        self._leave_at = time.time()
        super()._receive_rtcp(datagram)

    def _begin_media(self, srtp: SrtpContext) -> None:
        super()._begin_media(srtp)
        assert self._socket is not None
        host, port = self._socket.getsockname()
        self._source = _INET.pack(socket.AF_INET, port.to_bytes(2), socket.inet_aton(host))

    def _send_media(self, packet: bytes) -> None:
        self._stats.packets_sent += 1
        self._put(self._source, packet, self._leave_at)


class _ThinningSender(sender.VideoSender):
    """Makes only what the filter lets through."""

    def __init__(self, ring: Ring, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._ring = ring

    def due(self, now: float) -> Iterator[bytes]:
        if not self._ring.is_dropped(self.ssrc):
            yield from super().due(now)
            return
        assert isinstance(self._stream, _ThinnableStream)
        for (payloads, _is_keyframe), ticks in self._playback.due(now):
            packets = self._stream.thinned(payloads, ticks)
            self._ring.skip(len(payloads) - len(packets))
            yield from packets


class _ThinnableStream(RtpStream):
    """Can leave packets out that nobody would see."""

    def thinned(self, payloads: Sequence[bytes], ticks: int) -> list[bytes]:
        """Of a frame's packets those whose sequence number is a multiple of `THINNED_TO`."""
        first, last = self._sequence, len(payloads) - 1
        self._packets += len(payloads)
        self._octets += sum(map(len, payloads))
        made = []
        for index in range(-first % THINNED_TO, len(payloads), THINNED_TO):
            self._sequence = (first + index) & 0xFFFF
            made.append(self.packet(payloads[index], ticks, marker=index == last))
            self._packets -= 1
            self._octets -= len(payloads[index])
        self._sequence = (first + len(payloads)) & 0xFFFF
        self._history.clear()  # nobody asks for what was sent before
        return made
