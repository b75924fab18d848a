"""RTCP is written as an independent implementation reads it, and read with nothing unforeseen."""

import contextlib
import struct

import pytest
from aiortc.rtp import (
    RtcpByePacket,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    unpack_remb_fci,
)
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.webrtc.native import Report
from cloudslice.webrtc.rtcp import (
    Goodbye,
    ReportBlock,
    RtcpParseError,
    SenderReport,
    nack,
    parse_rtcp,
    picture_loss,
    receiver_report,
    remb,
    source_description,
)


def test_receiver_report_with_blocks() -> None:
    """RFC 3550, 6.4.2: RR and SDES CNAME in one compound packet."""
    report = Report(highest=0x1_2345, packets_lost=-3, fraction_lost=51, jitter=77)
    block = ReportBlock(9, report, last_sender_report=0xABCD, delay_s=1.5)
    rr, sdes = RtcpPacket.parse(receiver_report(5, [block]) + source_description(5, "name"))
    assert isinstance(rr, RtcpRrPacket)
    assert rr.ssrc == 5
    (info,) = rr.reports
    assert (info.ssrc, info.fraction_lost, info.packets_lost) == (9, 51, -3)
    assert (info.highest_sequence, info.jitter) == (0x1_2345, 77)
    assert (info.lsr, info.dlsr) == (0xABCD, 98304)
    assert isinstance(sdes, RtcpSdesPacket)
    assert sdes.chunks[0].items == [(1, b"name")]


def test_no_delay_without_a_sender_report() -> None:
    """RFC 3550, 6.4.1: DLSR is 0 then."""
    report = Report(highest=1, jitter=0xFFFFFFFF)
    packet = receiver_report(5, [ReportBlock(9, report, 0, 7.0)])
    rr = RtcpPacket.parse(packet)[0]
    assert isinstance(rr, RtcpRrPacket)
    assert (rr.reports[0].dlsr, rr.reports[0].jitter) == (0, 0xFFFFFFFF)


def test_remb_names_bitrate_and_ssrcs() -> None:
    """draft-alvestrand-rmcat-remb-03."""
    (packet,) = RtcpPacket.parse(remb(5, 2_500_000, [9, 10]))
    assert isinstance(packet, RtcpPsfbPacket)
    bitrate, ssrcs = unpack_remb_fci(packet.fci)
    assert bitrate == pytest.approx(2_500_000, rel=0.001)
    assert ssrcs == [9, 10]


def test_pli_is_as_rfc_4585_has_it() -> None:
    """6.3.1: no FCI."""
    assert picture_loss(0x0102, 0x0304) == bytes.fromhex("81ce0002 00000102 00000304")


@given(st.integers(0, 1 << 20), st.sets(st.integers(0, 400), min_size=1, max_size=256))
def test_nack_asks_for_exactly_the_missing_packets(base: int, offsets: set[int]) -> None:
    """In 16 bits, over the wrap too, and never too long for a datagram."""
    missing = [base + offset for offset in sorted(offsets)]
    packet = nack(5, 9, missing)
    assert len(packet) <= 12 + 4 * 256
    (parsed,) = RtcpPacket.parse(packet)
    assert isinstance(parsed, RtcpRtpfbPacket)
    assert sorted(each & 0xFFFF for each in parsed.lost) == sorted(
        each & 0xFFFF for each in missing
    )


def test_reads_sender_reports_and_goodbyes() -> None:
    """And skips everything else in the compound packet."""
    info = RtcpSenderInfo(
        ntp_timestamp=(2_208_988_800 + 1000) << 32 | 1 << 31,
        rtp_timestamp=77,
        packet_count=1,
        octet_count=2,
    )
    application = struct.pack(">BBHI4s", 0x80, 204, 2, 3, b"abcd")
    packet = (
        bytes(RtcpSrPacket(ssrc=3, sender_info=info))
        + application
        + picture_loss(1, 2)
        + bytes(RtcpByePacket(sources=[3, 4]))
    )
    compact = ((2_208_988_800 + 1000) & 0xFFFF) << 16 | 0x8000
    assert parse_rtcp(packet) == [
        SenderReport(3, 77, 1_000_500.0, compact),
        Goodbye((3, 4)),
    ]


def test_a_sender_without_a_wall_clock() -> None:
    """RFC 3550, 6.4.1: an NTP timestamp of zero says nothing."""
    info = RtcpSenderInfo(ntp_timestamp=0, rtp_timestamp=77, packet_count=1, octet_count=2)
    packet = bytes(RtcpSrPacket(ssrc=3, sender_info=info))
    assert parse_rtcp(packet) == [SenderReport(3, 77, None, 0)]


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(190, 210), st.binary(max_size=60))))
def test_garbage_is_read_or_refused(parts: list[tuple[int, int, bytes]]) -> None:
    """Nothing but RtcpParseError comes out, of packets with any type, count and length."""
    packet = b"".join(
        struct.pack(">BBH", first, kind, len(body) // 4) + body for first, kind, body in parts
    )
    with contextlib.suppress(RtcpParseError):
        parse_rtcp(packet)


_REPORT = bytes(RtcpSrPacket(ssrc=3, sender_info=RtcpSenderInfo(1 << 40, 77, 1, 2)))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(_REPORT + b"\x80\xcb\0", "a header is cut off", id="header"),
        pytest.param(_REPORT[:-4], "a part is cut off", id="part"),
        pytest.param(b"\x40" + _REPORT[1:], "version 1", id="version"),
        pytest.param(b"\xa0" + _REPORT[1:] + _REPORT, "padding before the last part", id="padding"),
        pytest.param(
            b"\x80\xc8\0\x05" + _REPORT[4:24], "a sender report is cut off", id="sender report"
        ),
        pytest.param(b"\x82\xcb\0\x01\0\0\0\x03", "a BYE is cut off", id="BYE"),
    ],
)
def test_damage_is_named(packet: bytes, reason: str) -> None:
    with pytest.raises(RtcpParseError, match=reason):
        parse_rtcp(packet)


_SSRCS = st.integers(0, 0xFFFFFFFF)
_SENDER_REPORTS = st.builds(
    RtcpSrPacket,
    ssrc=_SSRCS,
    sender_info=st.builds(
        RtcpSenderInfo,
        ntp_timestamp=st.integers(0, (1 << 64) - 1),
        rtp_timestamp=_SSRCS,
        packet_count=_SSRCS,
        octet_count=_SSRCS,
    ),
)
_GOODBYES = st.builds(RtcpByePacket, sources=st.lists(_SSRCS, max_size=31))


@given(st.lists(st.one_of(_SENDER_REPORTS, _GOODBYES), min_size=1, max_size=5))
def test_reads_what_an_independent_implementation_writes(
    parts: list[RtcpSrPacket | RtcpByePacket],
) -> None:
    parsed = parse_rtcp(b"".join(map(bytes, parts)))
    assert [type(each) for each in parsed] == [
        SenderReport if isinstance(part, RtcpSrPacket) else Goodbye for part in parts
    ]
    for each, part in zip(parsed, parts, strict=True):
        if isinstance(each, SenderReport):
            info = part.sender_info
            assert (each.ssrc, each.timestamp) == (part.ssrc, info.rtp_timestamp)
            assert each.compact_ntp == info.ntp_timestamp >> 16 & 0xFFFFFFFF
        else:
            assert each.ssrcs == tuple(part.sources)
