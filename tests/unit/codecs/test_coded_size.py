"""How large a key frame is, without decoding it."""

from fractions import Fraction

import av
import numpy as np
import pytest

from cloudslice.codecs.av1 import AV1
from cloudslice.codecs.catalog import CATALOG
from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.h265 import H265
from cloudslice.codecs.vp8 import VP8
from cloudslice.codecs.vp9 import VP9
from cloudslice.media.tracks import Keyframe
from helpers.encoders import begin


def encoded(encoder_name: str, width: int, height: int, options: dict[str, str]) -> bytes:
    encoder = av.CodecContext.create(encoder_name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    encoder.options = options
    begin(encoder)
    frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
    packets = [*encoder.encode(frame.reformat(format="yuv420p")), *encoder.encode(None)]
    return bytes(packets[0])


@pytest.mark.parametrize("size", [(320, 180), (1280, 720), (1920, 1080), (640, 360)])
@pytest.mark.parametrize(
    ("codec", "encoder_name", "options"),
    [
        (VP8, "libvpx", {}),
        (VP9, "libvpx-vp9", {}),
        (AV1, "libsvtav1", {"preset": "12"}),
        (H265, "libx265", {"x265-params": "log-level=none"}),
        (H264, "libx264", {"profile": "baseline"}),
        (H264, "libx264", {"profile": "high"}),
        (H264, "libx264", {"profile": "high", "x264-params": "interlaced=1"}),
    ],
)
def test_of_real_encoders(
    codec: VideoCodec, encoder_name: str, options: dict[str, str], size: tuple[int, int]
) -> None:
    data = encoded(encoder_name, *size, options)
    found = CATALOG.coded_size(Keyframe(codec.decoding, data, 0.0, 0))
    assert found is not None
    for coded, shown in zip(found, size, strict=True):
        assert shown <= coded < shown + 32


@pytest.mark.parametrize("codec", CATALOG.video, ids=lambda codec: codec.name)
@pytest.mark.parametrize("data", [b"", b"\0\0\0\1\x67", b"\0\0\0\1\x67\x42\xc0\x1f", b"\x10\x02"])
def test_of_garbage(codec: VideoCodec, data: bytes) -> None:
    assert codec.coded_size(data) is None


@pytest.mark.parametrize("codec", CATALOG.video, ids=lambda codec: codec.name)
def test_of_the_smallest(codec: VideoCodec) -> None:
    assert codec.coded_size(codec.sample) == (16, 16)
