"""The browser that other tests use as an anchor publishes what it says it does."""

from collections.abc import AsyncIterator

import pytest

from helpers.browser import browser_anchor
from helpers.whip_receiver import WhipReceiver, whip_receiver

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def receiver() -> AsyncIterator[WhipReceiver]:
    async with whip_receiver() as receiver:
        yield receiver


@pytest.mark.parametrize("codec", ["H264", "VP8"])
async def test_chromium_publishes_with_the_codec_asked_for(
    receiver: WhipReceiver, codec: str
) -> None:
    """Pictures and sound can be decoded; a key frame comes when asked for; stopping says so."""
    async with browser_anchor(receiver.url, "token", codec=codec) as anchor:
        await anchor.connected()
        frame = await receiver.video_frame()
        assert (frame.width, frame.height) >= (320, 180)
        audio = await receiver.track("audio")
        assert (await audio.recv()).samples == 960
        before = (await anchor.stats())["video"]
        assert before["codec"] == f"video/{codec}"
        await receiver.ask_for_keyframe()
        await anchor.until(f"stats.video.pliCount > {before['pliCount']}")
        await anchor.until(f"stats.video.keyFramesEncoded > {before['keyFramesEncoded']}")
        await anchor.until("stats.roundTripS !== null")
        await anchor.until(f"stats.video.bytesSent > {before['bytesSent']}")
        assert (await anchor.stats())["audio"]["codec"] == "audio/opus"
        await anchor.stop()
        await anchor.shows("not publishing")
    assert receiver.goodbyes == 1


async def test_the_page_says_why_it_was_refused(receiver: WhipReceiver) -> None:
    receiver.bearer = "another"
    async with browser_anchor(receiver.url, "token") as anchor:
        await anchor.shows("HTTP 401: the token is a wrong one")


async def test_leaving_the_page_leaves_the_room(receiver: WhipReceiver) -> None:
    """The page says goodbye on its way out."""
    async with browser_anchor(receiver.url, "token") as anchor:
        await anchor.connected()
        await anchor.leave_page()
        await receiver.goodbye()
