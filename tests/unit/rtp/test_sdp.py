"""Offers of real senders are understood; what cannot be used is refused with a reason."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.media.tracks import TrackKind, VideoCodec
from cloudslice.rtp.sdp import (
    MID_URI,
    ORIENTATION_URI,
    Offer,
    SdpError,
    UnusableOfferError,
    parse_offer,
)

OFFERS = {path.stem: path.read_text() for path in Path(__file__).parent.glob("offers/*.sdp")}
REFUSED = OFFERS.pop("video-vp9-first+audio-bundle-only")
AUDIO, VIDEO, AUX = TrackKind.AUDIO, TrackKind.VIDEO, TrackKind.AUX


def plan(offer: Offer) -> dict[TrackKind, list[int]]:
    return {each.kind: [codec.payload_type for codec in each.codecs] for each in offer.media}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chromium", {AUDIO: [111], VIDEO: [96, 103, 107, 39]}),
        ("chromium_simulcast", {AUDIO: [111], VIDEO: [96, 103, 107, 39]}),
        (
            "chromium_screen_and_data",
            {AUDIO: [111], VIDEO: [96, 103, 107, 39], AUX: [96, 103, 107, 39]},
        ),
        (
            "chromium_max_bundle",
            {AUDIO: [111], VIDEO: [96, 103, 107, 39], AUX: [96, 103, 107, 39]},
        ),
        ("firefox", {AUDIO: [109], VIDEO: [120, 126, 97], AUX: [120, 126, 97]}),
        ("safari", {AUDIO: [111], VIDEO: [96, 98, 100]}),
        ("obs", {AUDIO: [111], VIDEO: [96]}),
        ("gstreamer", {VIDEO: [96], AUDIO: [97]}),
        ("ffmpeg", {AUDIO: [111], VIDEO: [106]}),
        ("mid-nobundle-1", {AUDIO: [111]}),
    ],
)
def test_offers_of_real_senders(name: str, expected: dict[TrackKind, list[int]]) -> None:
    """Opus, VP8 and H.264 are taken; RTX, RED, FEC, other codecs and data channels are not."""
    offer = parse_offer(OFFERS[name])
    assert plan(offer) == expected
    assert offer.we_are_dtls_server is (name != "ffmpeg")
    assert offer.ice.ufrag
    assert offer.ice.password
    assert offer.fingerprints[0].algorithm == "sha-256"
    assert len(offer.sections) == OFFERS[name].count("\nm=")


def test_every_offer_is_tested() -> None:
    """The table above leaves none out."""
    assert len(OFFERS) == 10


def test_details_of_an_offer() -> None:
    """What receivers are made of."""
    audio, video = parse_offer(OFFERS["chromium"]).media
    assert audio.extensions == ((4, MID_URI),)
    assert video.extension_id(ORIENTATION_URI) == 13
    assert audio.extension_id(ORIENTATION_URI) is None
    assert video.ssrcs == (1001, 1002)
    vp8, h264 = video.codecs[:2]
    assert (vp8.video, h264.video) == (VideoCodec.VP8, VideoCodec.H264)
    assert h264.parameter("profile-level-id") == "42001f"
    assert h264.parameter("sprop-parameter-sets") == ""
    assert set(vp8.feedback) == {("goog-remb", None), ("nack", None), ("nack", "pli")}
    assert audio.codecs[0].feedback == ()


def test_parameter_sets_of_an_offer() -> None:
    """GStreamer's come with base64's padding."""
    video = parse_offer(OFFERS["gstreamer"]).media[0]
    assert video.codecs[0].parameter("sprop-parameter-sets").endswith("PGDKg=,aM48gA==")


def test_the_first_of_the_bundle_tells_the_transport() -> None:
    """RFC 8843, 7.2.1: the group's order counts, not that of the sections."""
    text = OFFERS["gstreamer"].replace("BUNDLE video0 audio1", "BUNDLE audio1 video0")
    head, video, audio = text.split("m=")
    text = "m=".join([head, video, audio.replace("0tYvFWGLpOdgHGR2nbUnzH4Qq+z/aJ1V", "tagged")])
    offer = parse_offer(text)
    assert offer.ice.ufrag == "tagged"
    assert [each.mid for each in offer.media] == ["audio1", "video0"]
    assert [each.mid for each in offer.sections] == ["video0", "audio1"]


