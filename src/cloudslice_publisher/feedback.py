"""What a receiver tells a sender by RTCP (RFC 3550, RFC 4585, RFC 5104, REMB)."""

from dataclasses import dataclass

from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    unpack_remb_fci,
)


class FeedbackParseError(Exception):
    """Bytes that are not an RTCP compound packet."""


@dataclass(frozen=True, slots=True)
class KeyframeWanted:
    """A PLI or FIR for the stream `ssrc`."""

    ssrc: int


@dataclass(frozen=True, slots=True)
class Nack:
    """Packets of the stream `ssrc` that did not arrive, by sequence number."""

    ssrc: int
    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Remb:
    """The bitrate that the receiver wants at most."""

    bitrate_bps: int


@dataclass(frozen=True, slots=True)
class Reception:
    """A reception report block.

    Attributes:
        ssrc: the stream.
        fraction_lost: since the last report, 0..1.
        last_sender_report: the middle 32 bits of the NTP time of the newest sender report
            received, 0 if there was none.
        delay_s: seconds between that sender report's arrival and this report.
    """

    ssrc: int
    fraction_lost: float
    last_sender_report: int
    delay_s: float

    def round_trip_s(self, now_ntp: int) -> float | None:
        """The round trip at the report's arrival (RFC 3550, 6.4.1); `now_ntp` has 64 bits."""
        if not self.last_sender_report:
            return None
        elapsed = ((now_ntp >> 16) - self.last_sender_report) & 0xFFFFFFFF
        return max(0.0, elapsed / 65536 - self.delay_s)


Feedback = KeyframeWanted | Nack | Remb | Reception


def parse_feedback(packet: bytes) -> list[Feedback]:
    """The parts of a compound packet that a sender acts on. Raises FeedbackParseError."""
    try:
        parts = RtcpPacket.parse(packet)
        return [item for part in parts for item in _read(part)]
    except ValueError as error:
        raise FeedbackParseError(str(error)) from error


def _read(part: object) -> list[Feedback]:
    if isinstance(part, RtcpRtpfbPacket) and part.fmt == RTCP_RTPFB_NACK:
        return [Nack(part.media_ssrc, tuple(part.lost))]
    if isinstance(part, RtcpRrPacket):
        return [
            Reception(block.ssrc, block.fraction_lost / 256, block.lsr, block.dlsr / 65536)
            for block in part.reports
        ]
    if isinstance(part, RtcpPsfbPacket):
        if part.fmt == RTCP_PSFB_PLI:
            return [KeyframeWanted(part.media_ssrc)]
        if part.fmt == RTCP_PSFB_FIR:
            # RFC 5104, 4.3.1.1: eight bytes an entry, the stream in the first four.
            starts = range(0, len(part.fci) - 7, 8)
            return [KeyframeWanted(int.from_bytes(part.fci[at : at + 4])) for at in starts]
        if part.fmt == RTCP_PSFB_APP and part.fci[:4] == b"REMB":
            return [Remb(unpack_remb_fci(part.fci)[0])]
    return []
