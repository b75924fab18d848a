"""What is taken of first and of later offers, and why others are refused."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from cloudslice.codecs.codec import ORIENTATION_URI
from cloudslice.webrtc.accepting import ReceivePolicy
from cloudslice.webrtc.media_attributes import Direction
from cloudslice.webrtc.negotiation import MID_URI, Negotiation, UnusableOfferError
from cloudslice.webrtc.sdp import SdpError
from helpers.offers import ALL, CASES, POLICY, REAL, accept, changed, without

ROOM = replace(POLICY, max_sections={"audio": 25, "video": 50}, needs_media=False)
"""Of a connection that many anchors share."""
CASE = CASES["mid-nobundle-1"]
BOTH = CASES["ssrc-no-attr"]


def taken(negotiation: Negotiation) -> dict[str, list[int]]:
    """Payload types by mid."""
    return {each.mid: [one.payload_type for one in each.formats] for each in negotiation.taken}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chromium", {"0": [111], "1": [96, 103, 107, 45, 98, 39]}),
        ("chromium_simulcast", {"0": [111], "1": [96, 103, 107, 45, 98, 39]}),
        (
            "chromium_screen_and_data",
            {"0": [111], "1": [96, 103, 107, 45, 98, 39], "2": [96, 103, 107, 45, 98, 39]},
        ),
        (
            "chromium_max_bundle",
            {"0": [111], "1": [96, 103, 107, 45, 98, 39], "2": [96, 103, 107, 45, 98, 39]},
        ),
        ("firefox", {"0": [109], "1": [120, 126, 97], "2": [120, 126, 97]}),
        ("safari", {"0": [111], "1": [96, 98, 100]}),
        ("obs", {"0": [111], "1": [96]}),
        ("gstreamer", {"video0": [96], "audio1": [97]}),
        ("ffmpeg", {"0": [111], "1": [106]}),
        ("candidate-malformed", {"0": [111], "1": [96]}),
        ("extmap-attrs", {"0": [111], "1": [96]}),
        ("extmap-encrypted", {"0": [111], "1": [96]}),
        ("fmtp-no-params", {"0": [111], "1": [96]}),
        ("fmtp-unknown-pt", {"0": [111], "1": [96]}),
        ("m-image-t38", {"0": [111], "1": [96]}),
        ("mid-nobundle-1", {"0": [111]}),
        ("no-mid-1-nobundle", {"no-mid-0": [111]}),
        ("no-mid-1-video-nobundle", {"no-mid-0": [96]}),
        ("no-mid-2", {"no-mid-0": [111]}),
        ("rtpmap-not-in-mline", {"0": [111], "1": [96]}),
        ("setup-holdconn", {"0": [111], "1": [96]}),
        ("ssrc-group", {"0": [111], "1": [96]}),
        ("ssrc-no-attr", {"0": [111], "1": [96]}),
        ("static-g729-fmtp", {"0": [111], "1": [96]}),
        ("static-pcmu-no-rtpmap", {"0": [111], "1": [96]}),
    ],
)
def test_opus_and_all_video_codecs_are_taken(name: str, expected: dict[str, list[int]]) -> None:
    """RTX, RED, FEC, other codecs and data channels are not."""
    negotiation = accept(ALL[name])
    assert taken(negotiation) == expected
    assert negotiation.transport is not None
    assert negotiation.transport.we_are_dtls_server is (name != "ffmpeg")
    assert [each.direction.receives for each in negotiation.taken] == [True] * len(expected)
    assert negotiation.bundle == (
        tuple(expected) if "\na=group:BUNDLE" in ALL[name] and name != "no-mid-2" else ()
    )


@pytest.mark.parametrize(
    ("preferred", "expected"),
    [
        pytest.param((), [96, 103, 107, 45, 98, 39], id="none"),
        pytest.param(("H264",), [103, 107, 39, 96, 45, 98], id="H.264"),
        pytest.param(("H265", "VP9", "VP8"), [98, 96, 103, 107, 45, 39], id="one is not offered"),
    ],
)
def test_preferred_codecs_are_answered_first(
    preferred: tuple[str, ...], expected: list[int]
) -> None:
    """Others keep the offer's order."""
    negotiation = accept(REAL["chromium"], replace(POLICY, preferred_codecs=preferred))
    assert taken(negotiation) == {"0": [111], "1": expected}