def test_what_needs_the_transport_of_a_refused_section_is_refused() -> None:
    """RFC 8843, 7.3.1: a bundle-only section has no transport of its own."""
    with pytest.raises(UnusableOfferError, match="bundle-only"):
        parse_offer(REFUSED)


def test_the_next_section_with_a_transport_stands_in_for_a_refused_first_one() -> None:
    """RFC 8843, 7.3.1: then its own credentials count, and bundle-only sections join it."""
    text = OFFERS["chromium_max_bundle"].replace("opus/48000", "speex/48000")
    head, audio, camera, screen = text.split("m=")[:4]
    with pytest.raises(UnusableOfferError, match="bundle-only"):
        parse_offer("m=".join([head, audio, camera, screen]))
    screen = _without("a=bundle-only")(screen).replace("video 0 ", "video 9 ")
    screen += "a=ice-ufrag:ofthescreen\na=ice-pwd:passwordofthescreenpassword\n"
    screen += "a=fingerprint:sha-256 AB:CD\na=setup:actpass\na=rtcp-mux\n"
    offer = parse_offer("m=".join([head, audio, camera, screen]))
    assert [each.mid for each in offer.media] == ["2", "1"]
    assert offer.ice.ufrag == "ofthescreen"


def test_a_third_video_is_refused() -> None:
    """An anchor has a camera and a screen."""
    text = OFFERS["chromium_screen_and_data"]
    third = text[text.index("m=video") : text.index("a=mid:1")] + "a=mid:4\n"
    third += text[text.index("a=sendonly", text.index("a=mid:1")) : text.index("a=ssrc-group")]
    offer = parse_offer(text.replace("BUNDLE 0 1 2 3", "BUNDLE 0 1 2 3 4") + third)
    assert [each.mid for each in offer.media] == ["0", "1", "2"]
    assert offer.sections[4].mid == "4"


def _without(line: str) -> Callable[[str], str]:
    return lambda text: "".join(
        each for each in text.splitlines(keepends=True) if not each.startswith(line)
    )


def _with(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(_without("a=group"), "not bundled", id="no bundle"),
        pytest.param(_with("BUNDLE 0 1", "BUNDLE 0"), "not bundled", id="half a bundle"),
        pytest.param(_with("a=sendonly", "a=recvonly"), "nothing", id="receives only"),
        pytest.param(_with("a=sendonly", "a=inactive"), "nothing", id="inactive"),
        pytest.param(_with(" 52814 UDP", " 0 UDP"), "nothing", id="rejected sections"),
        pytest.param(_without("a=rtcp-mux"), "nothing", id="no rtcp-mux"),
        pytest.param(_without("a=rtpmap"), "valid SDP", id="parameters of no codec"),
        pytest.param(
            lambda text: _with("opus", "speex")(_with("H264", "H265")(text)),
            "must be Opus",
            id="other codecs",
        ),
        pytest.param(_with("s=-\n", "s=-\na=ice-lite\n"), "ICE-lite", id="ICE-lite"),
        pytest.param(_with("sha-256", "sha-1"), "sha-256", id="weak fingerprint"),
        pytest.param(_without("a=fingerprint"), "a=fingerprint", id="no fingerprint"),
        pytest.param(_without("a=setup"), "a=setup", id="no setup"),
        pytest.param(_without("a=ice-ufrag"), "a=ice-ufrag", id="no ufrag"),
        pytest.param(_without("a=ice-pwd"), "a=ice-pwd", id="no password"),
        pytest.param(_without("a=mid"), "a=mid", id="no mid"),
        pytest.param(_with("a=mid:1", "a=mid:0"), "a=mid", id="mid twice"),
        pytest.param(_with("actpass", "holdconn"), "valid SDP", id="unknown setup"),
        pytest.param(lambda text: text.partition("m=")[0], "no media section", id="no media"),
        pytest.param(lambda _text: "", "no media section", id="empty"),
        pytest.param(lambda text: text + "a=x\n" * 1000, "more than 1000 lines", id="long"),
        pytest.param(lambda _text: "m=audio", "valid SDP", id="broken section"),
        pytest.param(_with("RTP/SAVPF 96", "RTP/SAVPF"), "valid SDP", id="no formats"),
        pytest.param(_with("RTP/SAVPF 96", "RTP/SAVPF 300"), "valid SDP", id="payload type 300"),
        pytest.param(_with("a=rtpmap:96 ", "a=rtpmap:"), "valid SDP", id="broken rtpmap"),
        pytest.param(_with("a=ssrc:1001 cname", "a=ssrc:x cname"), "valid SDP", id="broken ssrc"),
    ],
)
def test_offers_that_cannot_be_used(change: Callable[[str], str], reason: str) -> None:
    """The text says why."""
    with pytest.raises(SdpError, match=reason):
        parse_offer(change(OFFERS["obs"]))


