"""Descriptions of real senders, and what holds where they leave something out."""

from collections.abc import Callable

import pytest

from cloudslice.webrtc.media_attributes import Direction, HeaderExtension, Ssrc, SsrcGroup
from cloudslice.webrtc.remote_description import (
    MAX_SECTIONS,
    RemoteDescription,
    parse_remote_description,
)
from cloudslice.webrtc.sdp import SdpError
from cloudslice.webrtc.transport_parameters import Fingerprint
from helpers.offers import ALL, CASES, REAL, changed, without

CASE = CASES["ssrc-group"]


def read(text: str) -> RemoteDescription:
    return parse_remote_description(text)


def test_a_browsers_offer() -> None:
    offer = read(REAL["chromium"])
    assert offer.bundles == (("0", "1"),)
    assert not offer.is_ice_lite
    audio, video = offer.sections
    assert (audio.index, audio.mid, audio.has_mid, audio.kind) == (0, "0", True, "audio")
    assert (audio.port, audio.direction) == (9, Direction.SENDONLY)
    assert (audio.rtcp_mux, audio.is_bundle_only) == (True, False)
    assert audio.msid == "9f3c 1f2a"
    assert audio.ssrcs == (Ssrc(3735928559, "lX5vYc3", "9f3c 1f2a"),)
    assert [each.name for each in audio.formats][:4] == ["opus", "red", "G722", "PCMU"]
    assert audio.formats[0].parameters == (("minptime", "10"), ("useinbandfec", "1"))
    assert audio.transport.ice is not None
    assert audio.transport.ice.ufrag == "Yx4k"
    assert audio.transport.setup == "actpass"
    assert HeaderExtension(13, "urn:3gpp:video-orientation") in video.extensions
    assert video.ssrc_groups == (SsrcGroup("FID", (1001, 1002)),)
    assert [each.payload_type for each in video.formats][:3] == [96, 97, 103]
    assert audio.is_rtp
    assert audio.is_offered


def test_simulcast_and_bundle_only() -> None:
    assert read(REAL["chromium_simulcast"]).sections[1].sent_rids == ("h", "m", "l")
    sections = read(REAL["chromium_max_bundle"]).sections
    assert [each.is_bundle_only for each in sections] == [False, True, True]
    assert all(each.is_offered for each in sections)


def test_the_session_says_what_sections_do_not() -> None:
    """Fingerprint, direction, header extensions and rtcp-mux."""
    obs = read(REAL["obs"])
    assert all(len(each.transport.fingerprints) == 1 for each in obs.sections)
    text = without("a=sendonly")(without("a=rtcp-mux")(CASES["extmap-attrs"]))
    session = "t=0 0\na=recvonly\na=rtcp-mux\na=extmap:4 session\na=extmap:5 session-too\n"
    audio, video = read(text.replace("t=0 0", session)).sections
    assert (audio.direction, audio.rtcp_mux) == (Direction.RECVONLY, True)
    assert [each.uri for each in audio.extensions] == ["session", "session-too"]
    assert [each.uri for each in video.extensions] == ["URI-x", "session-too"]


def test_without_a_direction_both_send() -> None:
    """RFC 8866, 6.7."""
    assert read(without("a=sendonly")(CASE)).sections[0].direction is Direction.SENDRECV


@pytest.mark.parametrize(
    ("change", "bundles", "mids"),
    [
        pytest.param(str, [("0", "1")], ["0", "1"], id="as it was"),
        pytest.param(without("a=group"), [], ["0", "1"], id="no group"),
        pytest.param(changed("BUNDLE 0 1", "LS 0 1"), [], ["0", "1"], id="another group"),
        pytest.param(changed("BUNDLE 0 1", "BUNDLE 1 x 1"), [("1",)], ["0", "1"], id="strange mid"),
        pytest.param(changed("group:BUNDLE 0 1", "group"), [], ["0", "1"], id="empty group"),
        pytest.param(without("a=mid:0"), [("1",)], ["no-mid-0", "1"], id="a section without a mid"),
        pytest.param(
            changed("a=mid:0", "a=mid:0 0"), [("1",)], ["no-mid-0", "1"], id="a mid of two words"
        ),
        pytest.param(
            changed("a=mid:0", "a=mid:no-mid-0"), [("1",)], ["no-mid-0", "1"], id="a mid as of ours"
        ),
    ],
)
def test_mids_and_bundles(
    change: Callable[[str], str], bundles: list[tuple[str, ...]], mids: list[str]
) -> None:
    offer = read(change(CASE))
    assert list(offer.bundles) == bundles
    assert [each.mid for each in offer.sections] == mids
    assert [each.has_mid for each in offer.sections] == [not mid.startswith("no") for mid in mids]


def test_a_section_without_anything_is_read() -> None:
    """A kind of media that nobody knows is still a section of its own."""
    image = read(CASES["m-image-t38"]).sections[2]
    assert (image.kind, image.media.protocol, image.formats) == ("image", "udptl", ())
    assert not image.is_rtp
    assert not image.is_offered


def test_kinds_are_compared_without_case() -> None:
    text = CASE.replace("m=audio 9 UDP/TLS/RTP/SAVPF", "m=AUDIO 9 udp/tls/rtp/savpf")
    audio = read(text).sections[0]
    assert (audio.kind, audio.is_rtp) == ("audio", True)
    assert (audio.media.kind, audio.media.protocol) == ("AUDIO", "udp/tls/rtp/savpf")


def test_ice_lite_is_seen() -> None:
    assert read(CASE.replace("t=0 0", "t=0 0\na=ice-lite")).is_ice_lite


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("v=0\n", "no media section", id="no media"),
        pytest.param(changed("a=mid:1", "a=mid:0")(CASE), r"the same a=mid \(line 19", id="mids"),
        pytest.param(
            "v=0\n" + "m=x 0 x x\n" * (MAX_SECTIONS + 1), "more than 1000 media", id="many"
        ),
        pytest.param("nonsense", "not SDP", id="nonsense"),
    ],
)
def test_what_cannot_be_read_is_explained(text: str, reason: str) -> None:
    with pytest.raises(SdpError, match=reason):
        read(text)


def test_lines_that_were_not_understood_can_be_named() -> None:
    text = CASE.replace("a=fingerprint:sha-256 BA", "a=fingerprint:sha-256 xx")
    offer = read("v=0\na=ice-ufrag:a b\n" + text.partition("\n")[2])
    assert offer.not_understood("rtpmap") == ""
    assert (
        offer.not_understood("rtpmap", "ice-ufrag")
        == " (not understood: line 2: 'a=ice-ufrag:a b')"
    )
    assert offer.not_understood("fingerprint").startswith(" (not understood: line 16: 'a=fing")
    assert offer.sections[0].transport.fingerprints == ()


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_offer_is_read(name: str) -> None:
    """Each section has its transport, but for those that leave it to the bundle."""
    offer = read(ALL[name])
    assert len(offer.sections) == ALL[name].count("\nm=")
    for section in offer.sections:
        if section.port:
            assert section.transport.ice is not None
            [fingerprint] = section.transport.fingerprints
            assert isinstance(fingerprint, Fingerprint)
            assert fingerprint.is_known
