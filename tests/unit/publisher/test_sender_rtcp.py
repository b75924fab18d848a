"""RTCP of a receiver, made by aiortc, is understood, and aiortc understands a sender's."""

import pytest
from aiortc.rtp import (
    RtcpByePacket,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    pack_remb_fci,
)

from cloudslice.webrtc.rtcp import RtcpParseError
from cloudslice_publisher.sender_rtcp import (
    Feedback,
    KeyframeWanted,
    Nack,
    Reception,
    Remb,
    ntp_time,
    parse_feedback,
    sender_report,
)

RECEPTION = RtcpReceiverInfo(
    ssrc=7, fraction_lost=64, packets_lost=3, highest_sequence=1, jitter=2, lsr=0x1234, dlsr=32768
)
FIR_FOR_TWO = b"\x00\x00\x00\x07\x01\x00\x00\x00" + b"\x00\x00\x00\x08\x02\x00\x00\x00"


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        pytest.param(RtcpPsfbPacket(1, 1, 7), [KeyframeWanted(7)], id="PLI"),
        pytest.param(
            RtcpPsfbPacket(4, 1, 0, FIR_FOR_TWO), [KeyframeWanted(7), KeyframeWanted(8)], id="FIR"
        ),
        pytest.param(RtcpPsfbPacket(4, 1, 0, b"\x00" * 4), [], id="FIR cut short"),
        pytest.param(
            RtcpPsfbPacket(15, 1, 0, pack_remb_fci(1_500_000, [7])), [Remb(1_500_000)], id="REMB"
        ),
        pytest.param(RtcpPsfbPacket(15, 1, 0, b"XXXX" + bytes(8)), [], id="another AFB"),
        pytest.param(
            RtcpRtpfbPacket(1, 1, 7, [10, 12, 65535]), [Nack(7, (10, 12, 65535))], id="NACK"
        ),
        pytest.param(RtcpRtpfbPacket(15, 1, 7, [1]), [], id="transport-wide"),
        pytest.param(
            RtcpRrPacket(1, [RECEPTION]), [Reception(7, 0.25, 0x1234, 0.5)], id="receiver report"
        ),
        pytest.param(
            RtcpSrPacket(1, RtcpSenderInfo(1, 2, 3, 4), [RECEPTION]),
            [Reception(7, 0.25, 0x1234, 0.5)],
            id="report of one that sends, too",
        ),
        pytest.param(RtcpByePacket([1]), [], id="BYE"),
    ],
)
def test_feedback_is_read(packet: object, expected: list[Feedback]) -> None:
    assert parse_feedback(bytes(packet)) == expected  # type: ignore[call-overload]


def test_a_compound_packet_is_read_whole() -> None:
    packet = bytes(RtcpRrPacket(1, [])) + bytes(RtcpPsfbPacket(1, 1, 7))
    assert parse_feedback(packet) == [KeyframeWanted(7)]


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"\x80\xc9\x00", id="short header"),
        pytest.param(b"\x80\xc9\x00\x09" + bytes(4), id="longer than it is"),
        pytest.param(b"\x00\xc9\x00\x01" + bytes(4), id="wrong version"),
        pytest.param(b"\x81\xc9\x00\x01" + bytes(4), id="report without its block"),
        pytest.param(bytes(RtcpPsfbPacket(15, 1, 0, b"REMB")), id="REMB cut short"),
        pytest.param(b"\x81\xce\x00\x01" + bytes(4), id="PLI for nobody"),
        pytest.param(b"\xa1\xce\x00\x02" + bytes(7) + b"\x09", id="more padding than there is"),
    ],
)
def test_garbage_is_refused(packet: bytes) -> None:
    """With one kind of error only, which the receiver of datagrams can count."""
    with pytest.raises(RtcpParseError):
        parse_feedback(packet)


def test_round_trip() -> None:
    """Sent at 100.0 s, held by the receiver for 0.5 s, back at 100.75 s: 0.25 s on the way."""
    sent = (ntp_time(100_000) >> 16) & 0xFFFFFFFF
    assert Reception(7, 0, sent, 0.5).round_trip_s(ntp_time(100_750)) == pytest.approx(0.25, 1e-3)
    assert Reception(7, 0, 0, 0).round_trip_s(ntp_time(100_750)) is None
    assert Reception(7, 0, sent, 0.5).round_trip_s(ntp_time(100_400)) == 0


def test_padding_is_no_feedback() -> None:
    """A NACK of packet 10, and four bytes that only fill up (RFC 3550, 6.4.1)."""
    nack = b"\xa1\xcd\x00\x04" + bytes(4) + b"\x00\x00\x00\x07" + b"\x00\x0a\x00\x00"
    assert parse_feedback(nack + b"\x00\x00\x00\x04") == [Nack(7, (10,))]


def test_a_sender_report_is_understood() -> None:
    """With the CNAME behind it; counters that have wrapped tell their low 32 bits."""
    report, description = RtcpPacket.parse(
        sender_report(7, ntp_time(1000), (1 << 32) + 5, 3, (1 << 32) + 400, "alice")
    )
    assert isinstance(report, RtcpSrPacket)
    assert isinstance(description, RtcpSdesPacket)
    assert report.ssrc == 7
    assert report.sender_info == RtcpSenderInfo((2_208_988_800 + 1) << 32, 5, 3, 400)
    assert description.chunks[0].items == [(1, b"alice")]