def test_unusable_is_told_from_unreadable() -> None:
    """Two statuses of WHIP."""
    with pytest.raises(UnusableOfferError):
        parse_offer(_without("a=group")(OFFERS["obs"]))
    with pytest.raises(SdpError) as refused:
        parse_offer("nonsense")
    assert not isinstance(refused.value, UnusableOfferError)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(lambda text: text.replace("\n", " \n"), id="spaces at the ends of lines"),
        pytest.param(_with(";packetization-mode", "; packetization-mode"), id="spaces in fmtp"),
        pytest.param(_with("packetization-mode", "Packetization-Mode"), id="upper case in fmtp"),
        pytest.param(_without("a=sendonly"), id="no direction"),
        pytest.param(_with("a=sendonly", "a=sendrecv"), id="both directions"),
        pytest.param(_with("H264/90000", "h264/90000"), id="lower case codec"),
        pytest.param(_with("sha-256", "SHA-256"), id="upper case hash"),
        pytest.param(_without("a=ssrc"), id="no SSRCs"),
        pytest.param(_without("a=candidate"), id="no candidates"),
    ],
)
def test_variations_make_no_difference(change: Callable[[str], str]) -> None:
    """The same is taken."""
    offer = parse_offer(change(OFFERS["obs"]))
    assert plan(offer) == {AUDIO: [111], VIDEO: [96]}
    assert offer.media[1].codecs[0].parameter("packetization-mode") == "1"


def test_one_section_needs_no_bundle() -> None:
    """There is nothing to bundle it with."""
    text = OFFERS["obs"].partition("m=video")[0]
    assert plan(parse_offer(_without("a=group")(text))) == {AUDIO: [111]}


def test_interleaved_h264_is_not_taken() -> None:
    """packetization-mode=2 (RFC 6184, 6.4) is in nobody's use."""
    text = OFFERS["obs"].replace("packetization-mode=1", "packetization-mode=2")
    assert plan(parse_offer(text)) == {AUDIO: [111]}


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(OFFERS)), data=st.data())
def test_damaged_offers_are_read_or_refused(name: str, data: st.DataObject) -> None:
    """Nothing but SdpError comes out, whatever became of the lines."""
    lines = OFFERS[name].splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        line = lines[index]
        cut = data.draw(st.integers(0, len(line)))
        lines[index] = data.draw(
            st.sampled_from(
                [
                    "",
                    line[:cut],
                    line[:cut] + "\x00" + line[cut:],
                    line[:cut] + "99999999999999999999" + line[cut:],
                    line[:cut] + " -1 " + line[cut:],
                    line[:cut] + "é\u2028" + line[cut:],
                    line.replace(":", " "),
                    line.replace(" ", ""),
                    line + "\n" + line,
                ]
            )
        )
    try:
        offer = parse_offer("\n".join(lines))
    except SdpError:
        return
    assert offer.media


@given(st.text())
def test_random_text_is_refused(text: str) -> None:
    """With SdpError and nothing else."""
    with pytest.raises(SdpError):
        parse_offer(text)
