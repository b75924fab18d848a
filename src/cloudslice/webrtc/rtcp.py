"""RTCP that a receiver sends (RFC 3550, RFC 4585) and what it reads of a sender's."""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cloudslice.webrtc.native import Report

RTCP_SR, RTCP_RR, RTCP_SDES, RTCP_BYE, RTCP_RTPFB, RTCP_PSFB = 200, 201, 202, 203, 205, 206
"""Packet types (RFC 3550, 12.1; RFC 4585, 6.1)."""
GENERIC_NACK = 1
"""The form of transport layer feedback (RFC 4585, 6.2)."""
PLI, FIR, AFB = 1, 4, 15
"""Forms of payload-specific feedback (RFC 4585, 6.3; RFC 5104, 4.3)."""
NTP_EPOCH_OFFSET_S = 2_208_988_800
"""Seconds from NTP's epoch to Unix's."""
_SDES_CNAME = 1
_HEADER = struct.Struct(">BBHI")
"""Version and count, packet type, length in words less one, the sender's SSRC."""
_SENDER_INFO = struct.Struct(">IQI")
"""The sender's SSRC, its NTP time and RTP time (RFC 3550, 6.4.1); two counters follow."""
_SENDER_INFO_BYTES = 24
_PADDING, _COUNT = 0x20, 0x1F
_REPORT_BLOCK = struct.Struct(">IIIIII")
_FEEDBACK = struct.Struct(">BBHII")
"""A `_HEADER` with the SSRC of the media that it is about (RFC 4585, 6.1)."""


class RtcpParseError(Exception):
    """Bytes that are not an RTCP compound packet."""


class SenderReport(NamedTuple):
    """A sender's word that RTP `timestamp` (32 bits) is at its own `utc_ms` (RFC 3550, 6.4.1)."""

    ssrc: int
    timestamp: int
    utc_ms: float | None
    """None if the sender has no wall clock."""
    compact_ntp: int
    """The middle 32 bits of its NTP time, to be echoed as LSR."""


class Goodbye(NamedTuple):
    """A sender's word that these SSRCs are gone."""

    ssrcs: tuple[int, ...]


class RtcpPart(NamedTuple):
    """One packet of a compound packet.

    Attributes:
        kind: its packet type.
        five_bits: before the kind: a count of what is in it; of feedback they are its form.
        body: what follows the length, without padding.
    """

    kind: int
    five_bits: int
    body: bytes


def parse_rtcp(packet: bytes) -> list[SenderReport | Goodbye]:
    """The parts of a compound packet that a receiver acts on; others are passed over unread.

    Raises:
        RtcpParseError: a part is cut off, or is no RTCP.
    """
    found: list[SenderReport | Goodbye] = []
    for part in split_compound(packet):
        if part.kind == RTCP_SR:
            found.append(_parse_sender_report(part.body))
        elif part.kind == RTCP_BYE:
            found.append(_parse_goodbye(part.body, part.five_bits))
    return found


def split_compound(packet: bytes) -> Iterator[RtcpPart]:
    """The parts of a compound packet (RFC 3550, 6.1).

    Raises:
        RtcpParseError: a part is cut off, or is no RTCP.
    """
    start = 0
    while start < len(packet):
        if len(packet) - start < 4:
            raise RtcpParseError("a header is cut off")
        flags, kind = packet[start], packet[start + 1]
        if flags >> 6 != 2:
            raise RtcpParseError(f"version {flags >> 6}")
        end = start + 4 + 4 * int.from_bytes(packet[start + 2 : start + 4])
        if end > len(packet):
            raise RtcpParseError("a part is cut off")
        if flags & _PADDING and end < len(packet):
            raise RtcpParseError("padding before the last part")
        padding = packet[-1] if flags & _PADDING else 0
        if padding > end - start - 4:
            raise RtcpParseError("more padding than there is")
        yield RtcpPart(kind, flags & _COUNT, packet[start + 4 : end - padding])
        start = end


