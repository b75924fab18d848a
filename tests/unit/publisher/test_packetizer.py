"""Payloads are judged by aiortc's depacketisers, and by the limits of the RFCs."""

import pytest
from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import VpxPayloadDescriptor, vp8_depayload

from cloudslice.codecs.h264 import H264
from cloudslice.codecs.vp8 import VP8
from cloudslice_publisher.packetizer import MAX_PAYLOAD, packetize, split_annex_b

SPS = b"\x67\x42\xe0\x1f\x8c"
PPS = b"\x68\xce\x3c\x80\x01"


def nal(kind: int, length: int) -> bytes:
    return bytes([0x60 | kind]) + bytes(1 + index % 255 for index in range(length - 1))


def annex_b(*nals: bytes) -> bytes:
    return b"".join(b"\x00\x00\x00\x01" + each for each in nals)


@pytest.mark.parametrize(
    ("stream", "nals"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"\x00\x00\x00\x01" + SPS, [SPS], id="four-byte start code"),
        pytest.param(b"\x00\x00\x01" + SPS + b"\x00\x00\x01" + PPS, [SPS, PPS], id="three bytes"),
        pytest.param(b"\x00\x00\x01" + SPS + b"\x00\x00", [SPS], id="trailing zeros"),
        pytest.param(b"\x00\x00\x01\x65\x00\x00\x03\x01", [b"\x65\x00\x00\x03\x01"], id="escaped"),
    ],
)
def test_annex_b_is_split_at_start_codes(stream: bytes, nals: list[bytes]) -> None:
    assert split_annex_b(stream) == nals


@pytest.mark.parametrize(
    "nals",
    [
        pytest.param([nal(1, 100)], id="one small"),
        pytest.param([SPS, PPS, nal(5, 100)], id="all in one packet"),
        pytest.param([SPS, PPS, nal(5, 9000)], id="parameter sets, then a large one"),
        pytest.param([nal(1, MAX_PAYLOAD)], id="exactly a packet"),
        pytest.param([nal(1, MAX_PAYLOAD + 1)], id="a byte more than a packet"),
        pytest.param([nal(1, 700), nal(1, 700), nal(1, 700)], id="slices that do not fit together"),
        pytest.param([nal(1, 5000), nal(6, 20), nal(1, 3000)], id="small between large"),
    ],
)
def test_h264_comes_out_of_its_payloads_as_it_went_in(nals: list[bytes]) -> None:
    """No payload is over the limit, and an independent depacketiser finds the same NAL units."""
    payloads = packetize(H264, annex_b(*nals))
    assert max(map(len, payloads)) <= MAX_PAYLOAD
    assert split_annex_b(b"".join(map(h264_depayload, payloads))) == nals


def test_small_h264_units_share_a_packet() -> None:
    """Parameter sets do not cost a packet each."""
    assert len(packetize(H264, annex_b(SPS, PPS, nal(5, 100)))) == 1


def test_fragments_are_of_like_size() -> None:
    """No last packet of a few bytes: even packets are cheaper to send and to protect by FEC."""
    sizes = [len(payload) for payload in packetize(H264, annex_b(nal(5, 3 * 1180)))]
    assert max(sizes) - min(sizes) < len(sizes)


@pytest.mark.parametrize("length", [1, 500, MAX_PAYLOAD - 1, MAX_PAYLOAD, 20_000])
def test_vp8_comes_out_of_its_payloads_as_it_went_in(length: int) -> None:
    """Only the first payload is marked as a partition's start (RFC 7741, 4.2)."""
    frame = nal(0, length)
    payloads = packetize(VP8, frame)
    assert max(map(len, payloads)) <= MAX_PAYLOAD
    assert b"".join(map(vp8_depayload, payloads)) == frame
    starts = [VpxPayloadDescriptor.parse(payload)[0].partition_start for payload in payloads]
    assert starts == [1] + [0] * (len(payloads) - 1)