def test_every_offer_is_in_the_table_or_refused() -> None:
    refused = {"session-level-recvonly", "video-unknown-first+audio-bundle-only"}
    table = test_opus_and_all_video_codecs_are_taken.pytestmark[0].args[1]
    assert {name for name, _ in table} | refused == set(ALL)


def test_details_of_what_is_taken() -> None:
    """What tracks are made of."""
    audio, video = accept(REAL["chromium"]).sections
    assert audio.extension_id(MID_URI) == 4
    assert audio.extension_id(ORIENTATION_URI) is None
    assert video.extension_id(ORIENTATION_URI) == 13
    assert [each.number for each in video.ssrcs] == [1001, 1002]
    assert (video.msid, video.rids) == ("9f3c 1b", ())
    vp8, h264 = video.formats[:2]
    assert vp8.codec is not None
    assert h264.codec is not None
    assert (vp8.codec.name, h264.codec.name) == ("VP8", "H264")
    assert vp8.feedback == ("goog-remb", "nack", "nack pli")
    assert audio.formats[0].feedback == ()
    sets = accept(REAL["gstreamer"]).sections[0].formats[0].offered
    assert sets.parameter("sprop-parameter-sets").endswith("PGDKg=,aM48gA==")


@pytest.mark.parametrize(
    ("change", "direction"),
    [
        pytest.param(str, None, id="no direction"),
        pytest.param(changed("extmap:13", "extmap:13/sendonly"), Direction.RECVONLY, id="sends"),
        pytest.param(changed("extmap:13", "extmap:13/sendrecv"), Direction.RECVONLY, id="both"),
    ],
)
def test_extensions_with_directions(
    change: Callable[[str], str], direction: Direction | None
) -> None:
    """RFC 8285, 7: the answer's is what is left of the offer's."""
    extensions = accept(change(REAL["chromium"])).sections[1].extensions
    assert {each.uri: each.direction for each in extensions}[ORIENTATION_URI] is direction


def test_extensions_that_are_not_sent_or_offered_twice() -> None:
    text = changed("extmap:13", "extmap:13/recvonly")(REAL["chromium"])
    assert accept(text).sections[1].extension_id(ORIENTATION_URI) is None
    text = changed("a=extmap:13", f"a=extmap:12 {ORIENTATION_URI}\na=extmap:13")(REAL["chromium"])
    extensions = accept(text).sections[1].extensions
    assert [each.identifier for each in extensions] == [12, 8, 4]


def test_the_first_of_the_bundle_tells_the_transport() -> None:
    """RFC 8843, 7.2.1: the group's order counts, not that of the sections."""
    text = REAL["gstreamer"].replace("BUNDLE video0 audio1", "BUNDLE audio1 video0")
    head, video, audio = text.split("m=")
    text = "m=".join([head, video, audio.replace("0tYvFWGLpOdgHGR2nbUnzH4Qq+z/aJ1V", "tagged")])
    negotiation = accept(text)
    assert negotiation.transport is not None
    assert (negotiation.transport.mid, negotiation.transport.ice.ufrag) == ("audio1", "tagged")
    assert negotiation.bundle == ("audio1", "video0")


def test_a_refused_or_bundle_only_section_does_not_tell_the_transport() -> None:
    """RFC 8843, 7.3.1: the first one that is taken and has a port does."""
    text = REAL["chromium_max_bundle"].replace("BUNDLE 0 1 2", "BUNDLE 2 0 1")
    assert accept(text).bundle == ("0", "2", "1")
    text = CASES["ssrc-no-attr"].replace("opus", "speex")
    assert accept(text).bundle == ("1",)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(without("a=group"), ["0"], id="no bundle"),
        pytest.param(changed("BUNDLE 0 1", "BUNDLE 0"), ["0"], id="half a bundle"),
        pytest.param(changed("BUNDLE 0 1", "BUNDLE 1"), ["1"], id="the other half"),
    ],
)
def test_what_is_not_bundled_has_no_place_on_the_transport(
    change: Callable[[str], str], expected: list[str]
) -> None:
    """The first one is taken, or that with a bundle; the other's refusal says why."""
    negotiation = accept(change(BOTH))
    assert [each.mid for each in negotiation.taken] == expected
    [refused] = [each for each in negotiation.sections if not each.is_taken]
    assert "not bundled" in refused.refusal


