"""Chromium applies our answers to its offers, first ones and later ones, and answers our offers."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from cloudslice.webrtc.accepting import ReceivePolicy, accept_offer
from cloudslice.webrtc.local_description import write_answer, write_offer
from cloudslice.webrtc.negotiation import Negotiation
from cloudslice.webrtc.offering import accept_answer, section_to_receive
from cloudslice.webrtc.remote_description import parse_remote_description
from helpers.browser import browser_page
from helpers.offers import ALL, FULL_ICE, LOCAL, POLICY, answer

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

ROOM = ReceivePolicy({"audio": 25, "video": 50}, 2500)
UNUSABLE = {"session-level-recvonly", "video-unknown-first+audio-bundle-only"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncIterator[Page]:
    async with browser_page() as page:
        yield page


class Peer:
    """A peer connection in the page, and what we have agreed on with it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.agreed: Negotiation | None = None
        self.version = 0

    async def run(self, script: str, argument: str = "") -> Any:
        return await self.page.evaluate(f"async (argument) => {{ {script} }}", argument)

    async def offer(self, change: str = "") -> str:
        """Its offer; `change` is JavaScript that changes `sdp`."""
        text: str = await self.run(
            f"let sdp = (await pc.createOffer()).sdp; {change};"
            "await pc.setLocalDescription({type: 'offer', sdp}); return sdp;"
        )
        return text

    async def exchange(self, policy: ReceivePolicy = ROOM, change: str = "") -> Negotiation:
        """Have it offer and apply our answer, which raises if it does not want to."""
        offer = parse_remote_description(await self.offer(change))
        self.agreed = accept_offer(offer, policy, self.agreed)
        self.version += 1
        text = write_answer(self.agreed, LOCAL, self.version)
        await self.run("await pc.setRemoteDescription({type: 'answer', sdp: argument})", text)
        return self.agreed

    async def directions(self) -> list[str | None]:
        """What Chromium holds to be agreed on for each of its transceivers."""
        result: list[str | None] = await self.run(
            "return pc.getTransceivers().map((each) => each.currentDirection)"
        )
        return result


@pytest_asyncio.fixture(loop_scope="module")
async def peer(page: Page) -> AsyncIterator[Peer]:
    peer = Peer(page)
    await peer.run("window.pc = new RTCPeerConnection()")
    yield peer
    await peer.run("pc.close()")


AUDIO = "pc.addTransceiver('audio', {direction: 'sendonly'});"
VIDEO = "pc.addTransceiver('video', {direction: 'sendonly'});"
SIMULCAST = (
    "pc.addTransceiver('video', {direction: 'sendonly', sendEncodings: "
    "[{rid: 'l', scaleResolutionDownBy: 4}, {rid: 'h'}]});"
)


@pytest.mark.parametrize(
    ("script", "directions"),
    [
        pytest.param(AUDIO + VIDEO, ["sendonly"] * 2, id="audio and video"),
        pytest.param(VIDEO + AUDIO + VIDEO, ["sendonly"] * 3, id="two videos"),
        pytest.param(
            AUDIO + VIDEO + "pc.createDataChannel('x')", ["sendonly"] * 2, id="data channel"
        ),
        pytest.param(
            AUDIO + SIMULCAST,
            ["sendonly"] * 2,
            id="simulcast",
        ),
        pytest.param(
            "pc = new RTCPeerConnection({bundlePolicy: 'max-bundle'});" + AUDIO + VIDEO + VIDEO,
            ["sendonly"] * 3,
            id="max-bundle",
        ),
        pytest.param(
            AUDIO + "pc.addTransceiver('video', {direction: 'recvonly'})",
            ["sendonly", "inactive"],
            id="one that receives",
        ),
    ],
)
async def test_our_answers_are_applied(
    peer: Peer, script: str, directions: list[str | None]
) -> None:
    await peer.run(script)
    await peer.exchange(POLICY)
    assert await peer.directions() == directions


async def test_more_than_are_taken(peer: Peer) -> None:
    """The refused section's transceiver is stopped, the others send."""
    await peer.run(AUDIO + VIDEO * 3)
    await peer.exchange(POLICY)
    assert await peer.directions() == ["sendonly"] * 3


