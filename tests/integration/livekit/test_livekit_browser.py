"""Chromium publishes by livekit-client, the client of LiveKit's makers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudslice.codecs.av1 import AV1
from cloudslice.codecs.catalog import CATALOG
from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.opus import packet_samples
from cloudslice.codecs.vp9 import VP9
from cloudslice.media.tracks import VideoTrack
from cloudslice.slicing.pictures.decoding import decode
from helpers.encoded_video import decode_keyframe
from helpers.livekit_browser import LivekitPage, livekit_page
from helpers.livekit_stage import LivekitStage
from helpers.waiting import eventually

pytestmark = pytest.mark.timeout(90)

_LAYERS = [(320, 180), (640, 360), (1280, 720)]
"""What livekit-client sends of a camera."""
_SHARED = [(960, 540), (1920, 1080)]
"""...and of the screen."""
_ONE_FRAME_MS = 20


@contextlib.asynccontextmanager
async def dora(stage: LivekitStage, **options: Any) -> AsyncIterator[LivekitPage]:
    """A browser in the stage's room, whom the robot knows of."""
    token = stage.process.token(stage.key.room_id, "dora")
    async with livekit_page(stage.process.url, token, **options) as page:
        await eventually(lambda: "dora" in stage.room.anchors)
        anchor = stage.anchor("dora")
        wanted = (
            options.get("audio", True),
            options.get("video", True),
            options.get("screen", False),
        )
        await eventually(
            lambda: (
                tuple(each is not None for each in (anchor.audio, anchor.video, anchor.aux))
                == wanted
            )
        )
        yield page


async def size_of_picture(stage: LivekitStage, track: VideoTrack) -> tuple[int, int]:
    """Of the next one, decoded."""
    keyframe = await stage.keyframe(track, within_s=5)
    frame = decode_keyframe(keyframe.decoding, keyframe.data)
    return frame.width, frame.height


async def assert_heard(stage: LivekitStage) -> None:
    """All that comes is Opus as libwebrtc sends it."""
    sink = await stage.hear("dora", 50)
    assert {packet_samples(payload) for payload in sink.payloads} == {_ONE_FRAME_MS * 48}


async def test_a_browser_as_it_is(stage: LivekitStage) -> None:
    """With livekit-client's own defaults: simulcast, DTX, RED at the sender, and a screen share."""
    async with dora(stage, screen=True) as page:
        anchor = stage.anchor("dora")
        assert anchor.video is not None
        assert anchor.aux is not None
        await assert_heard(stage)
        [audio] = await page.sent("microphone")
        assert "usedtx=1" in audio["fmtp"]
        answer = await page.page.evaluate("answer('audio')")
        assert "\r\na=rtpmap:63 red/48000/2\r\n" in answer
        assert answer.startswith("audio 9 UDP/TLS/RTP/SAVPF 63 111 ")
        assert {each["rid"] for each in await page.sent("camera")} == {"q", "h", "f"}
        for _ in range(2):
            assert await size_of_picture(stage, anchor.aux) in _SHARED
            assert await size_of_picture(stage, anchor.video) in _LAYERS


@pytest.mark.parametrize(("codec", "dynacast"), [("vp8", True), ("h264", False)])
async def test_the_best_layer_is_pictured(
    stage: LivekitStage, codec: str, *, dynacast: bool
) -> None:
    """Once the browser has found out what the network can carry; also after pauses, in which a
    sender with dynacast sends nothing at all."""
    publish = {"videoCodec": codec}
    async with dora(stage, dynacast=dynacast, publish=publish) as page:
        video = stage.video("dora")
        async with asyncio.timeout(40):
            while await size_of_picture(stage, video) != _LAYERS[-1]:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.5)
        sizes = []
        for _ in range(4):
            await asyncio.sleep(1.5)  # in which no video comes
            sizes.append(await size_of_picture(stage, video))
        print(codec, "dynacast" if dynacast else "", sizes)
        assert set(sizes) <= set(_LAYERS)
        assert sizes.count(_LAYERS[-1]) >= 2, sizes
        codecs = {each["codec"] for each in await page.sent("camera") if each["packetsSent"]}
        assert codecs == {f"video/{codec.upper()}"}


async def test_a_single_layer_is_pictured(stage: LivekitStage) -> None:
    async with dora(stage, audio=False, publish={"videoCodec": "h264", "simulcast": False}):
        for _ in range(3):
            width, height = await size_of_picture(stage, stage.video("dora"))
            assert width * 9 == height * 16


@pytest.mark.parametrize("codec", [VP9, AV1], ids=lambda codec: codec.name)
async def test_other_codecs_are_pictured_as_they_are(
    stage: LivekitStage, codec: VideoCodec
) -> None:
    """With layers. As we take them, livekit-client sends no second codec for our sake."""
    publish = {"videoCodec": codec.name.lower()}
    async with dora(stage, publish=publish) as page:
        video = stage.video("dora")
        for _ in range(3):
            keyframe = await stage.keyframe(video, within_s=10)
            assert keyframe.decoding.decoder == codec.decoding.decoder
            frame = decode(keyframe)
            assert frame.width * 9 == frame.height * 16
            assert CATALOG.coded_size(keyframe) == (frame.width, frame.height)
        await assert_heard(stage)
        codecs = {each["codec"] for each in await page.sent("camera") if each["packetsSent"]}
        assert codecs == {f"video/{codec.name}"}


async def test_what_is_muted_is_not_there(stage: LivekitStage) -> None:
    """The browser stops its camera for good when it is muted; the microphone goes on."""
    async with dora(stage) as page:
        anchor = stage.anchor("dora")
        audio, video = stage.audio("dora"), stage.video("dora")
        await assert_heard(stage)
        await size_of_picture(stage, video)
        await page.switch("Microphone", on=False)
        await eventually(lambda: anchor.audio is None)
        await page.switch("Microphone", on=True)
        await eventually(lambda: anchor.audio is audio)
        await page.switch("Camera", on=False)
        await eventually(lambda: anchor.video is None)
        await page.switch("Camera", on=True)
        await eventually(lambda: anchor.video is video)
        await assert_heard(stage)
        assert await size_of_picture(stage, video) in _LAYERS


async def test_a_browser_that_comes_back(stage: LivekitStage) -> None:
    """As somebody new by the same name: with tracks of their own."""
    async with dora(stage, video=False) as page:
        first = stage.audio("dora")
        await assert_heard(stage)
        await page.leave()
        await eventually(lambda: ("left", "dora") in stage.robot.heard)
        await page.join({"video": False})
        await eventually(lambda: "dora" in stage.room.anchors and stage.anchor("dora").audio)
        assert stage.audio("dora") is not first
        await assert_heard(stage)
        assert [what for what, _ in stage.robot.heard if what != "changed"] == [
            "joined",
            "left",
            "joined",
        ]