def test_the_bundle_that_carries_most_is_taken() -> None:
    text = BOTH + BOTH[BOTH.index("m=video") :].replace("a=mid:1", "a=mid:2")
    text = text.replace("BUNDLE 0 1", "BUNDLE 0\r\na=group:BUNDLE 2 1")
    negotiation = accept(text)
    assert negotiation.bundle == ("2", "1")
    assert [each.is_taken for each in negotiation.sections] == [False, True, True]


def test_a_third_video_is_refused() -> None:
    """An anchor has a camera and a screen. Those that send come first."""
    third = BOTH[BOTH.index("m=video") :]
    text = BOTH.replace("BUNDLE 0 1", "BUNDLE 0 1 2 3")
    text += third.replace("a=mid:1", "a=mid:2") + third.replace("a=mid:1", "a=mid:3")
    assert [each.mid for each in accept(text).taken] == ["0", "1", "2"]
    assert "one more video" in accept(text).sections[3].refusal
    head, audio, *videos = text.split("m=")
    videos[0] = videos[0].replace("sendonly", "inactive")
    paused = "m=".join([head, audio, *videos])
    assert [each.mid for each in accept(paused).taken] == ["0", "2", "3"]
    assert accept(paused, replace(POLICY, max_sections={"video": 9})).bundle == ("1", "2", "3")


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        pytest.param(changed("m=video 9", "m=video 0"), "port is 0", id="port 0"),
        pytest.param(changed("VP8", "VP7"), "without a codec", id="other codec"),
        pytest.param(changed("VP8/90000", "VP8/48000"), "without a codec", id="other clock"),
        pytest.param(changed("SAVPF 96", "SAVPF 97"), "without a codec", id="other payload type"),
        pytest.param(changed("m=video 9 UDP/TLS/RTP/SAVPF", "m=video 9 x"), "not RTP", id="no RTP"),
        pytest.param(changed("m=video", "m=text"), "not RTP", id="no audio or video"),
        pytest.param(
            lambda text: without("a=rtcp-mux")(text).replace("a=mid:0", "a=mid:0\na=rtcp-mux"),
            "rtcp-mux",
            id="no rtcp-mux",
        ),
    ],
)
def test_refused_sections_say_why(change: Callable[[str], str], refusal: str) -> None:
    audio, video = accept(change(BOTH)).sections
    assert audio.is_taken
    assert refusal in video.refusal
    assert (video.direction, video.formats) == (Direction.INACTIVE, ())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(CASES["session-level-recvonly"], "sends nothing", id="session-level recvonly"),
        pytest.param(
            CASES["video-unknown-first+audio-bundle-only"], "bundle-only", id="only bundle-only"
        ),
        pytest.param(changed("sendonly", "recvonly")(CASE), "sends nothing", id="receives only"),
        pytest.param(changed("sendonly", "inactive")(CASE), "sends nothing", id="inactive"),
        pytest.param(changed(" 9 UDP", " 0 UDP")(CASE), "sends nothing", id="rejected"),
        pytest.param(without("a=rtcp-mux")(CASE), "sends nothing", id="no rtcp-mux"),
        pytest.param(
            changed("opus", "speex")(CASE),
            "audio must be opus, video VP8 or H264",
            id="codecs",
        ),
        pytest.param(
            changed("a=rtpmap:111 ", "a=rtpmap:")(CASE),
            r"not understood: line 10: 'a=rtpmap:opus",
            id="broken rtpmap",
        ),
        pytest.param(changed("t=0 0", "t=0 0\na=ice-lite")(CASE), "is ICE-lite", id="ICE-lite"),
        pytest.param(changed("sha-256", "sha-1")(CASE), "none of sha-256", id="weak fingerprint"),
    ],
)
def test_offers_that_cannot_be_used(text: str, reason: str) -> None:
    """The text says why."""
    with pytest.raises(UnusableOfferError, match=reason):
        accept(text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(without("a=ice-ufrag"), "no a=ice-ufrag", id="no ufrag"),
        pytest.param(without("a=ice-pwd"), "no a=ice-pwd", id="no password"),
        pytest.param(changed("ufrag:abcd", "ufrag:a b"), r"line \d+: 'a=ice-ufrag:a b", id="ufrag"),
        pytest.param(without("a=fingerprint"), "no a=fingerprint", id="no fingerprint"),
        pytest.param(changed("sha-256 BA", "sha-256 X"), r"line \d+: 'a=fing", id="fingerprint"),
    ],
)
def test_offers_that_lack_what_is_needed(change: Callable[[str], str], reason: str) -> None:
    """Which line it is, if it is there."""
    with pytest.raises(SdpError, match=reason) as refused:
        accept(change(CASE))
    assert not isinstance(refused.value, UnusableOfferError)


