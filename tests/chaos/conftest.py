"""What chaos tests share with the end-to-end tests."""

from collections.abc import Iterator

import pytest

from cloudslice.publisher.encode import VideoSpec
from cloudslice.publisher.media import Look, Media, synthetic_media
from cloudslice.rooms.base import VideoCodec
from helpers.s3_server import S3Server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def media() -> Media:
    """640x360 bars, and a tone of 440 Hz."""
    look = Look("alice", tone_hz=440)
    return synthetic_media(look, video=VideoSpec(VideoCodec.H264, 640, 360), seconds=8)
