"""RTP packets are taken apart as RFC 3550 and RFC 8285 say, or refused."""

import pytest
from aiortc.rtp import RtpPacket as AiortcPacket
from aiortc.rtp import pack_header_extensions
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.rtp.packet import RtpParseError, find_extension, parse_rtp
from helpers.rtp import one_byte_extension, rtp_packet


@given(
    payload_type=st.integers(0, 127),
    marker=st.booleans(),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=50),
    csrc=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15),
    padding=st.integers(0, 255),
    elements=st.dictionaries(st.integers(1, 14), st.binary(min_size=1, max_size=16), max_size=4),
)
def test_reads_what_an_independent_implementation_wrote(
    payload_type: int,
    marker: bool,
    sequence: int,
    timestamp: int,
    payload: bytes,
    csrc: list[int],
    padding: int,
    elements: dict[int, bytes],
) -> None:
    """Every field comes out, whatever stands before and after the payload."""
    written = AiortcPacket(payload_type, int(marker), sequence, timestamp, 5, payload)
    written.csrc = csrc
    written.padding_size = padding
    packet = written.serialize()
    if elements:
        profile, body = pack_header_extensions(list(elements.items()))
        header_end = 12 + 4 * len(csrc)
        extension = profile.to_bytes(2) + (len(body) // 4).to_bytes(2) + body
        packet = bytes([packet[0] | 0x10]) + packet[1:header_end] + extension + packet[header_end:]
    read = parse_rtp(packet)
    assert read[:5] == (payload_type, marker, sequence, timestamp, payload)
    for number, data in elements.items():
        assert find_extension(read, number) == data
    assert find_extension(read, 15) is None


def test_two_byte_elements_are_found() -> None:
    """RFC 8285, 4.3: ids above 14, and empty elements."""
    body = b"\x11\x01\xaa\x00\x12\x00\x13\x02\xbb\xcc\x00\x00"
    packet = parse_rtp(rtp_packet(1, 2, extension=b"\x10\x00\x00\x03" + body))
    assert find_extension(packet, 0x11) == b"\xaa"
    assert find_extension(packet, 0x12) == b""
    assert find_extension(packet, 0x13) == b"\xbb\xcc"
    assert find_extension(packet, 0x14) is None


def test_id_15_ends_one_byte_elements() -> None:
    """RFC 8285, 4.2: what follows it is not to be read."""
    extension = b"\xbe\xde\x00\x01\xf0\x00\x10\xaa"
    assert find_extension(parse_rtp(rtp_packet(1, 2, extension=extension)), 1) is None


def test_other_extension_profiles_have_no_elements() -> None:
    """RFC 3550's extension may be anything."""
    packet = parse_rtp(rtp_packet(1, 2, extension=b"\x12\x34\x00\x01\x10\xaa\x10\xaa"))
    assert find_extension(packet, 1) is None


def test_padding_alone_leaves_an_empty_payload() -> None:
    """Such packets probe the network."""
    packet = bytearray(rtp_packet(1, 2, bytes(9) + b"\x0a"))
    packet[0] |= 0x20
    assert parse_rtp(bytes(packet)).payload == b""


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="empty"),
        pytest.param(rtp_packet(1, 2, b"")[:11], id="short"),
        pytest.param(b"\x40" + rtp_packet(1, 2)[1:], id="version 1"),
        pytest.param(b"\x8f" + rtp_packet(1, 2)[1:], id="csrcs cut off"),
        pytest.param(b"\x90" + rtp_packet(1, 2, b"")[1:], id="extension header cut off"),
        pytest.param(rtp_packet(1, 2, b"", extension=b"\xbe\xde\x00\x02abcd"), id="extension cut"),
        pytest.param(b"\xa0" + rtp_packet(1, 2, b"\x00\xff")[1:], id="more padding than packet"),
    ],
)
def test_malformed_packets_are_refused(packet: bytes) -> None:
    """With the one error that callers expect."""
    with pytest.raises(RtpParseError):
        parse_rtp(packet)


@given(st.binary(max_size=80), st.integers(0, 15))
def test_garbage_is_read_or_refused(tail: bytes, number: int) -> None:
    """Nothing but RtpParseError comes out, in whatever header extension."""
    for head in (b"", b"\x90", b"\xbf", rtp_packet(1, 2, b"", extension=b"\xbe\xde\x00\x05")):
        try:
            packet = parse_rtp(head + tail)
        except RtpParseError:
            continue
        find_extension(packet, number)
        find_extension(packet._replace(extension_profile=0x1000), number)


def test_one_byte_elements_that_are_cut_off_are_cut_off() -> None:
    """An element longer than its header extension gives what is there."""
    extension = one_byte_extension((1, b"\xaa"))[:4] + b"\x1f\xaa\xbb\xcc"
    assert find_extension(parse_rtp(rtp_packet(1, 2, extension=extension)), 1) == b"\xaa\xbb\xcc"
