"""VP9 payloads (RFC 9628): which begin a key picture, and what its layers are put together to."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.codecs.codec import PayloadKind
from cloudslice.codecs.vp9 import VP9, Vp9Depacketizer
from cloudslice.codecs.vp9_units import Descriptor, read_descriptor, split_superframe, superframe
from cloudslice.media.tracks import Keyframe
from cloudslice.slicing.pictures.decoding import decode
from helpers.encoded_video import encoded_frames
from helpers.payloads import captured_payloads, vp9_payloads

CHROMIUM = captured_payloads(Path(__file__).parent / "captures" / "chromium-vp9-l3t3-key.payloads")
"""A key picture of Chromium's camera in three spatial layers, L3T3_KEY."""
SIZES = [(320, 180), (640, 360), (1280, 720)]
LAYERS = [CHROMIUM[:1], CHROMIUM[1:3], CHROMIUM[3:]]
KEY = VP9.sample


def assemble(payloads: list[bytes]) -> bytes | None:
    return Vp9Depacketizer().assemble(payloads, 0, is_first_known=True)


def shown_size(data: bytes) -> tuple[int, int]:
    frame = decode(Keyframe(VP9.decoding, data, 0.0, 0))
    return frame.width, frame.height


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_all_layers_that_came_are_one_picture(layers: int) -> None:
    """Of the highest one's size: a server leaves out what a receiver has no bandwidth for."""
    data = assemble([payload for layer in LAYERS[:layers] for payload in layer])
    assert data is not None
    assert shown_size(data) == SIZES[layers - 1]
    assert VP9.coded_size(data) == SIZES[layers - 1]


@pytest.mark.parametrize(
    ("lost", "layers"), [(0, 0), (1, 0), (2, 0), (3, 0), (5, 2)], ids=lambda each: str(each)
)
def test_no_torn_layer_is_pictured(lost: int, layers: int) -> None:
    """What lies between others is the assembler's business; what an end tells is not."""
    data = assemble([each for at, each in enumerate(CHROMIUM) if at != lost])
    assert (data is None) is (layers == 0)
    if data is not None:
        assert shown_size(data) == SIZES[layers - 1]


def test_a_layer_above_one_that_was_left_out_is_of_no_use() -> None:
    data = assemble([*LAYERS[0], *LAYERS[2]])
    assert data is not None
    assert shown_size(data) == SIZES[0]


def test_a_layer_that_needs_an_earlier_picture_is_of_no_use() -> None:
    predicted = [bytes([each[0] | 0x40]) + each[1:] for each in LAYERS[2]]
    data = assemble([*LAYERS[0], *LAYERS[1], *predicted])
    assert data is not None
    assert shown_size(data) == SIZES[1]


def test_chromium_begins_a_key_picture_with_its_lowest_layer() -> None:
    kinds = [Vp9Depacketizer().take(each, 0) for each in CHROMIUM]
    assert [each.begins_keyframe for each in kinds] == [True] + [False] * 5
    assert [each.opens for each in kinds] == [True] + [False] * 5
    assert all(each.has_picture for each in kinds)


def test_frames_that_are_predicted_are_no_key_frames() -> None:
    frames = encoded_frames(VP9)
    for frame in frames[:4]:
        kinds = [Vp9Depacketizer().take(each, 0) for each in frame.payloads]
        assert kinds[0].opens
        assert [each.begins_keyframe for each in kinds] == [frame.is_key] + [False] * (
            len(kinds) - 1
        )
        assert (assemble(list(frame.payloads)) is not None) is frame.is_key


def test_the_frame_itself_says_whether_it_is_a_key_frame() -> None:
    """Not the descriptor alone."""
    predicted = next(each for each in encoded_frames(VP9) if not each.is_key).payloads
    assert assemble([bytes([each[0] & ~0x40]) + each[1:] for each in predicted]) is None


@pytest.mark.parametrize(
    ("descriptor", "expected"),
    [
        ("08", Descriptor(1, True, False, False, 0)),
        ("8405", Descriptor(2, False, True, False, 0)),
        ("8c8005", Descriptor(3, True, True, False, 0)),
        ("681007", Descriptor(3, True, False, True, 0)),
        ("282307", Descriptor(3, True, False, False, 1)),
        ("7805" + "030502", Descriptor(5, True, False, True, 2)),
        ("0a" + "08" + "01" + "04" + "01", Descriptor(5, True, False, False, 0)),
        ("0a" + "30" + "00" * 8, Descriptor(10, True, False, False, 0)),
        ("0a18" + "00" * 4 + "02080102" + "00", Descriptor(11, True, False, False, 0)),
    ],
    ids=[
        "nothing but flags",
        "picture id of 7 bits",
        "picture id of 15 bits",
        "layers",
        "upper layer",
        "flexible, with three references",
        "group of pictures",
        "two sizes",
        "sizes and a group",
    ],
)
def test_reads_descriptors(descriptor: str, expected: Descriptor) -> None:
    data = bytes.fromhex(descriptor)
    assert read_descriptor(data + b"x") == expected
    for length in range(len(data) + 1):
        assert read_descriptor(data[:length]) is None


def test_a_payload_that_is_cut_off_is_nothing() -> None:
    assert Vp9Depacketizer().take(b"\x88", 0) == PayloadKind()
    assert assemble([b"\x88"]) is None
    assert Vp9Depacketizer().join([b"\x0c" + KEY, b"\x88"]) is None


def test_a_key_frame_goes_through_packets_unchanged() -> None:
    depacketizer = Vp9Depacketizer()
    assert depacketizer.is_ready
    assert assemble(depacketizer.split(KEY)) == KEY
    payloads = vp9_payloads([KEY], is_key=True, limit=7)
    assert len(payloads) == 4
    assert assemble(payloads) == depacketizer.join(payloads) == KEY


@given(st.lists(st.binary(min_size=1, max_size=700), min_size=2, max_size=8))
def test_a_superframe_is_split_as_it_was_joined(frames: list[bytes]) -> None:
    assert split_superframe(superframe(frames)) == frames


def test_an_index_of_the_encoder_stays() -> None:
    """libvpx may put one behind the last layer."""
    layers = split_superframe(assemble(CHROMIUM) or b"")
    index = superframe(layers)[sum(map(len, layers)) :]
    payloads = vp9_payloads([*layers[:2], layers[2] + index], is_key=True, sizes=SIZES)
    assert assemble(payloads) == superframe(layers)


@given(st.lists(st.binary(max_size=24), max_size=6))
def test_garbage_never_raises(payloads: list[bytes]) -> None:
    """Of any payloads, in any order."""
    depacketizer = Vp9Depacketizer()
    for payload in filter(None, payloads):
        depacketizer.take(payload, 0)
    depacketizer.assemble(payloads, 0, is_first_known=True)
    VP9.coded_size(b"".join(payloads))


@given(st.data())
def test_a_damaged_picture_never_raises(data: st.DataObject) -> None:
    """Whatever bits of real packets are wrong: an error, or a picture, and nothing else."""
    payloads = [bytearray(each) for each in CHROMIUM]
    for _ in range(data.draw(st.integers(1, 4))):
        payload = payloads[data.draw(st.integers(0, len(payloads) - 1))]
        payload[data.draw(st.integers(0, min(40, len(payload) - 1)))] ^= data.draw(
            st.integers(1, 255)
        )
    found = assemble([bytes(each) for each in payloads])
    if found is not None:
        VP9.coded_size(found)
