"""VP8 payloads (RFC 7741): which start a key frame, and what they are put together to."""

import pytest
from aiortc.codecs.vpx import VpxPayloadDescriptor
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.codecs.codec import PayloadKind
from cloudslice.codecs.vp8 import Vp8Depacketizer

KEY = b"\x10\x02\x00\x9d\x01\x2a\x40\x01"
DELTA = b"\x11\x02\x00\x9d\x01\x2a\x40\x01"


@given(
    picture_id=st.none() | st.integers(0, 0x7FFF),
    tl0picidx=st.none() | st.integers(0, 255),
    tid=st.none() | st.tuples(st.integers(0, 3), st.integers(0, 1)),
    keyidx=st.none() | st.integers(0, 31),
    is_start=st.booleans(),
    partition=st.integers(0, 7),
    frame=st.sampled_from([KEY, DELTA, b"\x10\x02", b"\x00"]),
)
def test_reads_every_descriptor_that_aiortc_writes(
    picture_id: int | None,
    tl0picidx: int | None,
    tid: tuple[int, int] | None,
    keyidx: int | None,
    is_start: bool,
    partition: int,
    frame: bytes,
) -> None:
    """A key frame starts where partition 0 starts and the frame's tag says so."""
    descriptor = VpxPayloadDescriptor(int(is_start), partition, picture_id, tl0picidx, tid, keyidx)
    payload = bytes(descriptor) + frame
    depacketizer = Vp8Depacketizer()
    is_key = is_start and partition == 0 and frame is KEY
    kind = depacketizer.take(payload, 0)
    assert kind.has_picture
    assert kind.opens is (is_start and partition == 0)
    assert kind.begins_keyframe is is_key
    assembled = depacketizer.assemble([payload, b"\x00tail"], 0, is_first_known=False)
    assert assembled == (frame + b"tail" if is_key else None)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x10", id="descriptor alone"),
        pytest.param(b"\x90", id="extension missing"),
        pytest.param(b"\x90\x80", id="picture id missing"),
        pytest.param(b"\x90\x80\x81", id="second byte of the picture id missing"),
        pytest.param(b"\x90\xf0\x01\x02\x03", id="nothing behind the descriptor"),
    ],
)
def test_a_cut_off_payload_spoils_its_frame(payload: bytes) -> None:
    """Less than was sent is nothing."""
    payloads = [b"\x10" + KEY, payload]
    assert Vp8Depacketizer().assemble(payloads, 0, is_first_known=True) is None
    if payload:
        assert Vp8Depacketizer().take(payload, 0) == PayloadKind()


def test_a_key_frame_stands_alone() -> None:
    """There is nothing to learn before it."""
    assert Vp8Depacketizer().is_ready


@given(st.lists(st.binary(max_size=12), max_size=6))
def test_garbage_never_raises(payloads: list[bytes]) -> None:
    """Of any payloads, in any order."""
    depacketizer = Vp8Depacketizer()
    for payload in filter(None, payloads):
        depacketizer.take(payload, 0)
    depacketizer.assemble(payloads, 0, is_first_known=True)
