"""Packets are judged by aiortc's RTP and RTCP parsers."""

import pytest
from aiortc.rtp import RtcpPacket, RtcpSdesPacket, RtcpSrPacket, RtpPacket

from cloudslice_publisher.sender import orientation_extension
from cloudslice_publisher.sender_rtcp import ntp_time
from cloudslice_publisher.stream import RtpStream

START = 500.0


@pytest.fixture
def stream() -> RtpStream:
    return RtpStream(
        payload_type=96,
        ssrc=0xCAFE,
        clock_rate=90_000,
        start=START,
        cname="alice",
        protect=lambda packet: packet,
    )


def test_packets_are_numbered_and_timed(stream: RtpStream) -> None:
    """Sequence numbers follow each other; timestamps differ by the ticks."""
    first = RtpPacket.parse(stream.packet(b"one", 0, marker=False))
    second = RtpPacket.parse(stream.packet(b"two", 3000, marker=True))
    assert (first.payload_type, first.ssrc, first.marker, first.payload) == (96, 0xCAFE, 0, b"one")
    assert (second.marker, second.payload) == (1, b"two")
    assert second.sequence_number == first.sequence_number + 1
    assert (second.timestamp - first.timestamp) % 2**32 == 3000


def test_sequence_numbers_and_timestamps_wrap(stream: RtpStream) -> None:
    for _ in range(70_000):
        packet = stream.packet(b"", 2**33 + 5, marker=False)
    assert 0 <= RtpPacket.parse(packet).sequence_number < 2**16


@pytest.mark.parametrize(("rotation", "bits"), [(90, 1), (180, 2), (270, 3)])
def test_rotation_is_an_extension_that_leaves_the_payload_alone(
    stream: RtpStream, rotation: int, bits: int
) -> None:
    extension = orientation_extension(3, rotation)
    packet = RtpPacket.parse(stream.packet(b"frame", 0, marker=True, extension=extension))
    assert packet.payload == b"frame"
    assert extension[4:6] == bytes([0x30, bits])


def test_recent_packets_can_be_had_again(stream: RtpStream) -> None:
    """Bit for bit; those of long ago are gone."""
    packets = [stream.packet(bytes([index % 256]), index, marker=False) for index in range(600)]
    sequences = [RtpPacket.parse(packet).sequence_number for packet in packets]
    assert stream.sent_before(sequences[-1]) == packets[-1]
    assert stream.sent_before(sequences[-512]) == packets[-512]
    assert stream.sent_before(sequences[-513]) is None
    assert stream.sent_before((sequences[-1] + 1) % 2**16) is None


def test_sender_report_ties_the_clocks(stream: RtpStream) -> None:
    """Two seconds after the start the RTP clock is two seconds on, and UTC is what was told."""
    assert stream.report(START, 0) is None
    packet = RtpPacket.parse(stream.packet(b"12345", 0, marker=True))
    report = stream.report(START + 2, 1_700_000_000_500)
    assert report is not None
    sender, description = RtcpPacket.parse(report)
    assert isinstance(sender, RtcpSrPacket)
    assert isinstance(description, RtcpSdesPacket)
    info = sender.sender_info
    assert (info.rtp_timestamp - packet.timestamp) % 2**32 == 180_000
    assert info.ntp_timestamp == ntp_time(1_700_000_000_500)
    assert (info.packet_count, info.octet_count) == (1, 5)
    assert description.chunks[0].items == [(1, b"alice")]


def test_ntp_time() -> None:
    """Seconds since 1900 in the upper half, fractions in the lower (RFC 5905)."""
    assert ntp_time(0) == 2_208_988_800 << 32
    assert ntp_time(500) == (2_208_988_800 << 32) + (1 << 31)
