"""What end-to-end tests share: media that is encoded once."""

import pytest

from cloudslice.codecs.h264 import H264
from cloudslice.codecs.vp8 import VP8
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import Look, Media, synthetic_media


@pytest.fixture(scope="session")
def h264_media() -> Media:
    """640x360 bars over a blue band, and a tone of 440 Hz."""
    look = Look("alice", accent=(32, 64, 160), tone_hz=440)
    return synthetic_media(look, video=VideoSpec(H264, 640, 360), seconds=8)


@pytest.fixture(scope="session")
def vp8_media() -> Media:
    """480x270 bars over a red band, and a tone of 330 Hz."""
    look = Look("bob", accent=(160, 64, 32), tone_hz=330)
    return synthetic_media(look, video=VideoSpec(VP8, 480, 270), seconds=8)
