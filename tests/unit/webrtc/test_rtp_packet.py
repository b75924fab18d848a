"""Elements of header extensions are found as RFC 8285 says."""

import pytest
from aiortc.rtp import pack_header_extensions
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.webrtc.rtp_packet import RtpPacket, find_extension

ONE_BYTE, TWO_BYTE = 0xBEDE, 0x1000


def packet_with(profile: int, body: bytes) -> RtpPacket:
    return RtpPacket(111, False, 1, 2, b"", 0.0, body, profile)


@given(
    elements=st.dictionaries(
        st.integers(1, 14), st.binary(min_size=1, max_size=16), min_size=1, max_size=4
    )
)
def test_finds_what_an_independent_implementation_wrote(elements: dict[int, bytes]) -> None:
    """Each element, and none that is not there."""
    packet = packet_with(*pack_header_extensions(list(elements.items())))
    for number in range(16):
        assert find_extension(packet, number) == elements.get(number)


def test_two_byte_elements_are_found() -> None:
    """RFC 8285, 4.3: ids above 14, and empty elements."""
    packet = packet_with(TWO_BYTE, b"\x11\x01\xaa\x00\x12\x00\x13\x02\xbb\xcc\x00\x00")
    assert find_extension(packet, 0x11) == b"\xaa"
    assert find_extension(packet, 0x12) == b""
    assert find_extension(packet, 0x13) == b"\xbb\xcc"
    assert find_extension(packet, 0x14) is None


def test_id_15_ends_one_byte_elements() -> None:
    """RFC 8285, 4.2: what follows it is not to be read."""
    assert find_extension(packet_with(ONE_BYTE, b"\xf0\x00\x10\xaa"), 1) is None


def test_other_extension_profiles_have_no_elements() -> None:
    """RFC 3550's extension may be anything."""
    assert find_extension(packet_with(0x1234, b"\x10\xaa\x10\xaa"), 1) is None


def test_one_byte_elements_that_are_cut_off_are_cut_off() -> None:
    """An element longer than its header extension gives what is there."""
    assert find_extension(packet_with(ONE_BYTE, b"\x1f\xaa\xbb\xcc"), 1) == b"\xaa\xbb\xcc"


@pytest.mark.parametrize("profile", [ONE_BYTE, TWO_BYTE, 0x1234])
@given(body=st.binary(max_size=80), number=st.integers(0, 255))
def test_garbage_has_elements_or_none(profile: int, body: bytes, number: int) -> None:
    """And what is found is a piece of it."""
    assert (find_extension(packet_with(profile, body), number) or b"") in body
