"""H.265 payloads (RFC 7798): which begin a key frame, and what they are put together to."""

import re
import socket
from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.codecs.codec import PayloadKind
from cloudslice.codecs.h265 import H265, H265Depacketizer
from cloudslice.codecs.h265_units import PPS, SPS, VPS, parameter_sets, type_of
from helpers.encoded_video import (
    HEIGHT,
    WIDTH,
    decode_keyframe,
    encoded_frames,
    numbered_picture,
    picture_number,
)
from helpers.encoders import open_encoder
from helpers.payloads import h265_payloads

FRAMES = encoded_frames(H265)
KEY = list(FRAMES[0].payloads)
SETS = (VPS, SPS, PPS)


def assemble(
    payloads: list[bytes], depacketizer: H265Depacketizer | None = None, first: int = 0
) -> bytes | None:
    return (depacketizer or H265Depacketizer()).assemble(payloads, first, is_first_known=True)


def units_of(access_unit: bytes) -> list[bytes]:
    return [each for each in re.split(rb"\0{2,}\x01", access_unit) if each]


def bare(payloads: list[bytes]) -> list[bytes]:
    """The units that are no parameter sets."""
    whole = assemble(payloads)
    assert whole is not None
    return [each for each in units_of(whole) if type_of(each) not in SETS]


def encoded(parameters: str, count: int = 4) -> list[bytes]:
    """Access units of x265, the first one a key frame."""
    defaults = "log-level=none:repeat-headers=1"
    encoder = open_encoder(H265, WIDTH, HEIGHT, {"x265-params": f"{defaults}:{parameters}"})
    units = []
    for number in range(count):
        picture = numbered_picture(number)
        picture.pts, picture.time_base = number, encoder.time_base
        units += [bytes(each) for each in encoder.encode(picture)]
    return units + [bytes(each) for each in encoder.encode(None)]


def test_an_encoder_s_frames_come_out_as_they_were() -> None:
    for frame in FRAMES:
        data = assemble(list(frame.payloads))
        assert (data is not None) is frame.is_key
        if data is not None:
            assert picture_number(decode_keyframe(H265.decoding, data)) == frame.number


@pytest.mark.parametrize(
    ("parameters", "kind"),
    [
        pytest.param("keyint=30:slices=4", (19, 20), id="IDR of four slices"),
        pytest.param("keyint=2:min-keyint=1:open-gop=1:bframes=0", (21,), id="CRA"),
        pytest.param("keyint=30:aud=1:hrd=1:vbv-maxrate=2000:vbv-bufsize=2000", (20, 19), id="AUD"),
    ],
)
def test_pictures_that_need_no_other_one_are_key_frames(
    parameters: str, kind: tuple[int, ...]
) -> None:
    """Each decodes alone, behind the parameter sets that it means."""
    depacketizer, found = H265Depacketizer(), set()
    for number, access_unit in enumerate(encoded(parameters)):
        payloads = h265_payloads(access_unit)
        kinds = [depacketizer.take(each, 100 * number) for each in payloads]
        data = assemble(payloads, depacketizer, 100 * number)
        assert (data is not None) is any(each.begins_keyframe for each in kinds)
        if data is not None:
            assert picture_number(decode_keyframe(H265.decoding, data)) == number
            found |= {type_of(each) for each in units_of(data) if type_of(each) < VPS}
    assert found & set(kind)