@pytest.mark.parametrize(
    ("script", "change", "directions"),
    [
        pytest.param(AUDIO, "sdp = sdp.replace(/a=group.*\\r\\n/, '')", ["sendonly"], id="one"),
        pytest.param(
            AUDIO + VIDEO,
            "sdp = sdp.replace(/a=group.*\\r\\n/, '')",
            ["sendonly"],
            id="two",
        ),
        pytest.param(
            AUDIO + VIDEO,
            "sdp = sdp.replace('BUNDLE 0 1', 'BUNDLE 0')",
            ["sendonly"],
            id="half a bundle",
        ),
    ],
)
async def test_offers_without_a_bundle(
    peer: Peer, script: str, change: str, directions: list[str]
) -> None:
    """RFC 8843, 7.3: Chromium refuses an answer with a group that it has not offered."""
    await peer.run(script)
    agreed = await peer.exchange(POLICY, change)
    assert len(agreed.taken) == 1
    assert [each for each in await peer.directions() if each != "stopped"] == directions


async def test_a_connections_life(peer: Peer) -> None:
    """Added, paused, gone on, stopped, and the place taken by another kind of media."""
    await peer.run(AUDIO)
    await peer.exchange()
    await peer.run(VIDEO)
    agreed = await peer.exchange()
    assert [each.kind for each in agreed.taken] == ["audio", "video"]
    assert agreed.bundle == ("0", "1")

    await peer.run("pc.getTransceivers()[1].direction = 'inactive'")
    agreed = await peer.exchange()
    assert [each.direction.receives for each in agreed.taken] == [True, False]
    assert await peer.directions() == ["sendonly", "inactive"]

    await peer.run("pc.getTransceivers()[1].direction = 'sendonly'")
    await peer.exchange()
    assert await peer.directions() == ["sendonly", "sendonly"]

    before = agreed.transport
    await peer.run("pc.restartIce()")
    agreed = await peer.exchange()
    assert before is not None
    assert agreed.transport is not None
    assert agreed.transport.ice != before.ice
    assert agreed.transport.fingerprints == before.fingerprints

    await peer.run("pc.getTransceivers()[0].stop()")
    agreed = await peer.exchange()
    assert [each.is_taken for each in agreed.sections] == [False, True]
    assert agreed.bundle == ("1",)

    await peer.run(VIDEO)
    agreed = await peer.exchange()
    assert [each.kind for each in agreed.taken] == ["video", "video"]
    assert len(agreed.sections) == 2
    assert await peer.directions() == ["sendonly", "sendonly"]


async def test_25_anchors_on_one_connection(peer: Peer) -> None:
    await peer.run(f"for (let i = 0; i < 25; i++) {{ {AUDIO} {VIDEO} }}")
    agreed = await peer.exchange()
    assert len(agreed.taken) == 50
    assert await peer.directions() == ["sendonly"] * 50


async def test_our_offers_are_answered(peer: Peer) -> None:
    """Both what we want to receive and what we add later."""
    offered = [section_to_receive("a", "audio"), section_to_receive("v", "video")]
    former: Negotiation | None = None
    for version in (1, 2):
        text = write_offer(offered, FULL_ICE, version)
        answered = await peer.run(
            "await pc.setRemoteDescription({type: 'offer', sdp: argument});"
            "for (const each of pc.getTransceivers()) each.direction = 'sendonly';"
            "await pc.setLocalDescription(); return pc.localDescription.sdp;",
            text,
        )
        former = accept_answer(offered, parse_remote_description(answered), former)
        assert [each.mid for each in former.taken] == [each.mid for each in offered]
        assert all(each.direction.receives for each in former.taken)
        assert former.bundle == tuple(each.mid for each in offered)
        names = [each.codec.name for each in former.sections[1].formats if each.codec]
        assert list(dict.fromkeys(names)) == ["VP8", "H264", "VP9", "AV1"]
        offered.append(section_to_receive("w", "video"))


@pytest.mark.parametrize("name", sorted({*ALL} - UNUSABLE))
async def test_chromiums_parser_reads_our_answers(peer: Peer, name: str) -> None:
    """Also those to offers that Chromium does not make. Read as an offer: it has made no other."""
    text = answer(ALL[name]).replace("a=setup:active", "a=setup:actpass")
    await peer.run("await pc.setRemoteDescription({type: 'offer', sdp: argument})", text)


async def test_chromium_reads_answers_of_full_ice(peer: Peer) -> None:
    await peer.run(AUDIO)
    offer = parse_remote_description(await peer.offer())
    agreed = accept_offer(offer, replace(POLICY, we_are_ice_lite=False))
    text = write_answer(agreed, FULL_ICE, 1)
    await peer.run("await pc.setRemoteDescription({type: 'answer', sdp: argument})", text)
    assert await peer.directions() == ["sendonly"]
