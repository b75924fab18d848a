"""AV1 payloads: which begin a key picture, and what their elements are put together to."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.codecs.av1 import AV1, Av1Depacketizer
from cloudslice.codecs.av1_units import (
    SEQUENCE_HEADER,
    read_leb128,
    split_units,
    temporal_unit,
    write_leb128,
)
from cloudslice.codecs.codec import PayloadKind
from cloudslice.media.tracks import Keyframe
from cloudslice.slicing.pictures.decoding import decode
from helpers.encoded_video import decode_keyframe, encoded_frames, picture_number
from helpers.payloads import captured_payloads

CHROMIUM = captured_payloads(Path(__file__).parent / "captures" / "chromium-av1-l3t3-key.payloads")
"""A key picture of Chromium's camera in three spatial layers, L3T3_KEY."""
SIZES = [(320, 180), (640, 360), (1280, 720)]
FRAMES = encoded_frames(AV1)
KEY = list(FRAMES[0].payloads)


def assemble(
    payloads: list[bytes], depacketizer: Av1Depacketizer | None = None, first: int = 0
) -> bytes | None:
    return (depacketizer or Av1Depacketizer()).assemble(payloads, first, is_first_known=True)


def joined(frame: bytes) -> bytes:
    """In one payload, each element with its size."""
    [payload] = Av1Depacketizer().split(frame)
    return payload


def without_sequence_header(frame: bytes) -> bytes:
    units = split_units(frame) or []
    return temporal_unit(unit for unit in units if unit.kind != SEQUENCE_HEADER)


def test_an_encoder_s_frames_come_out_as_they_were() -> None:
    for frame in FRAMES:
        data = assemble(list(frame.payloads))
        assert (data is not None) is frame.is_key
        if data is not None:
            assert picture_number(decode_keyframe(AV1.decoding, data)) == frame.number


def test_a_key_frame_begins_once() -> None:
    """Where its picture data do, be it behind a packet with its sequence header alone."""
    for frame in FRAMES[:3]:
        kinds = [Av1Depacketizer().take(each, 0) for each in frame.payloads]
        assert sum(each.begins_keyframe for each in kinds) == frame.is_key
        assert all(each.has_picture for each in kinds[-2:])


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_all_layers_that_came_are_one_picture(layers: int) -> None:
    """Of the highest one's size: a server leaves out what a receiver has no bandwidth for."""
    units = split_units(assemble(CHROMIUM) or b"") or []
    data = assemble([joined(temporal_unit(unit for unit in units if unit.spatial < layers))])
    assert data is not None
    frame = decode(Keyframe(AV1.decoding, data, 0.0, 0))
    assert (frame.width, frame.height) == SIZES[layers - 1]
    assert AV1.coded_size(data) == SIZES[layers - 1]


def test_upper_layers_alone_are_no_picture() -> None:
    units = split_units(assemble(CHROMIUM) or b"") or []
    upper = (unit for unit in units if unit.kind == SEQUENCE_HEADER or unit.spatial)
    assert assemble([joined(temporal_unit(upper))]) is None


def test_chromium_begins_a_key_picture_once() -> None:
    kinds = [Av1Depacketizer().take(each, 0) for each in CHROMIUM]
    assert [each.begins_keyframe for each in kinds] == [True] + [False] * (len(kinds) - 1)


@pytest.mark.parametrize("lost", range(len(KEY)))
def test_no_torn_frame_is_pictured(lost: int) -> None:
    """An element that goes on in a packet which did not come, or began in one."""
    payloads = [each for at, each in enumerate(KEY) if at != lost]
    depacketizer = Av1Depacketizer()
    data = depacketizer.assemble(payloads, 0, is_first_known=False)
    middle_of_an_element = 1 < lost < len(KEY) - 1
    assert (data is None) is not middle_of_an_element  # that gap is the assembler's to know


def test_a_sequence_header_that_came_before_is_put_in_front() -> None:
    depacketizer = Av1Depacketizer()
    whole = assemble(KEY, depacketizer)
    assert whole is not None
    assert depacketizer.is_ready
    bare = [joined(without_sequence_header(whole))]
    assert assemble(bare, depacketizer, 100) == whole
    assert assemble(bare) is None
    assert depacketizer.assemble(bare, 100, is_first_known=False) is None


def test_a_sequence_header_is_remembered_of_packets_in_any_order() -> None:
    depacketizer = Av1Depacketizer()
    assert not depacketizer.is_ready
    for at, payload in reversed(list(enumerate(KEY))):
        depacketizer.take(payload, at)
    assert depacketizer.is_ready


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\x10", id="no element"),
        pytest.param(b"\x00\x05\x32\x10", id="longer than the packet"),
        pytest.param(b"\x20\x02\x32\x10", id="second of two missing"),
        pytest.param(b"\x00\xff\xff\xff\xff\xff\xff", id="endless length"),
    ],
)
def test_a_payload_that_is_cut_off_is_nothing(payload: bytes) -> None:
    assert Av1Depacketizer().take(payload, 0) == PayloadKind()
    assert assemble([payload]) is None


def test_units_with_sizes_of_their_own_are_read_too() -> None:
    """They may have them (AV1 RTP payload format, 4.5)."""
    units = split_units(AV1.sample) or []
    sized = [temporal_unit([unit])[2:] for unit in units if unit.kind != 2]
    payload = b"\x08" + b"".join(write_leb128(len(each)) + each for each in sized)
    assert Av1Depacketizer().take(payload, 0).begins_keyframe
    assert assemble([payload]) == AV1.sample


@given(st.integers(0, 2**32 - 1))
def test_numbers_are_read_as_they_were_written(value: int) -> None:
    data = write_leb128(value)
    assert read_leb128(b"x" + data, 1) == (value, 1 + len(data))
    assert read_leb128(data[:-1], 0) is None


@given(st.lists(st.binary(max_size=24), max_size=6))
def test_garbage_never_raises(payloads: list[bytes]) -> None:
    """Of any payloads, in any order."""
    depacketizer = Av1Depacketizer()
    for payload in filter(None, payloads):
        depacketizer.take(payload, 0)
    depacketizer.assemble(payloads, 0, is_first_known=True)
    depacketizer.split(b"".join(payloads))
    AV1.coded_size(b"".join(payloads))


@given(st.data())
def test_a_damaged_picture_never_raises(data: st.DataObject) -> None:
    payloads = [bytearray(each) for each in CHROMIUM]
    for _ in range(data.draw(st.integers(1, 4))):
        payload = payloads[data.draw(st.integers(0, len(payloads) - 1))]
        payload[data.draw(st.integers(0, min(40, len(payload) - 1)))] ^= data.draw(
            st.integers(1, 255)
        )
    found = assemble([bytes(each) for each in payloads])
    if found is not None:
        AV1.coded_size(found)
