"""Video on demand: nothing is sent between two pictures, and what is due comes in time."""

import asyncio
import time

import pytest

from cloudslice.codecs.av1 import AV1
from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.vp9 import VP9
from cloudslice.slicing.pictures.decoding import decode
from helpers.encoded_video import decode_keyframe
from helpers.livekit_anchor import AnchorSpec
from helpers.livekit_process import LivekitProcess
from helpers.livekit_stage import LivekitStage, livekit_stage


async def test_no_video_comes_between_pictures(stage: LivekitStage) -> None:
    await stage.join("alice", AnchorSpec(tone_hz=None, fps=30))
    video = stage.video("alice")
    await stage.keyframe(video)
    await asyncio.sleep(1)  # what was on its way
    before = stage.port.datagrams
    await asyncio.sleep(3)  # that nothing comes is what is looked at
    assert stage.port.datagrams - before < 20  # RTCP and connectivity checks
    assert video.flowing
    await stage.keyframe(video)


async def test_a_picture_comes_in_time(stage: LivekitStage) -> None:
    """Within a second of when it was asked for; from a cold start, too."""
    await stage.join("alice", AnchorSpec(tone_hz=None, fps=30))
    video, late_s = stage.video("alice"), []
    for pause_s in [0.0, 0.3, 1.1] * 5:
        await asyncio.sleep(pause_s)
        asked = time.monotonic()
        keyframe = await stage.keyframe(video)
        late_s.append(keyframe.arrival - asked)
        assert keyframe.arrival >= asked
    assert max(late_s) < 1
    assert sorted(late_s)[len(late_s) // 2] < 0.3


async def test_video_may_stay_on(livekit: LivekitProcess, room_id: str) -> None:
    async with livekit_stage(livekit, room_id, video_on_demand=False) as stage:
        await stage.join("alice", AnchorSpec(tone_hz=None, fps=30))
        video = stage.video("alice")
        await stage.keyframe(video)
        before = stage.port.datagrams
        await asyncio.sleep(1)
        assert stage.port.datagrams - before > 20
        await stage.keyframe(video)


@pytest.mark.parametrize("on_demand", [True, False])
async def test_the_highest_layer_is_pictured(
    livekit: LivekitProcess, room_id: str, *, on_demand: bool
) -> None:
    """Four times in a row; before, a sender short of CPU may send the lower layers alone."""
    async with livekit_stage(livekit, room_id, video_on_demand=on_demand) as stage:
        spec = AnchorSpec(tone_hz=None, video=(1280, 720), fps=15, simulcast=True)
        await stage.join("alice", spec)
        video, sizes = stage.video("alice"), []
        async with asyncio.timeout(60):
            while sizes[-4:] != [(1280, 720)] * 4:
                keyframe = await stage.keyframe(video)
                frame = decode_keyframe(keyframe.decoding, keyframe.data)
                sizes.append((frame.width, frame.height))
                await asyncio.sleep(1)


@pytest.mark.parametrize("codec", [VP9, AV1], ids=lambda codec: codec.name)
async def test_other_codecs_are_pictured(stage: LivekitStage, codec: VideoCodec) -> None:
    """Of all layers that the SDK sends, the highest one as soon as it flows."""
    await stage.join("alice", AnchorSpec(codec=codec.name.lower(), video=(1280, 720), fps=15))
    video, width = stage.video("alice"), 0
    async with asyncio.timeout(60):
        while width < 1280:
            keyframe = await stage.keyframe(video)
            assert keyframe.decoding.decoder == codec.decoding.decoder
            width = decode(keyframe).width
    assert len((await stage.hear("alice", 20)).packets) >= 20
