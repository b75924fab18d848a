"""H.264 payloads (RFC 6184): which are key frames, and what they are put together to."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.codecs.codec import PayloadKind
from cloudslice.codecs.h264 import H264Depacketizer
from helpers.h264_streams import fu_a, stap_a

START = b"\x00\x00\x00\x01"
ONE_I, ONE_P, ALL_I, ALL_P, B, SI = 2, 0, 7, 5, 1, 4
"""slice_type."""
NOTHING = PayloadKind()
OPENS = PayloadKind(opens=True)
PICTURE = PayloadKind(has_picture=True)
REFRESH = PayloadKind(opens=True, refreshes=True)
BEGINS = PayloadKind(opens=True, has_picture=True)
KEY = BEGINS._replace(begins_keyframe=True)


def unit(header: int, *numbers: int, fixed: bytes = b"", tail: bytes = b"\x9a\xbc") -> bytes:
    """A NAL unit of fixed bytes and Exp-Golomb numbers, with emulation prevention."""
    bits = "".join(f"{number + 1:0{2 * (number + 1).bit_length() - 1}b}" for number in numbers)
    bits += "0" * (-len(bits) % 8)
    body = fixed + int(bits or "0", 2).to_bytes(len(bits) // 8) + tail
    escaped, zeros = bytearray(), 0
    for byte in body:
        if zeros == 2 and byte <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes([header]) + bytes(escaped)


def sps(number: int = 0, *, tail: bytes = b"\xaa") -> bytes:
    return unit(0x67, number, fixed=b"\x42\xe0\x1f", tail=tail)


def pps(number: int = 0, sps_number: int = 0, *, tail: bytes = b"\x80") -> bytes:
    return unit(0x68, number, sps_number, tail=tail)


def idr(first_mb: int = 0, slice_type: int = ALL_I, pps_number: int = 0) -> bytes:
    return unit(0x65, first_mb, slice_type, pps_number)


def other(first_mb: int = 0, slice_type: int = ALL_P, pps_number: int = 0) -> bytes:
    return unit(0x41, first_mb, slice_type, pps_number)


def recovery_point(frames: int) -> bytes:
    return unit(0x06, frames, fixed=b"\x06\x02" if frames else b"\x06\x01", tail=b"\x80")


SPS, PPS, IDR, IDR_SECOND = sps(), pps(), idr(), idr(120)
SEI, AUD = b"\x06\x05\x01\x80\x80", b"\x09\x10"
RECOVERY = recovery_point(0)
INSERTED = b"\x06\x06\x01\xc4\x80"


def annex_b(*units: bytes) -> bytes:
    return b"".join(START + each for each in units)


def knowing(*units: bytes) -> H264Depacketizer:
    depacketizer = H264Depacketizer()
    depacketizer.take(stap_a(*(units or (SPS, PPS))), 0)
    return depacketizer


def assemble(
    depacketizer: H264Depacketizer, *payloads: bytes, first: int = 10, is_first_known: bool = True
) -> bytes | None:
    return depacketizer.assemble(payloads, first, is_first_known=is_first_known)


@pytest.mark.parametrize(
    ("payloads", "expected"),
    [
        pytest.param([SPS, PPS, IDR], annex_b(SPS, PPS, IDR), id="single units"),
        pytest.param([stap_a(SPS, PPS), IDR], annex_b(SPS, PPS, IDR), id="aggregated sets"),
        pytest.param([stap_a(SPS, PPS, IDR)], annex_b(SPS, PPS, IDR), id="all aggregated"),
        pytest.param([stap_a(SPS, PPS), *fu_a(IDR, 2, 3)], annex_b(SPS, PPS, IDR), id="fragments"),
        pytest.param(
            [*fu_a(SPS, 3), PPS, IDR], annex_b(SPS, PPS, IDR), id="parameter set in fragments"
        ),
        pytest.param(
            [stap_a(SPS, PPS, SEI), *fu_a(IDR, 2), *fu_a(IDR_SECOND, 3)],
            annex_b(SPS, PPS, SEI, IDR, IDR_SECOND),
            id="two slices",
        ),
        pytest.param([AUD, PPS, SPS, IDR], annex_b(SPS, PPS, AUD, IDR), id="PPS before SPS"),
        pytest.param([IDR], annex_b(SPS, PPS, IDR), id="bare, sets in front"),
        pytest.param([PPS, IDR], annex_b(SPS, PPS, IDR), id="one set missing"),
        pytest.param([other(slice_type=ALL_I)], annex_b(SPS, PPS, INSERTED, other(0, 7)), id="I"),
        pytest.param(
            [other(slice_type=ONE_I)], annex_b(SPS, PPS, INSERTED, other(0, ONE_I)), id="I slice"
        ),
        pytest.param(
            [AUD, RECOVERY, other(0, ALL_I), other(120, ALL_I)],
            annex_b(SPS, PPS, AUD, RECOVERY, INSERTED, other(0, ALL_I), other(120, ALL_I)),
            id="I at a recovery point",
        ),
        pytest.param([SPS, PPS, other()], None, id="P"),
        pytest.param([other(0, ALL_I), other(120, ONE_P)], None, id="I and P slices"),
        pytest.param([other(slice_type=B)], None, id="B"),
        pytest.param([other(slice_type=SI)], None, id="SI"),
        pytest.param([IDR, other(120, ALL_I)], None, id="IDR and other slices"),
        pytest.param([IDR, b"\x42\x88"], None, id="data partitions"),
        pytest.param([IDR_SECOND], None, id="first slice missing"),
        pytest.param([b"\x65"], None, id="slice without header"),
        pytest.param([idr(pps_number=1)], None, id="unknown PPS"),
        pytest.param([pps(1, 1), idr(pps_number=1)], None, id="unknown SPS"),
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
        pytest.param([IDR, b"\x79abc"], None, id="STAP-B"),
        pytest.param([IDR, b"\x7aabc"], None, id="MTAP"),
        pytest.param([IDR, b"\x7d\x85abc"], None, id="FU-B"),
    ],
)
def test_assembles_access_units(payloads: list[bytes], expected: bytes | None) -> None:
    """In Annex B; None where a decoder would get less than was sent."""
    assert assemble(knowing(), *payloads) == expected


@pytest.mark.parametrize(
    ("known", "payloads", "expected"),
    [
        pytest.param(
            [sps(0), sps(3), pps(0, 0), pps(1, 3)],
            [idr(pps_number=1)],
            [sps(3), pps(1, 3), idr(pps_number=1)],
            id="the one that is referred to",
        ),
        pytest.param(
            [sps(0), pps(0), pps(40)],
            [idr(0, pps_number=40), idr(120)],
            [sps(0), pps(0), pps(40), idr(0, pps_number=40), idr(120)],
            id="one for each slice",
        ),
        pytest.param(
            [sps(0), pps(0)],
            [pps(1, 31), sps(31), idr(pps_number=1)],
            [sps(31), pps(1, 31), idr(pps_number=1)],
            id="ids that change",
        ),
        pytest.param(
            [sps(0), pps(0)],
            [sps(0, tail=b"\xbb"), pps(0, tail=b"\xc0"), idr()],
            [sps(0, tail=b"\xbb"), pps(0, tail=b"\xc0"), idr()],
            id="its own first",
        ),
        pytest.param(
            [pps(255, 0), sps(0)],
            [idr(0, pps_number=255)],
            [sps(0), pps(255, 0), idr(0, pps_number=255)],
            id="PPS known before SPS",
        ),
    ],
)
def test_the_sets_that_slices_refer_to_stand_in_front(
    known: list[bytes], payloads: list[bytes], expected: list[bytes]
) -> None:
    assert assemble(knowing(*known), *payloads) == annex_b(*expected)


def test_ids_are_read_without_emulation_prevention() -> None:
    escaped = unit(0x67, 2, fixed=b"\x00\x00\x01", tail=b"\xaa")
    assert escaped.startswith(b"\x67\x00\x00\x03\x01")
    assert assemble(knowing(escaped, pps(0, 2)), IDR) == annex_b(escaped, pps(0, 2), IDR)


def test_nothing_is_assembled_before_the_sets_are_known() -> None:
    """A decoder could do nothing with it."""
    depacketizer = H264Depacketizer()
    assert assemble(depacketizer, IDR, first=1) is None
    assert assemble(depacketizer, SPS, IDR, first=2) is None
    assert not depacketizer.is_ready
    assert assemble(depacketizer, PPS, IDR, first=3) == annex_b(SPS, PPS, IDR)
    assert depacketizer.is_ready


def test_what_is_missing_in_front_may_have_brought_other_sets() -> None:
    depacketizer = knowing()
    assert assemble(depacketizer, IDR, is_first_known=False) is None
    assert assemble(depacketizer, PPS, IDR, is_first_known=False) is None
    complete = assemble(depacketizer, PPS, SPS, IDR, is_first_known=False)
    assert complete == annex_b(SPS, PPS, IDR)


def test_sets_that_came_with_a_later_frame_are_not_a_former_ones() -> None:
    """It is completed by a retransmission, perhaps."""
    depacketizer = knowing()
    depacketizer.take(sps(tail=b"\xbb"), 20)
    assert assemble(depacketizer, IDR, first=10) is None
    assert assemble(depacketizer, IDR, first=21) == annex_b(sps(tail=b"\xbb"), PPS, IDR)


def test_sets_are_kept_in_the_order_in_which_they_were_sent() -> None:
    depacketizer = knowing()
    depacketizer.take(sps(tail=b"\xbb"), 20)
    depacketizer.take(sps(tail=b"\xcc"), 15)
    depacketizer.take(sps(tail=b"\xbb"), 40)
    assert assemble(depacketizer, IDR, first=30) == annex_b(sps(tail=b"\xbb"), PPS, IDR)


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param(sps(32), id="SPS id too high"),
        pytest.param(pps(256), id="PPS id too high"),
        pytest.param(pps(0, 32), id="PPS of an SPS id too high"),
        pytest.param(b"\x67\x42\xe0", id="SPS cut off"),
        pytest.param(b"\x67\x42\xe0\x1f\x00", id="SPS id cut off"),
        pytest.param(b"\x68", id="PPS cut off"),
        pytest.param(sps(1, tail=bytes([0xAA]) * 2000), id="too long"),
    ],
)
def test_a_set_that_makes_no_sense_is_not_kept(unit: bytes) -> None:
    depacketizer = knowing()
    before = depacketizer._sets.all
    depacketizer.take(unit, 5)
    assert depacketizer._sets.all == before


def test_memory_is_bounded_whatever_sets_come() -> None:
    depacketizer = H264Depacketizer()
    for number in range(1000):
        depacketizer.take(sps(number, tail=bytes([0xAA]) * 1000), number)
        depacketizer.take(pps(number, tail=bytes([0xAA]) * 1000), number)
    assert sum(len(each.unit) for each in depacketizer._sets.all) <= 288 * 1024


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        pytest.param(SPS, OPENS, id="SPS"),
        pytest.param(PPS, OPENS, id="PPS"),
        pytest.param(AUD, OPENS, id="delimiter"),
        pytest.param(SEI, OPENS, id="SEI"),
        pytest.param(b"\x0c\xff\x80", NOTHING, id="filler"),
        pytest.param(stap_a(SPS, PPS), OPENS, id="aggregated sets"),
        pytest.param(stap_a(SPS, PPS, IDR), KEY, id="aggregated frame"),
        pytest.param(stap_a(IDR_SECOND, SEI), PICTURE, id="aggregate that begins with a slice"),
        pytest.param(IDR, KEY, id="first slice"),
        pytest.param(IDR_SECOND, PICTURE, id="second slice"),
        pytest.param(fu_a(IDR, 2)[0], KEY, id="first fragment of the first slice"),
        pytest.param(fu_a(IDR, 2)[1], PICTURE, id="later fragment"),
        pytest.param(fu_a(IDR_SECOND, 2)[0], PICTURE, id="first fragment of another slice"),
        pytest.param(other(), BEGINS, id="P"),
        pytest.param(other(120), PICTURE, id="second slice of P"),
        pytest.param(other(slice_type=ALL_I), KEY, id="I"),
        pytest.param(fu_a(other(), 3)[0], BEGINS, id="fragment of P"),
        pytest.param(fu_a(other(slice_type=ALL_I), 3)[0], KEY, id="fragment of I"),
        pytest.param(fu_a(other(slice_type=ALL_I), 2)[0], KEY, id="fragment that ends too early"),
        pytest.param(fu_a(SPS, 2)[0], OPENS, id="fragment of an SPS"),
        pytest.param(fu_a(SPS, 2)[1], NOTHING, id="later fragment of an SPS"),
        pytest.param(b"\x42\x88", PICTURE, id="data partition"),
        pytest.param(b"\x65", PICTURE, id="IDR without data"),
        pytest.param(b"\x7c\x85", NOTHING, id="fragment without data"),
        pytest.param(b"\x79abc", NOTHING, id="STAP-B"),
        pytest.param(RECOVERY, OPENS, id="recovery point at once"),
        pytest.param(recovery_point(29), REFRESH, id="recovery point later"),
        pytest.param(b"\x06\x06\x00\x80", OPENS, id="recovery point without data"),
        pytest.param(b"\x06\x06\xff", OPENS, id="recovery point cut off"),
        pytest.param(
            b"\x06\xff\xff\x04\x01\xaa" + b"\x06\x01\x50\x80", REFRESH, id="second message"
        ),
    ],
)
def test_tells_what_a_payload_is(payload: bytes, kind: PayloadKind) -> None:
    assert H264Depacketizer().take(payload, 0) == kind


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
    depacketizer = H264Depacketizer(text)
    assert depacketizer.is_ready is is_ready
    assert (assemble(depacketizer, IDR, first=0) is not None) is is_ready


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=6), st.booleans())
def test_garbage_never_raises(payloads: list[bytes], is_first_known: bool) -> None:
    """Of any payloads, in any order."""
    depacketizer = knowing()
    for sequence, payload in enumerate(payloads):
        depacketizer.take(payload, sequence)
    assemble(depacketizer, *payloads, is_first_known=is_first_known)


@given(
    st.lists(
        st.builds(
            lambda header, body: bytes([header]) + body,
            st.sampled_from([0x65, 0x41, 0x67, 0x68, 0x06, 0x7C, 0x78]),
            st.binary(max_size=30),
        ),
        max_size=6,
    )
)
def test_garbage_in_known_units_never_raises(payloads: list[bytes]) -> None:
    depacketizer = knowing()
    for sequence, payload in enumerate(payloads):
        depacketizer.take(payload, sequence)
        assemble(depacketizer, payload)
    assemble(depacketizer, SPS, PPS, *payloads)
