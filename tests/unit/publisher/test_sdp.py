"""The offer is what the server reads it as, and its answer is understood."""

import pytest
from aiortc.sdp import SessionDescription
from cloudslice.rtp.answer import make_answer

from cloudslice.media.tracks import TrackKind, VideoCodec
from cloudslice.publisher.encode import VideoSpec
from cloudslice.publisher.media import AudioLoop, Media, PacketizedFrame, VideoLoop
from cloudslice.publisher.sdp import Answer, AnswerError, make_offer, parse_answer, plan_streams
from cloudslice.rtp.dtls import Fingerprint
from cloudslice.rtp.ice import IceCredentials
from cloudslice.rtp.sdp import ORIENTATION_URI, parse_offer

ICE = IceCredentials("publisher", "p" * 24)
SERVER_ICE = IceCredentials("server", "s" * 24)
FINGERPRINT = Fingerprint("sha-256", "AB:CD")
SERVER_FINGERPRINT = Fingerprint("sha-256", "12:34")
AUDIO = AudioLoop((b"opus",))


def video(codec: VideoCodec = VideoCodec.H264, width: int = 1280, height: int = 720) -> VideoLoop:
    return VideoLoop(VideoSpec(codec, width, height), (PacketizedFrame((b"frame",), True),))


def offer(media: Media) -> str:
    return make_offer(plan_streams(media), ice=ICE, fingerprint=FINGERPRINT, cname="alice")


def server_answer(media: Media) -> str:
    return make_answer(
        parse_offer(offer(media)),
        ice=SERVER_ICE,
        fingerprint=SERVER_FINGERPRINT,
        candidates=[("192.0.2.1", 7882), ("2001:db8::1", 7882)],
        max_video_bitrate_kbps=2500,
    )


@pytest.mark.parametrize(
    ("media", "kinds"),
    [
        pytest.param(Media(video(), AUDIO), ["audio", "video"], id="audio and video"),
        pytest.param(Media(None, AUDIO), ["audio"], id="audio"),
        pytest.param(Media(video(VideoCodec.VP8), None), ["video"], id="video"),
        pytest.param(
            Media(video(), AUDIO, video(VideoCodec.VP8)), ["audio", "video", "aux"], id="with aux"
        ),
    ],
)
def test_the_server_takes_all_that_is_offered(media: Media, kinds: list[str]) -> None:
    """With the SSRCs that were announced, and key frame requests and NACK on video."""
    streams = plan_streams(media)
    text = make_offer(streams, ice=ICE, fingerprint=FINGERPRINT, cname="alice")
    read = parse_offer(text)
    assert [plan.kind.value for plan in read.media] == kinds
    assert [plan.ssrcs for plan in read.media] == [(stream.ssrc,) for stream in streams]
    assert (read.ice, read.fingerprints, read.we_are_dtls_server) == (ICE, (FINGERPRINT,), True)
    for plan in read.media:
        if plan.kind is not TrackKind.AUDIO:
            assert plan.extension_id(ORIENTATION_URI) is not None
            assert {("nack", "pli"), ("nack", None), ("goog-remb", None)} <= set(
                plan.codecs[0].feedback
            )


@pytest.mark.parametrize(
    ("width", "height", "level"),
    [(1280, 720, "42e01f"), (640, 360, "42e01f"), (1920, 1080, "42e034")],
)
def test_h264_names_a_level_that_allows_the_size(width: int, height: int, level: str) -> None:
    [plan] = parse_offer(offer(Media(video(width=width, height=height), None))).media
    assert plan.codecs[0].parameter("profile-level-id") == level
    assert plan.codecs[0].parameter("packetization-mode") == "1"


def test_two_videos_have_two_payload_types() -> None:
    """They share a transport and may differ in codec."""
    media = SessionDescription.parse(offer(Media(video(), None, video(VideoCodec.VP8)))).media
    assert len({section.rtp.codecs[0].payloadType for section in media}) == 2


def test_the_servers_answer_is_understood() -> None:
    assert parse_answer(server_answer(Media(video(), AUDIO))) == Answer(
        ice=SERVER_ICE,
        fingerprints=(SERVER_FINGERPRINT,),
        we_are_dtls_server=False,
        candidates=(("192.0.2.1", 7882), ("2001:db8::1", 7882)),
        accepted=frozenset({"0", "1"}),
    )


def test_an_active_server_makes_us_the_dtls_server() -> None:
    text = server_answer(Media(None, AUDIO)).replace("a=setup:passive", "a=setup:active")
    assert parse_answer(text).we_are_dtls_server


def test_refused_streams_are_not_sent() -> None:
    """Port 0 and a=inactive both mean no."""
    audio, video_section = server_answer(Media(video(), AUDIO)).split("m=video")
    text = audio + "m=video" + video_section.replace("a=recvonly", "a=inactive")
    assert parse_answer(text).accepted == {"0"}
    text = audio + "m=video" + video_section.replace(" 9 ", " 0 ", 1)
    assert parse_answer(text).accepted == {"0"}


ANSWER = server_answer(Media(None, AUDIO))


def without(name: str) -> str:
    return "".join(
        line for line in ANSWER.splitlines(keepends=True) if not line.startswith(f"a={name}")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("<html>", "takes none", id="no SDP"),
        pytest.param("v=x\r\nm=", "not valid SDP", id="broken SDP"),
        pytest.param(ANSWER.replace("recvonly", "inactive"), "takes none", id="nothing taken"),
        pytest.param(without("ice-pwd"), "ice-pwd", id="no password"),
        pytest.param(without("fingerprint"), "fingerprint", id="no fingerprint"),
        pytest.param(without("candidate"), "no UDP candidate", id="no candidate"),
        pytest.param(ANSWER.replace(" udp ", " tcp "), "no UDP candidate", id="TCP only"),
    ],
)
def test_unusable_answers_are_explained(text: str, message: str) -> None:
    with pytest.raises(AnswerError, match=message):
        parse_answer(text)
