"""Chromium judges our answers: it applies them, or says why not."""

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from cloudslice.rtp.answer import make_answer
from cloudslice.rtp.dtls import DtlsCertificate
from cloudslice.rtp.ice import IceCredentials
from cloudslice.rtp.sdp import parse_offer

pytestmark = pytest.mark.timeout(60)

_OFFER = """
async ([kinds, bundlePolicy, without]) => {
  globalThis.peer = new RTCPeerConnection({ bundlePolicy });
  kinds.forEach((kind) => peer.addTransceiver(kind, { direction: "sendonly" }));
  const { sdp } = await peer.createOffer();
  const kept = sdp.split("\\r\\n").filter((line) => !without || !line.startsWith(without));
  await peer.setLocalDescription({ type: "offer", sdp: kept.join("\\r\\n") });
  return peer.localDescription.sdp;
}
"""
_APPLY = """
(sdp) => peer.setRemoteDescription({ type: "answer", sdp }).then(
  () => [peer.signalingState, peer.getTransceivers().map((each) => each.currentDirection)],
  String,
)
"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        try:
            yield await browser.new_page()
        finally:
            await browser.close()


async def offer_of(page: Page, *kinds: str, bundle: str = "balanced", without: str = "") -> str:
    offer: str = await page.evaluate(_OFFER, [kinds, bundle, without])
    return offer


async def apply_answer_to(page: Page, offer: str) -> Any:
    answer = make_answer(
        parse_offer(offer),
        ice=IceCredentials.generate(),
        fingerprint=DtlsCertificate().fingerprint,
        candidates=[("192.0.2.1", 7882)],
        max_video_bitrate_kbps=2500,
    )
    return await page.evaluate(_APPLY, answer)


async def test_an_offer_without_a_group_has_an_answer_that_can_be_applied(page: Page) -> None:
    """RFC 8843, 7.3."""
    offer = await offer_of(page, "audio", without="a=group:")
    assert "a=group:BUNDLE" not in offer
    assert await apply_answer_to(page, offer) == ["stable", ["sendonly"]]


@pytest.mark.parametrize("bundle", ["balanced", "max-compat", "max-bundle"])
async def test_bundled_offers_have_answers_that_can_be_applied(page: Page, bundle: str) -> None:
    """Whichever policy made them."""
    offer = await offer_of(page, "audio", "video", "video", bundle=bundle)
    assert await apply_answer_to(page, offer) == ["stable", ["sendonly"] * 3]


async def test_a_refused_first_section_leaves_its_transport_to_the_next_one(page: Page) -> None:
    """RFC 8843, 7.3.1."""
    offer = await offer_of(page, "audio", "video", bundle="max-compat")
    foreign = offer.replace("opus/48000/2", "speex/48000/2")
    assert await apply_answer_to(page, foreign) == ["stable", ["sendonly"]]