def _parse_sender_report(body: bytes) -> SenderReport:
    if len(body) < _SENDER_INFO_BYTES:
        raise RtcpParseError("a sender report is cut off")
    ssrc, ntp, timestamp = _SENDER_INFO.unpack_from(body)
    utc_ms = (ntp / (1 << 32) - NTP_EPOCH_OFFSET_S) * 1000 if ntp else None
    return SenderReport(ssrc, timestamp, utc_ms, (ntp >> 16) & 0xFFFFFFFF)


def _parse_goodbye(body: bytes, count: int) -> Goodbye:
    if len(body) < 4 * count:
        raise RtcpParseError("a BYE is cut off")
    return Goodbye(struct.unpack_from(f">{count}I", body))


class ReportBlock(NamedTuple):
    """One SSRC's reception report with the times that let its sender measure the round trip."""

    ssrc: int
    report: Report
    last_sender_report: int
    """LSR, 0 if there was none."""
    delay_s: float
    """DLSR: seconds from that sender report to now."""


def receiver_report(ssrc: int, blocks: Sequence[ReportBlock]) -> bytes:
    """An RR, which every compound packet begins with (RFC 3550, 6.4.2)."""
    header = _HEADER.pack(0x80 | len(blocks), RTCP_RR, 1 + 6 * len(blocks), ssrc)
    return header + b"".join(map(_pack_block, blocks))


def _pack_block(block: ReportBlock) -> bytes:
    report, last = block.report, block.last_sender_report
    lost = max(-(1 << 23), min((1 << 23) - 1, report.packets_lost))
    return _REPORT_BLOCK.pack(
        block.ssrc,
        report.fraction_lost << 24 | lost & 0xFFFFFF,
        report.highest & 0xFFFFFFFF,
        report.jitter,
        last,
        min(int(block.delay_s * 65536), 0xFFFFFFFF) if last else 0,
    )


def source_description(ssrc: int, cname: str) -> bytes:
    """An SDES with the CNAME, which follows the RR (RFC 3550, 6.1, 6.5)."""
    item = bytes([_SDES_CNAME, len(cname)]) + cname.encode()
    item += bytes(4 - len(item) % 4)
    return _HEADER.pack(0x81, RTCP_SDES, 1 + len(item) // 4, ssrc) + item


def remb(ssrc: int, bitrate_bps: int, media_ssrcs: Sequence[int]) -> bytes:
    """A receiver-estimated maximum bitrate (draft-alvestrand-rmcat-remb-03)."""
    exponent = max(0, bitrate_bps.bit_length() - 18)
    rate = exponent << 18 | bitrate_bps >> exponent
    fci = b"REMB" + struct.pack(
        f">I{len(media_ssrcs)}I", len(media_ssrcs) << 24 | rate, *media_ssrcs
    )
    return _FEEDBACK.pack(0x80 | AFB, RTCP_PSFB, 2 + len(fci) // 4, ssrc, 0) + fci


def nack(ssrc: int, media_ssrc: int, sequences: Sequence[int]) -> bytes:
    """A generic NACK for extended `sequences`, ascending (RFC 4585, 6.2.1)."""
    pairs: list[tuple[int, int]] = []  # a lost packet, and which of the 16 after it are lost, too
    for sequence in sequences:
        first, others = pairs[-1] if pairs else (sequence, 0)
        if 0 < sequence - first <= 16:
            pairs[-1] = (first, others | 1 << (sequence - first - 1))
        else:
            pairs.append((sequence, 0))
    header = _FEEDBACK.pack(0x80 | GENERIC_NACK, RTCP_RTPFB, 2 + len(pairs), ssrc, media_ssrc)
    return header + b"".join(struct.pack(">HH", first & 0xFFFF, others) for first, others in pairs)


def picture_loss(ssrc: int, media_ssrc: int) -> bytes:
    """A picture loss indication, which makes a sender send a key frame (RFC 4585, 6.3.1)."""
    return _FEEDBACK.pack(0x80 | PLI, RTCP_PSFB, 2, ssrc, media_ssrc)
