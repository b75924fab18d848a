"""What chaos tests share: media that is encoded once."""

import pytest

from cloudslice.codecs.h264 import H264
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import Look, Media, synthetic_media


@pytest.fixture(scope="session")
def media() -> Media:
    """640x360 bars, and a tone of 440 Hz."""
    look = Look("alice", tone_hz=440)
    return synthetic_media(look, video=VideoSpec(H264, 640, 360), seconds=8)
