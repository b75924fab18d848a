"""Answers take what we receive, refuse the rest, and are read so by independent parsers."""

from pathlib import Path

import pytest
from aiortc.sdp import SessionDescription

from cloudslice.rtp.answer import candidate_lines, make_answer
from cloudslice.rtp.dtls import Fingerprint
from cloudslice.rtp.ice import IceCredentials
from cloudslice.rtp.sdp import parse_offer

OFFERS = {path.stem: path.read_text() for path in Path(__file__).parent.glob("offers/*.sdp")}
del OFFERS["video-vp9-first+audio-bundle-only"]  # which has no answer
CANDIDATES = [("192.0.2.1", 7882), ("2001:db8::1", 7882)]


def answer_to(offer: str, max_video_bitrate_kbps: int = 2500) -> str:
    return make_answer(
        parse_offer(offer),
        ice=IceCredentials("ours", "our-password"),
        fingerprint=Fingerprint("sha-256", "AB:CD"),
        candidates=CANDIDATES,
        max_video_bitrate_kbps=max_video_bitrate_kbps,
    )


@pytest.mark.parametrize("name", sorted(OFFERS))
def test_answers_fit_their_offers(name: str) -> None:
    """RFC 3264: as many sections, of the same kinds and protocols, formats of the offer's."""
    offer = SessionDescription.parse(OFFERS[name])
    text = answer_to(OFFERS[name])
    answer = SessionDescription.parse(text)
    assert [(each.kind, each.profile) for each in answer.media] == [
        (each.kind, each.profile) for each in offer.media
    ]
    bundled = [each.rtp.muxId for each in answer.media if each.port]
    # RFC 8843, 7.3: only an offer with a group has an answer with one.
    assert [each.items for each in answer.group] == ([bundled] if offer.group else [])
    for offered, answered in zip(offer.media, answer.media, strict=True):
        assert answered.rtp.muxId == offered.rtp.muxId
        if answered.port == 0:
            assert answered.direction == "inactive"
            continue
        assert answered.direction == "recvonly"
        assert answered.rtcp_mux
        assert answered.ice.iceLite
        assert (answered.ice.usernameFragment, answered.ice.password) == ("ours", "our-password")
        assert answered.dtls.role == ("client" if name == "ffmpeg" else "server")
        assert [(each.ip, each.port, each.type) for each in answered.ice_candidates] == [
            (*each, "host") for each in CANDIDATES
        ]
        assert set(answered.fmt) <= set(offered.fmt)
        names = {codec.name.lower() for codec in answered.rtp.codecs}
        assert names <= {"opus", "vp8", "h264"}
        offered_ids = {each.id: each.uri for each in offered.rtp.headerExtensions}
        for extension in answered.rtp.headerExtensions:
            assert offered_ids[extension.id] == extension.uri
        for codec in answered.rtp.codecs:
            same = next(
                each for each in offered.rtp.codecs if each.payloadType == codec.payloadType
            )
            assert all(feedback in same.rtcpFeedback for feedback in codec.rtcpFeedback)
            assert not any(feedback.type == "transport-cc" for feedback in codec.rtcpFeedback)


def test_a_data_channel_is_refused() -> None:
    """As a section of port 0 outside of the bundle."""
    text = answer_to(OFFERS["chromium_screen_and_data"])
    assert "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n" in text
    assert "a=group:BUNDLE 0 1 2\r\n" in text


def test_simulcast_is_not_taken_up() -> None:
    """The sender then sends one layer."""
    text = answer_to(OFFERS["chromium_simulcast"])
    assert "simulcast" not in text
    assert "rid" not in text
    assert "rtp-stream-id" not in text


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        pytest.param("obs", "minptime=10;useinbandfec=1;stereo=1", id="stereo"),
        pytest.param("chromium", "minptime=10;useinbandfec=1", id="mono"),
    ],
)
def test_stereo_is_taken_where_it_is_sent(name: str, parameters: str) -> None:
    """RFC 7587, 6.1: stereo is what we want to receive, sprop-stereo what the sender has."""
    assert f"a=fmtp:111 {parameters}\r\n" in answer_to(OFFERS[name])


@pytest.mark.parametrize(("ceiling", "start"), [(2500, 1200), (800, 800)])
def test_video_begins_at_a_good_bitrate(ceiling: int, start: int) -> None:
    """But not above the ceiling."""
    answer = answer_to(OFFERS["chromium"], ceiling)
    assert f"a=fmtp:96 x-google-start-bitrate={start}\r\n" in answer
    h264 = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"
    assert f"a=fmtp:103 {h264};x-google-start-bitrate={start}\r\n" in answer


def test_candidates_come_in_order_of_priority() -> None:
    """RFC 8445, 5.1.2.1."""
    lines = candidate_lines(CANDIDATES)
    assert lines[-1] == "a=end-of-candidates"
    priorities = [int(line.split()[3]) for line in lines[:-1]]
    assert priorities == sorted(priorities, reverse=True)
    assert len(set(priorities)) == 2


def test_nothing_of_the_offer_can_add_lines() -> None:
    """What is repeated of it is of one line."""
    lines = answer_to(OFFERS["obs"].replace("a=mid:1", "a=mid:1\u2028a=evil")).split("\r\n")
    assert "a=evil" not in lines
    assert all(len(line.splitlines()) <= 1 for line in lines)