def test_an_ice_lite_side_is_reached_by_full_ice() -> None:
    text = changed("t=0 0", "t=0 0\na=ice-lite")(CASE)
    transport = accept(text, replace(POLICY, we_are_ice_lite=False)).transport
    assert transport is not None
    assert transport.is_ice_lite


def test_nothing_to_receive_yet_is_no_obstacle_where_many_share_a_connection() -> None:
    """Paused sections are taken, for what may come."""
    negotiation = accept(CASES["session-level-recvonly"], ROOM)
    assert [each.direction for each in negotiation.taken] == [Direction.INACTIVE] * 2
    negotiation = accept(changed("opus", "speex")(CASE), ROOM)
    assert (negotiation.taken, negotiation.transport) == ((), None)


class TestLaterOffers:
    """One connection, offers one after the other."""

    first = accept(BOTH, ROOM)

    def offer(self, text: str, former: Negotiation | None = None) -> Negotiation:
        return accept(text, ROOM, former or self.first)

    def test_the_same_again_changes_nothing(self) -> None:
        assert self.offer(BOTH) == self.first

    def test_sections_are_added(self) -> None:
        text = BOTH.replace("BUNDLE 0 1", "BUNDLE 0 1 2")
        text += BOTH[BOTH.index("m=audio") : BOTH.index("m=video")].replace("mid:0", "mid:2")
        later = self.offer(text)
        assert later.sections[:2] == self.first.sections
        assert later.sections[2].kind == "audio"
        assert later.bundle == ("0", "1", "2")

    @pytest.mark.parametrize("direction", ["inactive", "recvonly"])
    def test_sections_are_paused_and_go_on(self, direction: str) -> None:
        """A paused section keeps its formats, and its place among those that are taken."""
        audio, video = BOTH.split("m=video")
        paused = self.offer(audio + "m=video" + video.replace("sendonly", direction))
        section = paused.sections[1]
        assert (section.is_taken, section.direction) == (True, Direction.INACTIVE)
        assert section.formats == self.first.sections[1].formats
        assert self.offer(BOTH, paused) == self.first

    def test_a_pause_of_everything_is_no_obstacle(self) -> None:
        everything = accept(BOTH.replace("sendonly", "inactive"), POLICY, accept(BOTH))
        assert [each.direction for each in everything.taken] == [Direction.INACTIVE] * 2

    def test_a_paused_section_keeps_its_place_when_more_come_than_are_taken(self) -> None:
        third = BOTH[BOTH.index("m=video") :].replace("mid:1", "mid:2")
        text = BOTH.replace("BUNDLE 0 1", "BUNDLE 0 1 2").replace("sendonly", "inactive") + third
        policy = replace(ROOM, max_sections={"audio": 1, "video": 1})
        later = accept(text, policy, accept(BOTH, policy))
        assert [each.mid for each in later.taken] == ["0", "1"]

    def test_sections_are_removed_and_their_places_reused(self) -> None:
        """By another kind of media, under another mid (RFC 9429, 5.2.2)."""
        removed = self.offer(
            BOTH.replace("BUNDLE 0 1", "BUNDLE 1").replace("m=audio 9", "m=audio 0")
        )
        assert [each.is_taken for each in removed.sections] == [False, True]
        assert removed.bundle == ("1",)
        assert removed.transport is not None
        assert removed.transport.mid == "1"
        video = BOTH[BOTH.index("m=video") :]
        head = BOTH[: BOTH.index("m=audio")].replace("BUNDLE 0 1", "BUNDLE 1 2")
        reused = self.offer(head + video.replace("mid:1", "mid:2") + video, removed)
        assert [(each.mid, each.kind) for each in reused.taken] == [("2", "video"), ("1", "video")]
        assert reused.bundle == ("1", "2")

    def test_a_section_is_somebody_elses(self) -> None:
        """The mid stays, the msid and the SSRCs change (as SFUs do it)."""
        text = BOTH.replace("a=ssrc:333", "a=ssrc:444\r\na=msid:bob camera")
        section = self.offer(text).sections[1]
        assert (section.mid, section.msid) == ("1", "bob camera")
        assert [each.number for each in section.ssrcs] == [444]

    def test_all_is_removed(self) -> None:
        gone = self.offer(BOTH.replace(" 9 UDP", " 0 UDP"))
        assert (gone.taken, gone.transport, gone.bundle) == ((), None, ())

    def test_new_credentials_are_an_ice_restart(self) -> None:
        """The association goes on, and with it the DTLS role."""
        client = accept(BOTH.replace("actpass", "passive"), ROOM)
        assert client.transport is not None
        assert not client.transport.we_are_dtls_server
        later = self.offer(BOTH.replace("ufrag:abcd", "ufrag:efgh"), client).transport
        assert later is not None
        assert later.ice != client.transport.ice
        assert later.fingerprints == client.transport.fingerprints
        assert not later.we_are_dtls_server

    def test_another_certificate_is_another_association(self) -> None:
        """With roles of its own."""
        client = accept(BOTH.replace("actpass", "passive"), ROOM)
        later = self.offer(BOTH.replace("sha-256 BA", "sha-256 AB"), client).transport
        assert later is not None
        assert later.we_are_dtls_server

    def test_the_transport_that_there_is_is_kept(self) -> None:
        """Though another bundle, on a new one, would carry more."""
        video = BOTH[BOTH.index("m=video") :]
        later = self.offer(
            CASE.replace("t=0 0", "t=0 0\r\na=group:BUNDLE 0\r\na=group:BUNDLE 2 3")
            + video.replace("mid:1", "mid:2")
            + video.replace("mid:1", "mid:3"),
            accept(CASE, ROOM),
        )
        assert [each.mid for each in later.taken] == ["0"]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            pytest.param(CASE, "1 media sections after 2", id="fewer sections"),
            pytest.param(
                BOTH.replace("mid:0", "mid:x").replace("mid:1", "mid:0").replace("mid:x", "mid:1"),
                r"a=mid:1 was another media section before \(line 6",
                id="changed places",
            ),
        ],
    )
    def test_offers_that_do_not_fit_those_before(self, text: str, reason: str) -> None:
        """RFC 3264, 8."""
        with pytest.raises(SdpError, match=reason):
            self.offer(text)

    def test_25_anchors_come_and_go_on_one_connection(self) -> None:
        """Each with audio and video; every other one leaves, and others take their places."""
        former: Negotiation | None = None
        head, media = BOTH.partition("m=")[::2]
        places: list[str] = []
        for step in range(100):
            mid = str(step)
            if step < 50:
                places.append(mid)
            else:
                places[(step - 50) * 2 % 50] = mid
            sections = "".join(
                "m=" + section.replace("mid:0", f"mid:{each}").replace("mid:1", f"mid:{each}")
                for index, each in enumerate(places)
                for section in [media.split("m=")[index % 2]]
            )
            text = head.replace("0 1", " ".join(sorted(places, key=int))) + sections
            former = accept(text, ROOM, former)
        assert former is not None
        assert [each.mid for each in former.taken] == places
        assert len(former.bundle) == 50


def test_policies_are_of_their_own() -> None:
    """Nothing is taken of a kind that is not named."""
    policy = ReceivePolicy({"audio": 1}, 800)
    assert list(taken(accept(BOTH, policy))) == ["0"]
