"""H.264 payloads (RFC 6184): which are key frames, and what they are put together to."""

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.codecs.h264 import H264Depacketizer

SPS, PPS = b"\x67\x42\xe0\x1f\xaa", b"\x68\xce\x3c\x80"
IDR, IDR_SECOND = b"\x65\x88\x84\x00", b"\x65\x40\x11\x22"
SEI, AUD, SLICE = b"\x06\x05\x01\x80", b"\x09\x10", b"\x41\x9a\x00"
START = b"\x00\x00\x00\x01"


def stap_a(*units: bytes) -> bytes:
    return b"\x78" + b"".join(len(unit).to_bytes(2) + unit for unit in units)


def fu_a(unit: bytes, *cuts: int) -> list[bytes]:
    bounds = [1, *cuts, len(unit)]
    pieces = [unit[a:b] for a, b in pairwise(bounds)]
    return [
        bytes([unit[0] & 0xE0 | 28])
        + bytes([(index == 0) << 7 | (index == len(pieces) - 1) << 6 | unit[0] & 0x1F])
        + piece
        for index, piece in enumerate(pieces)
    ]


def annex_b(*units: bytes) -> bytes:
    return b"".join(START + unit for unit in units)


def knowing() -> H264Depacketizer:
    depacketizer = H264Depacketizer()
    depacketizer.learn(stap_a(SPS, PPS))
    return depacketizer


@pytest.mark.parametrize(
    ("payloads", "expected"),
    [
        pytest.param([SPS, PPS, IDR], annex_b(SPS, PPS, IDR), id="single units"),
        pytest.param([stap_a(SPS, PPS), IDR], annex_b(SPS, PPS, IDR), id="aggregated sets"),
        pytest.param([stap_a(SPS, PPS, IDR)], annex_b(SPS, PPS, IDR), id="all aggregated"),
        pytest.param([stap_a(SPS, PPS), *fu_a(IDR, 2, 3)], annex_b(SPS, PPS, IDR), id="fragments"),
        pytest.param(
            [stap_a(SPS, PPS, SEI), *fu_a(IDR, 2), *fu_a(IDR_SECOND, 3)],
            annex_b(SPS, PPS, SEI, IDR, IDR_SECOND),
            id="two slices",
        ),
        pytest.param([IDR], annex_b(SPS, PPS, IDR), id="bare, sets in front"),
        pytest.param([PPS, IDR], annex_b(SPS, PPS, IDR), id="one set missing"),
        pytest.param([SPS, PPS, SLICE], None, id="no IDR"),
        pytest.param([SPS, PPS], None, id="sets alone"),
        pytest.param([], None, id="nothing"),
        pytest.param([*fu_a(IDR, 2, 3)[1:]], None, id="fragments without their first"),
        pytest.param([*fu_a(IDR, 2, 3)[:2]], None, id="fragments without their last"),
        pytest.param([*fu_a(IDR, 2)[:1], IDR], None, id="fragments broken off"),
        pytest.param([*fu_a(IDR, 2)[:1], *fu_a(IDR, 2)], None, id="fragments begun twice"),
        pytest.param([IDR, b"\x7c\x85"], None, id="fragment without data"),
        pytest.param([IDR, b"\x7c"], None, id="fragment without header"),
        pytest.param([IDR, stap_a(SPS)[:-1]], None, id="aggregate cut off"),
        pytest.param([IDR, stap_a(SPS, b"")], None, id="empty unit in an aggregate"),
        pytest.param([IDR, b"\x79abc"], None, id="interleaved mode (STAP-B)"),
    ],
)
def test_assembles_access_units(payloads: list[bytes], expected: bytes | None) -> None:
    """In Annex B; None where a decoder would get less than was sent."""
    assert knowing().assemble(payloads) == expected


def test_nothing_is_assembled_before_the_sets_are_known() -> None:
    """A decoder could do nothing with it."""
    depacketizer = H264Depacketizer()
    assert depacketizer.assemble([IDR]) is None
    assert depacketizer.assemble([SPS, IDR]) is None
    assert not depacketizer.is_ready
    assert depacketizer.assemble([PPS, IDR]) == annex_b(SPS, PPS, IDR)
    assert depacketizer.is_ready


@pytest.mark.parametrize(
    ("payload", "starts_unit", "starts_keyframe"),
    [
        pytest.param(SPS, True, False, id="SPS"),
        pytest.param(PPS, False, False, id="PPS"),
        pytest.param(AUD, False, False, id="delimiter"),
        pytest.param(stap_a(SPS, PPS), True, False, id="aggregated sets"),
        pytest.param(stap_a(SPS, PPS, IDR), True, True, id="aggregated frame"),
        pytest.param(stap_a(SEI, IDR), False, True, id="aggregated IDR without sets"),
        pytest.param(IDR, False, True, id="first slice"),
        pytest.param(IDR_SECOND, False, False, id="second slice"),
        pytest.param(fu_a(IDR, 2)[0], False, True, id="first fragment of the first slice"),
        pytest.param(fu_a(IDR, 2)[1], False, False, id="later fragment"),
        pytest.param(fu_a(IDR_SECOND, 2)[0], False, False, id="first fragment of another slice"),
        pytest.param(SLICE, False, False, id="no IDR"),
        pytest.param(fu_a(SLICE, 2)[0], False, False, id="fragment of no IDR"),
        pytest.param(b"", False, False, id="empty"),
        pytest.param(b"\x65", False, False, id="IDR without data"),
        pytest.param(b"\x7c\x85", False, False, id="fragment without data"),
    ],
)
def test_recognises_starts(payload: bytes, starts_unit: bool, starts_keyframe: bool) -> None:
    """Certain starts of an access unit, and of picture data."""
    depacketizer = H264Depacketizer()
    assert depacketizer.starts_access_unit(payload) is starts_unit
    assert depacketizer.starts_keyframe(payload) is starts_keyframe


@pytest.mark.parametrize(
    ("text", "is_ready"),
    [
        pytest.param(",".join(base64.b64encode(x).decode() for x in (SPS, PPS)), True, id="both"),
        pytest.param(base64.b64encode(SPS).decode(), False, id="one"),
        pytest.param("", False, id="none"),
        pytest.param("Z0LgH6o,%%%,,é", False, id="malformed"),
    ],
)
def test_takes_the_sets_of_the_offer(text: str, is_ready: bool) -> None:
    """sprop-parameter-sets (RFC 6184, 8.1); what is malformed is ignored."""
    assert H264Depacketizer(text).is_ready is is_ready


def test_newer_sets_replace_older_ones() -> None:
    """The stream's own are the newest."""
    depacketizer = knowing()
    newer = SPS + b"\x01"
    depacketizer.learn(newer)
    assert depacketizer.assemble([IDR]) == annex_b(newer, PPS, IDR)


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=6))
def test_garbage_never_raises(payloads: list[bytes]) -> None:
    """Of any payloads, in any order."""
    depacketizer = knowing()
    for payload in payloads:
        depacketizer.learn(payload)
        depacketizer.starts_access_unit(payload)
        depacketizer.starts_keyframe(payload)
    depacketizer.assemble(payloads)
