"""One outgoing RTP stream: numbers, protects and remembers packets, and reports on them."""

import secrets
import struct
from collections.abc import Callable
from typing import Final

from cloudslice_publisher.sender_rtcp import ntp_time, sender_report

_HEADER: Final = struct.Struct("!BBHII")
_VERSION = 0x80
_EXTENSION_FLAG = 0x10
_MARKER = 0x80
# Three seconds of 720p at 1.5 Mbit/s: a receiver gives up long before.
_HISTORY_LENGTH = 512


class RtpStream:
    """Makes the packets of one SSRC (RFC 3550).

    Args:
        payload_type: as the answer has it.
        ssrc: as the offer announced it.
        clock_rate: ticks a second.
        start: the monotonic second of tick 0.
        cname: names the sender in its reports.
        protect: RTP to SRTP.
    """

    def __init__(
        self,
        *,
        payload_type: int,
        ssrc: int,
        clock_rate: int,
        start: float,
        cname: str,
        protect: Callable[[bytes], bytes],
    ) -> None:
        self.ssrc = ssrc
        self._payload_type = payload_type
        self._clock_rate = clock_rate
        self._start = start
        self._cname = cname
        self._protect = protect
        # RFC 3550, 5.1: both begin at random. The top bit of the sequence stays clear, so that
        # it does not wrap before SRTP's receiver has locked on its roll-over counter.
        self._sequence = secrets.randbits(15)
        self._first_timestamp = secrets.randbits(32)
        self._packets = 0
        self._octets = 0
        self._history: dict[int, bytes] = {}

    def packet(self, payload: bytes, ticks: int, *, marker: bool, extension: bytes = b"") -> bytes:
        """The next SRTP packet.

        Args:
            ticks: since `start`.
            extension: a whole header extension (RFC 8285), or none.
        """
        sequence = self._sequence
        header = _HEADER.pack(
            _VERSION | _EXTENSION_FLAG if extension else _VERSION,
            self._payload_type | _MARKER if marker else self._payload_type,
            sequence,
            (self._first_timestamp + ticks) & 0xFFFFFFFF,
            self.ssrc,
        )
        protected = self._protect(header + extension + payload)
        self._sequence = (sequence + 1) & 0xFFFF
        self._packets += 1
        self._octets += len(payload)
        self._history[sequence] = protected
        self._history.pop((sequence - _HISTORY_LENGTH) & 0xFFFF, None)
        return protected

    def sent_before(self, sequence: int) -> bytes | None:
        """The SRTP packet that went out under `sequence`, or None if that is too long ago."""
        return self._history.get(sequence)

    def report(self, now: float, utc_ms: float) -> bytes | None:
        """A compound packet of SR and SDES (RFC 3550, 6.4.1), or None before the first packet.

        Args:
            now: monotonic second of the report.
            utc_ms: the same instant by the wall clock.
        """
        if not self._packets:
            return None
        ticks = int((now - self._start) * self._clock_rate)
        return sender_report(
            self.ssrc,
            ntp_time(utc_ms),
            self._first_timestamp + ticks,
            self._packets,
            self._octets,
            self._cname,
        )
