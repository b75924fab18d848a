"""RTCP that a sender of media reads, which is feedback, and that it sends (RFC 3550, RFC 4585, RFC
5104)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from cloudslice.webrtc.rtcp import (
    AFB,
    FIR,
    GENERIC_NACK,
    NTP_EPOCH_OFFSET_S,
    PLI,
    RTCP_PSFB,
    RTCP_RR,
    RTCP_RTPFB,
    RTCP_SR,
    RtcpParseError,
    RtcpPart,
    source_description,
    split_compound,
)

_SENDER_REPORT = struct.Struct(">BBHIQIII")
"""The header of an SR, then NTP and RTP time, packets and bytes sent (RFC 3550, 6.4.1)."""
_SENDER_REPORT_WORDS = 6
_SENDER_INFO_BYTES = 20
_REPORT_BLOCK = struct.Struct(">IB3xIIII")
"""SSRC, fraction lost; the highest sequence number, jitter, LSR and DLSR."""
_FIR_ENTRY = struct.Struct(">I4x")
_NACK_PAIR = struct.Struct(">HH")


@dataclass(frozen=True, slots=True)
class KeyframeWanted:
    """A PLI or FIR for the stream `ssrc`."""

    ssrc: int


@dataclass(frozen=True, slots=True)
class Nack:
    """Packets of the stream `ssrc` that did not arrive, by sequence number (16 bits)."""

    ssrc: int
    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Remb:
    """The bitrate that the receiver wants at most (draft-alvestrand-rmcat-remb-03)."""

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
        if elapsed >= 1 << 31:  # the wall clock was set back
            return 0.0
        return max(0.0, elapsed / 65536 - self.delay_s)


Feedback = KeyframeWanted | Nack | Remb | Reception


def parse_feedback(packet: bytes) -> list[Feedback]:
    """The parts of a compound packet that a sender acts on; others are passed over unread.

    Raises:
        RtcpParseError: a part is cut off, or is no RTCP.
    """
    found: list[Feedback] = []
    for part in split_compound(packet):
        if part.kind in (RTCP_RR, RTCP_SR):
            found += _parse_blocks(part)
        elif part.kind in (RTCP_RTPFB, RTCP_PSFB):
            found += _parse_feedback_message(part)
    return found


def _parse_blocks(part: RtcpPart) -> Iterator[Feedback]:
    start = 4 if part.kind == RTCP_RR else 4 + _SENDER_INFO_BYTES
    if len(part.body) < start + part.five_bits * _REPORT_BLOCK.size:
        raise RtcpParseError("a report is cut off")
    for index in range(part.five_bits):
        ssrc, lost, _, _, last, delay = _REPORT_BLOCK.unpack_from(
            part.body, start + index * _REPORT_BLOCK.size
        )
        yield Reception(ssrc, lost / 256, last, delay / 65536)


def _parse_feedback_message(part: RtcpPart) -> Iterator[Feedback]:
    if len(part.body) < 8:
        raise RtcpParseError("a feedback message is cut off")
    ssrc, information = int.from_bytes(part.body[4:8]), part.body[8:]
    form = part.kind, part.five_bits
    if form == (RTCP_RTPFB, GENERIC_NACK):
        yield Nack(ssrc, tuple(_lost_sequences(information)))
    elif form == (RTCP_PSFB, PLI):
        yield KeyframeWanted(ssrc)
    elif form == (RTCP_PSFB, FIR):
        # RFC 5104, 4.3.1.1: each entry names its stream; the one in front means nothing.
        whole = information[: len(information) // _FIR_ENTRY.size * _FIR_ENTRY.size]
        yield from (KeyframeWanted(each) for (each,) in _FIR_ENTRY.iter_unpack(whole))
    elif form == (RTCP_PSFB, AFB) and information[:4] == b"REMB":
        yield _parse_remb(information)


def _lost_sequences(information: bytes) -> Iterator[int]:
    whole = information[: len(information) // 4 * 4]
    for first, others in _NACK_PAIR.iter_unpack(whole):
        yield first
        for offset in range(16):
            if others >> offset & 1:
                yield (first + 1 + offset) & 0xFFFF


def _parse_remb(information: bytes) -> Remb:
    if len(information) < 8:
        raise RtcpParseError("a REMB is cut off")
    rate = int.from_bytes(information[5:8])
    return Remb((rate & 0x3FFFF) << (rate >> 18))


def sender_report(
    ssrc: int, ntp: int, timestamp: int, packets: int, octets: int, cname: str
) -> bytes:
    """A compound packet of SR and SDES.

    Args:
        ssrc: the stream.
        ntp: now, as of `ntp_time`.
        timestamp: the stream's RTP time now; of all numbers the low 32 bits are told.
        packets, octets: sent since the stream began, octets of payload.
        cname: the same for all streams that are to be played in time with each other.
    """
    header = 0x80, RTCP_SR, _SENDER_REPORT_WORDS, ssrc
    numbers = (each & 0xFFFFFFFF for each in (timestamp, packets, octets))
    return _SENDER_REPORT.pack(*header, ntp, *numbers) + source_description(ssrc, cname)


def ntp_time(utc_ms: float) -> int:
    """Milliseconds of the Unix epoch as a 64-bit NTP timestamp."""
    return int((utc_ms / 1000 + NTP_EPOCH_OFFSET_S) * (1 << 32))
