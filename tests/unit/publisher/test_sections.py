"""The offer is what the service reads it as, and the service takes all of it."""

import pytest

from cloudslice.codecs.codec import ORIENTATION_URI, VideoCodec
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.vp8 import VP8
from cloudslice.ids import TrackKind
from cloudslice.webrtc.accepting import ReceivePolicy, accept_offer
from cloudslice.webrtc.candidates import IceCredentials
from cloudslice.webrtc.local_description import LocalParameters, write_offer
from cloudslice.webrtc.negotiation import Negotiation
from cloudslice.webrtc.remote_description import RemoteSection, parse_remote_description
from cloudslice.webrtc.transport_parameters import Fingerprint
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import AudioLoop, Media, PacketizedFrame, VideoLoop
from cloudslice_publisher.sections import PlannedStream, plan_streams

LOCAL = LocalParameters(
    session_id="1",
    ice=IceCredentials("user", "p" * 24),
    fingerprint=Fingerprint("sha-256", ":".join(["AB"] * 32)),
    is_ice_lite=False,
)
AUDIO = AudioLoop((b"opus",))
POLICY = ReceivePolicy({"audio": 1, "video": 2}, max_video_bitrate_kbps=2500)


def video(codec: VideoCodec = H264, width: int = 1280, height: int = 720) -> VideoLoop:
    return VideoLoop(VideoSpec(codec, width, height), (PacketizedFrame((b"frame",), True),))


def offer(streams: tuple[PlannedStream, ...]) -> str:
    return write_offer([each.section for each in streams], LOCAL, 1)


def sections(media: Media) -> tuple[RemoteSection, ...]:
    return parse_remote_description(offer(plan_streams(media, "alice"))).sections


def taken(streams: tuple[PlannedStream, ...]) -> Negotiation:
    return accept_offer(parse_remote_description(offer(streams)), POLICY)


@pytest.mark.parametrize(
    ("media", "kinds"),
    [
        pytest.param(Media(video(), AUDIO), ["audio", "video"], id="audio and video"),
        pytest.param(Media(None, AUDIO), ["audio"], id="audio"),
        pytest.param(Media(video(VP8), None), ["video"], id="video"),
        pytest.param(Media(video(), AUDIO, video(VP8)), ["audio", "video", "aux"], id="with aux"),
    ],
)
def test_the_service_takes_all_that_is_offered(media: Media, kinds: list[str]) -> None:
    """With the SSRCs that were announced, and key frame requests and NACK on video."""
    streams = plan_streams(media, "alice")
    assert [stream.kind.value for stream in streams] == kinds
    agreed = taken(streams).taken
    assert [each.mid for each in agreed] == [stream.section.mid for stream in streams]
    for stream, section in zip(streams, agreed, strict=True):
        assert [each.number for each in section.ssrcs] == [
            each.number for each in stream.section.ssrcs
        ]
        assert section.msid == f"alice {stream.kind.value}"
        if stream.kind is not TrackKind.AUDIO:
            assert section.extension_id(ORIENTATION_URI) is not None
            assert {"nack", "nack pli", "goog-remb"} <= set(section.formats[0].feedback)


@pytest.mark.parametrize(
    ("width", "height", "level"),
    [(1280, 720, "42e01f"), (640, 360, "42e01f"), (1920, 1080, "42e034")],
)
def test_h264_names_a_level_that_allows_the_size(width: int, height: int, level: str) -> None:
    [section] = sections(Media(video(width=width, height=height), None))
    assert section.formats[0].parameter("profile-level-id") == level
    assert section.formats[0].parameter("packetization-mode") == "1"


def test_two_videos_have_two_payload_types() -> None:
    """They share a transport and may differ in codec."""
    streams = sections(Media(video(), None, video(VP8)))
    assert len({each.formats[0].payload_type for each in streams}) == 2
