"""Offers of our own are what the other side reads them as, and its answers are understood."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from aiortc.sdp import SessionDescription

from cloudslice.codecs.catalog import CATALOG
from cloudslice.codecs.codec import ORIENTATION_URI, Format
from cloudslice.webrtc.accepting import ReceivePolicy, accept_offer
from cloudslice.webrtc.candidates import IceCredentials, host_candidates
from cloudslice.webrtc.local_description import (
    LocalParameters,
    OfferedSection,
    write_answer,
    write_offer,
)
from cloudslice.webrtc.media_attributes import Direction, HeaderExtension, Ssrc
from cloudslice.webrtc.negotiation import Negotiation, UnusableAnswerError
from cloudslice.webrtc.offering import accept_answer, section_to_receive
from cloudslice.webrtc.remote_description import parse_remote_description
from cloudslice.webrtc.sdp import SdpError
from cloudslice.webrtc.transport_parameters import Fingerprint
from helpers.offers import LOCAL, changed, without

OURS = LocalParameters(
    "1",
    IceCredentials("publisher", "p" * 24),
    Fingerprint("sha-256", "12:34"),
    host_candidates([("192.0.2.9", 50000)]),
    is_ice_lite=False,
)
MICROPHONE = OfferedSection(
    "0",
    "audio",
    Direction.SENDONLY,
    (Format(111, "opus", 48000, 2, (("minptime", "10"),), ("nack",)),),
    ssrcs=(Ssrc(1111, "alice"),),
    msid="alice audio",
)
CAMERA = OfferedSection(
    "1",
    "video",
    Direction.SENDONLY,
    (
        Format(96, "VP8", 90000, None, (), ("nack", "nack pli", "ccm fir", "goog-remb")),
        Format(97, "H264", 90000, None, (("packetization-mode", "1"),), ("nack", "nack pli")),
    ),
    extensions=(HeaderExtension(1, ORIENTATION_URI), HeaderExtension(2, "urn:unknown")),
    ssrcs=(Ssrc(2222, "alice"),),
    msid="alice video",
)
BOTH = (MICROPHONE, CAMERA)
ROOM = ReceivePolicy({"audio": 25, "video": 25}, 2500)


def answer_to(
    offered: tuple[OfferedSection, ...],
    former: Negotiation | None = None,
    policy: ReceivePolicy = ROOM,
) -> str:
    """The answer of a server that is we, too."""
    offer = parse_remote_description(write_offer(offered, OURS, 1))
    return write_answer(accept_offer(offer, policy, former), LOCAL, 1)


def agree(
    offered: tuple[OfferedSection, ...], text: str, former: Negotiation | None = None
) -> Negotiation:
    return accept_answer(offered, parse_remote_description(text), former)


def test_an_offer_of_what_we_send() -> None:
    offer = parse_remote_description(write_offer(BOTH, OURS, 1))
    assert offer.bundles == (("0", "1"),)
    audio, video = offer.sections
    assert (audio.direction, audio.msid, audio.rtcp_mux) == (
        Direction.SENDONLY,
        "alice audio",
        True,
    )
    assert audio.formats == MICROPHONE.formats
    assert audio.ssrcs == (Ssrc(1111, "alice"),)
    assert video.formats == CAMERA.formats
    assert video.extensions == CAMERA.extensions
    for section in offer.sections:
        assert (section.transport.ice, section.transport.setup) == (OURS.ice, "actpass")
        assert section.transport.fingerprints == (OURS.fingerprint,)
    assert audio.transport.candidates == OURS.candidates
    assert video.transport.candidates == ()


def test_another_parser_reads_our_offer() -> None:
    read = SessionDescription.parse(write_offer(BOTH, OURS, 1))
    assert [each.direction for each in read.media] == ["sendonly"] * 2
    assert [[ssrc.ssrc for ssrc in each.ssrc] for each in read.media] == [[1111], [2222]]
    assert read.media[1].rtp.codecs[1].parameters["packetization-mode"] == "1"


def test_the_servers_answer_is_understood() -> None:
    agreed = agree(BOTH, answer_to(BOTH))
    assert agreed.bundle == ("0", "1")
    transport = agreed.transport
    assert transport is not None
    assert (transport.ice, transport.fingerprints) == (LOCAL.ice, (LOCAL.fingerprint,))
    assert transport.candidates == LOCAL.candidates
    assert (transport.is_ice_lite, transport.we_are_dtls_server) == (True, False)
    audio, video = agreed.taken
    assert [each.direction for each in agreed.taken] == [Direction.SENDONLY] * 2
    assert [each.payload_type for each in video.formats] == [96, 97]
    assert video.formats[0].feedback == ("nack", "nack pli", "goog-remb")
    assert video.extensions == CAMERA.extensions[:1]
    assert audio.formats[0].parameters == (("minptime", "10"),)


def test_an_offer_to_receive_has_all_codecs() -> None:
    """With payload types of their own (RFC 8843, 9.1), and answers choose among them."""
    offered = (section_to_receive("a", "audio"), section_to_receive("v", "video"))
    numbers = [each.payload_type for section in offered for each in section.formats]
    assert len(numbers) == len(set(numbers))
    assert all(96 <= number <= 127 for number in numbers)
    assert [each.name for each in offered[1].formats] == [
        codec.name for codec in CATALOG.video for _ in codec.variants
    ]
    text = write_offer(offered, OURS, 1)
    assert "a=recvonly" in text
    video = parse_remote_description(text).sections[1]
    assert ORIENTATION_URI in [each.uri for each in video.extensions]
    answered = (
        text.replace("recvonly", "sendonly").replace("actpass", "active") + "a=ssrc:5 cname:x\r\n"
    )
    agreed = agree(offered, answered)
    assert [each.direction for each in agreed.taken] == [Direction.RECVONLY] * 2
    assert agreed.sections[1].ssrcs == (Ssrc(5, "x"),)
    assert agreed.transport is not None
    assert agreed.transport.we_are_dtls_server


def test_two_of_ours_agree_on_the_same() -> None:
    """Whoever offers: what one sends the other receives, on the same payload types and ids."""
    offer = parse_remote_description(write_offer(BOTH, OURS, 1))
    server = accept_offer(offer, ROOM)
    client = agree(BOTH, write_answer(server, LOCAL, 1))
    for ours, theirs in zip(client.sections, server.sections, strict=True):
        assert (ours.mid, ours.kind) == (theirs.mid, theirs.kind)
        assert ours.direction.sends is theirs.direction.receives
        assert ours.extensions == theirs.extensions
        assert [(each.payload_type, set(each.feedback)) for each in ours.formats] == [
            (each.payload_type, set(each.feedback)) for each in theirs.formats
        ]
    assert client.transport is not None
    assert server.transport is not None
    assert client.transport.we_are_dtls_server is not server.transport.we_are_dtls_server


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        pytest.param(changed("m=video 9", "m=video 0"), ["0"], id="port 0"),
        pytest.param(changed("VP8/90000", "VP7/90000"), ["0", "1"], id="one codec less"),
        pytest.param(
            lambda text: text.replace("/90000", "/90001"),
            ["0"],
            id="no codec",
        ),
        pytest.param(without("a=group"), ["0"], id="no bundle"),
        pytest.param(without("a=mid:1"), ["0"], id="no mid"),
        pytest.param(
            lambda text: without("a=mid")(without("a=group")(text)), ["0"], id="no mids at all"
        ),
    ],
)
def test_refused_streams_are_not_sent(change: Callable[[str], str], accepted: list[str]) -> None:
    agreed = agree(BOTH, change(answer_to(BOTH)))
    assert [each.mid for each in agreed.taken] == accepted


def test_paused_streams_are_kept() -> None:
    audio, video = answer_to(BOTH).split("m=video")
    agreed = agree(BOTH, audio + "m=video" + video.replace("recvonly", "inactive"))
    assert [each.direction for each in agreed.taken] == [Direction.SENDONLY, Direction.INACTIVE]


ONE = (MICROPHONE,)
ANSWER = answer_to(ONE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("<html>", "not SDP", id="no SDP"),
        pytest.param(ANSWER + "m=", "line ", id="broken SDP"),
        pytest.param(ANSWER.replace("recvonly", "inactive"), "takes none", id="nothing taken"),
        pytest.param(ANSWER.replace("m=audio 9", "m=audio 0"), "takes none", id="refused"),
        pytest.param(without("a=rtcp-mux")(ANSWER), "takes none", id="no rtcp-mux"),
        pytest.param(without("a=ice-pwd")(ANSWER), "ice-pwd", id="no password"),
        pytest.param(without("a=fingerprint")(ANSWER), "fingerprint", id="no fingerprint"),
        pytest.param(ANSWER.replace("sha-256", "sha-1"), "none of sha-256", id="weak"),
        pytest.param(ANSWER.replace("a=mid:0", "a=mid:1"), "a=mid:1, the offer's", id="mid"),
        pytest.param(ANSWER + "m=audio 0 x 0\r\n", "2 media sections, the offer 1", id="sections"),
    ],
)
def test_answers_that_cannot_be_used(text: str, reason: str) -> None:
    with pytest.raises(SdpError, match=reason):
        agree(ONE, text)


def test_two_ice_lite_sides_cannot_connect() -> None:
    answered = parse_remote_description(ANSWER)
    with pytest.raises(UnusableAnswerError, match="ICE-lite"):
        accept_answer(ONE, answered, we_are_ice_lite=True)


def test_sections_are_added_paused_and_removed_by_later_offers() -> None:
    """And a removed one's place is another's by a later offer still."""
    offer = parse_remote_description(write_offer(BOTH, OURS, 1))
    server = accept_offer(offer, ROOM)
    client = agree(BOTH, write_answer(server, LOCAL, 1))

    def renegotiate(*offered: OfferedSection) -> None:
        nonlocal server, client
        text = write_offer(offered, OURS, 2)
        server = accept_offer(parse_remote_description(text), ROOM, server)
        client = agree(offered, write_answer(server, LOCAL, 2), client)

    screen = replace(CAMERA, mid="2", ssrcs=(Ssrc(3333, "alice"),))
    renegotiate(MICROPHONE, CAMERA, screen)
    assert client.bundle == server.bundle == ("0", "1", "2")

    renegotiate(replace(MICROPHONE, direction=Direction.INACTIVE), CAMERA, screen)
    assert client.sections[0].direction is Direction.INACTIVE
    assert client.sections[0].is_taken

    renegotiate(replace(MICROPHONE, is_removed=True), CAMERA, screen)
    assert [each.is_taken for each in client.sections] == [False, True, True]
    assert client.sections[0].refusal == "removed by us"
    assert client.bundle == server.bundle == ("1", "2")

    other = replace(MICROPHONE, mid="3")
    renegotiate(other, CAMERA, screen)
    assert [each.mid for each in client.taken] == ["3", "1", "2"]

    renegotiate(*(replace(each, is_removed=True) for each in (other, CAMERA, screen)))
    assert (client.taken, client.transport) == ((), None)


def test_nothing_need_be_sent_where_media_comes_later() -> None:
    """A server answers like that before anybody publishes."""
    sections = (section_to_receive("0", "audio"), section_to_receive("1", "video"))
    answer = parse_remote_description(answer_to(sections, policy=replace(ROOM, needs_media=False)))
    with pytest.raises(UnusableAnswerError, match="takes none"):
        accept_answer(sections, answer)
    negotiation = accept_answer(sections, answer, needs_media=False)
    assert [each.direction for each in negotiation.taken] == [Direction.INACTIVE] * 2
    assert negotiation.transport is not None
