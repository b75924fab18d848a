"""Answers take what we receive, refuse the rest, and are read so by an independent parser."""

from dataclasses import replace

import pytest
from aiortc.sdp import SessionDescription

from cloudslice.codecs.catalog import CATALOG
from cloudslice.webrtc.accepting import accept_offer
from cloudslice.webrtc.local_description import write_answer
from cloudslice.webrtc.media_attributes import Direction
from cloudslice.webrtc.remote_description import parse_remote_description
from helpers.offers import ALL, CASES, FULL_ICE, LOCAL, POLICY, REAL, accept, answer

TAKEN = {"opus", *(each.name.lower() for each in CATALOG.video)}
USABLE = sorted(set(ALL) - {"session-level-recvonly", "video-unknown-first+audio-bundle-only"})


@pytest.mark.parametrize("name", USABLE)
def test_answers_fit_their_offers(name: str) -> None:
    """RFC 3264: as many sections, of the same kinds and protocols, formats of the offer's."""
    offer = parse_remote_description(ALL[name])
    answered = parse_remote_description(answer(ALL[name]))
    for ours, theirs in zip(answered.sections, offer.sections, strict=True):
        assert (ours.media.kind, ours.media.protocol) == (theirs.media.kind, theirs.media.protocol)
        assert (ours.mid, ours.has_mid) == (theirs.mid, theirs.has_mid)
        assert set(ours.media.formats) <= set(theirs.media.formats)
        extensions = {(each.identifier, each.uri) for each in theirs.extensions}
        assert {(each.identifier, each.uri) for each in ours.extensions} <= extensions
        offered = {each.payload_type: each for each in theirs.formats}
        for each in ours.formats:
            same = offered[each.payload_type]
            assert each.name == same.name
            assert set(each.feedback) <= set(same.feedback) - {"transport-cc"}
    grouped = {mid for bundle in offer.bundles for mid in bundle}
    taken = [each.mid for each in answered.sections if each.port]
    assert sorted(mid for bundle in answered.bundles for mid in bundle) == sorted(
        mid for mid in taken if mid in grouped
    )


@pytest.mark.parametrize("name", sorted({*USABLE} - {"m-image-t38"}))
def test_another_parser_reads_the_same(name: str) -> None:
    """aiortc's, which knows no protocols in lower case."""
    answered = SessionDescription.parse(answer(ALL[name]))
    negotiation = accept(ALL[name])
    assert len(answered.media) == len(negotiation.sections)
    for section, ours in zip(negotiation.sections, answered.media, strict=True):
        if not section.is_taken:
            assert (ours.port, ours.direction) == (0, "inactive")
            continue
        assert ours.direction == "recvonly"
        assert ours.rtcp_mux
        assert ours.ice.iceLite
        assert (ours.ice.usernameFragment, ours.ice.password) == (
            LOCAL.ice.ufrag,
            LOCAL.ice.password,
        )
        assert ours.dtls.role == ("client" if name == "ffmpeg" else "server")
        [fingerprint] = ours.dtls.fingerprints
        assert (fingerprint.algorithm, fingerprint.value) == (
            LOCAL.fingerprint.algorithm,
            LOCAL.fingerprint.value,
        )
        assert {codec.name.lower() for codec in ours.rtp.codecs} <= TAKEN
        is_tagged = negotiation.transport is not None and section.mid == negotiation.transport.mid
        assert [(each.ip, each.port) for each in ours.ice_candidates] == (
            [(each.host, each.port) for each in LOCAL.candidates] if is_tagged else []
        )


def test_no_group_without_one_in_the_offer() -> None:
    """RFC 8843, 7.3; and no mid without one."""
    assert "group" not in answer(CASES["mid-nobundle-1"])
    assert "a=mid:0\r\n" in answer(CASES["mid-nobundle-1"])
    assert "mid" not in answer(CASES["no-mid-1-nobundle"])
    no_mids = answer(CASES["no-mid-2"])
    assert "mid" not in no_mids
    assert "group" not in no_mids
    assert "m=video 0 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n" in no_mids


def test_a_payload_type_that_is_not_in_the_media_line_is_not_answered() -> None:
    assert "112" not in answer(CASES["rtpmap-not-in-mline"]).replace(LOCAL.session_id, "")


def test_a_data_channel_is_refused() -> None:
    """As a section of port 0 outside of the bundle."""
    text = answer(REAL["chromium_screen_and_data"])
    assert "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n" in text
    assert "a=group:BUNDLE 0 1 2\r\n" in text


def test_simulcast_is_not_taken_up() -> None:
    """The sender then sends one layer."""
    text = answer(REAL["chromium_simulcast"])
    for name in ("simulcast", "a=rid", "rtp-stream-id"):
        assert name not in text


@pytest.mark.parametrize(("ceiling", "start"), [(2500, 1200), (800, 800)])
def test_video_begins_at_a_good_bitrate(ceiling: int, start: int) -> None:
    """But not above the ceiling."""
    text = answer(REAL["chromium"], replace(POLICY, max_video_bitrate_kbps=ceiling))
    assert f"a=fmtp:96 x-google-start-bitrate={start}\r\n" in text
    h264 = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"
    assert f"a=fmtp:103 {h264};x-google-start-bitrate={start}\r\n" in text


def test_versions_go_up_and_the_session_stays() -> None:
    """RFC 3264, 8."""
    negotiation = accept(REAL["obs"])
    for version in (1, 2):
        text = write_answer(negotiation, LOCAL, version)
        assert f"o=- {LOCAL.session_id} {version} IN IP4 0.0.0.0\r\n" in text


def test_a_full_ice_side_says_so() -> None:
    text = write_answer(accept(REAL["obs"]), FULL_ICE, 1)
    assert "a=ice-lite" not in text
    assert "a=ice-options:trickle ice2\r\n" in text
    assert "a=end-of-candidates" in text


def test_a_paused_section_stays_a_section() -> None:
    former = accept(REAL["obs"])
    offer = parse_remote_description(REAL["obs"].replace("sendonly", "inactive"))
    text = write_answer(accept_offer(offer, POLICY, former), LOCAL, 2)
    answered = parse_remote_description(text)
    assert [(each.port, each.direction) for each in answered.sections] == [
        (9, Direction.INACTIVE)
    ] * 2


def test_extensions_say_their_directions() -> None:
    text = REAL["chromium"].replace("extmap:13", "extmap:13/sendonly")
    assert "a=extmap:13/recvonly urn:3gpp:video-orientation\r\n" in answer(text)


@pytest.mark.parametrize(
    "old", ["a=mid:1", "profile-level-id=42e01f", "packetization-mode", "a=msid:", "nack", "opus"]
)
def test_nothing_of_the_offer_can_add_lines(old: str) -> None:
    """What is repeated of it is of one line, however lines are told apart."""
    assert old in REAL["obs"]
    text = REAL["obs"].replace(old, f"{old}\u2028a=evil\x0ba=evil\x85")
    assert all(len(line.splitlines()) <= 1 for line in answer(text).split("\r\n"))