def test_ffmpeg_s_packets_come_out_as_its_encoder_made_them() -> None:
    """Of its own packetiser, which sends single units, aggregates and fragments."""
    sent = encoded("keyint=2:min-keyint=1:slices=3", 5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        address = f"rtp://127.0.0.1:{receiver.getsockname()[1]}?pkt_size=1200"
        with av.open(address, "w", format="rtp") as container:
            stream = container.add_stream("libx265", rate=30)
            stream.width, stream.height = WIDTH, HEIGHT
            frames = []
            for number, access_unit in enumerate(sent):
                packet = av.Packet(access_unit)
                packet.stream, packet.pts, packet.time_base = stream, number, Fraction(1, 30)
                packet.dts = number
                container.mux(packet)
                frames.append(_received_frame(receiver))
    depacketizer = H265Depacketizer()
    numbers = []
    for number, payloads in enumerate(frames):
        data = assemble(payloads, depacketizer, 100 * number)
        if data is not None:
            numbers.append(picture_number(decode_keyframe(H265.decoding, data)))
    assert numbers == [0, 2, 4]
    assert {type_of(each) for payloads in frames for each in payloads} >= {49}


def _received_frame(receiver: socket.socket) -> list[bytes]:
    """The payloads up to the one with the marker bit."""
    payloads = []
    while True:
        packet = receiver.recv(2000)
        if packet[1] & 0x7F != 96:  # RTCP
            continue
        payloads.append(packet[12:])
        if packet[1] & 0x80:
            return payloads


def test_a_key_frame_begins_once() -> None:
    for frame in FRAMES[:3]:
        kinds = [H265Depacketizer().take(each, 0) for each in frame.payloads]
        assert sum(each.begins_keyframe for each in kinds) == frame.is_key
        assert kinds[0].opens
        assert kinds[-1].has_picture


@pytest.mark.parametrize("lost", [0, 1, len(KEY) - 1])
def test_no_torn_frame_is_pictured(lost: int) -> None:
    payloads = [each for at, each in enumerate(KEY) if at != lost]
    assert H265Depacketizer().assemble(payloads, 0, is_first_known=False) is None


def test_parameter_sets_that_came_before_are_put_in_front() -> None:
    """If nothing that is missing may have brought others."""
    depacketizer = H265Depacketizer()
    for at, payload in enumerate(KEY):
        depacketizer.take(payload, at)
    assert depacketizer.is_ready
    payloads = bare(KEY)
    data = assemble(payloads, depacketizer, 100)
    assert data is not None
    assert [type_of(each) for each in units_of(data)][:3] == list(SETS)
    assert picture_number(decode_keyframe(H265.decoding, data)) == 0
    assert depacketizer.assemble(payloads, 100, is_first_known=False) is None
    assert assemble(payloads) is None


@pytest.mark.parametrize("missing", SETS)
def test_a_key_frame_without_one_of_its_parameter_sets_does_not_come(missing: int) -> None:
    whole = assemble(KEY)
    assert whole is not None
    assert assemble([each for each in units_of(whole) if type_of(each) != missing]) is None


def test_parameter_sets_come_in_any_order() -> None:
    whole = assemble(KEY)
    assert whole is not None
    units = units_of(whole)
    assert assemble([*reversed(units[:3]), *units[3:]]) == whole


def test_what_parameter_sets_say() -> None:
    sets = {each.key: each.needs for each in parameter_sets(units_of(H265.sample), 7)}
    assert sets == {(VPS, 0): None, (SPS, 0): (VPS, 0), (PPS, 0): (SPS, 0)}


def test_units_of_other_layers_are_left_out() -> None:
    """A decoder of one layer has no use for them."""
    units = units_of(H265.sample)
    upper = bytes([units[-1][0], units[-1][1] | 0x08]) + units[-1][2:]
    assert assemble([*units, upper]) == assemble(units)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\x26\x01", id="header alone"),
        pytest.param(b"\x60\x01\x00\x05\x26\x01", id="aggregate longer than the packet"),
        pytest.param(b"\x60\x01\x00\x00", id="empty unit in an aggregate"),
        pytest.param(b"\x62\x01\x93", id="fragment of nothing"),
        pytest.param(b"\x64\x01\x00\x00", id="PACI"),
        pytest.param(b"\xa6\x01\x80", id="forbidden bit"),
    ],
)
def test_a_payload_that_is_cut_off_is_nothing(payload: bytes) -> None:
    assert H265Depacketizer().take(payload, 0) == PayloadKind()
    assert assemble([payload]) is None


def test_a_frame_goes_through_payloads_unchanged() -> None:
    depacketizer = H265Depacketizer()
    payloads = depacketizer.split(H265.sample)
    assert len(payloads) == 4
    assert (
        depacketizer.join(payloads)
        == assemble(payloads)
        == b"\0\0\0\1" + (b"\0\0\0\1".join(units_of(H265.sample)))
    )


@given(st.lists(st.binary(max_size=24), max_size=6))
def test_garbage_never_raises(payloads: list[bytes]) -> None:
    """Of any payloads, in any order."""
    depacketizer = H265Depacketizer()
    for payload in filter(None, payloads):
        depacketizer.take(payload, 0)
    depacketizer.assemble(payloads, 0, is_first_known=True)
    H265.coded_size(b"\0\0\1".join(payloads))


@given(st.data())
def test_damaged_parameter_sets_never_raise(data: st.DataObject) -> None:
    frame = bytearray(H265.sample)
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    depacketizer = H265Depacketizer()
    assemble(depacketizer.split(bytes(frame)), depacketizer)
    H265.coded_size(bytes(frame))
