"""A room of many, on one connection: each one's packets, unchanged and nobody else's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from livekit.api import ListParticipantsRequest

from cloudslice.codecs.vp8 import VP8
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import AudioLoop, Media, PacketizedFrame, VideoLoop
from cloudslice_publisher.packetizer import packetize
from cloudslice_publisher.publisher import PublishConfig, publisher_group
from helpers.livekit_process import API_KEY, API_SECRET, LivekitProcess
from helpers.livekit_stage import livekit_stage
from helpers.rtp import RecordingSink
from helpers.waiting import eventually
from helpers.whip_bridges import LivekitPublishing, bridging

_ANCHORS = 25
_CELT_20_MS = b"\xf8"


@pytest.mark.parametrize("guests", [0, pytest.param(175, marks=pytest.mark.long)])
async def test_25_anchors_are_heard_and_seen(
    livekit: LivekitProcess, room_id: str, guests: int
) -> None:
    names = [f"anchor{number:02}" for number in range(_ANCHORS)]
    async with AsyncExitStack() as stack:
        publishing = LivekitPublishing(livekit.url, API_KEY, API_SECRET)
        bridge = await stack.enter_async_context(bridging(publishing))
        group = await stack.enter_async_context(publisher_group())
        for name in names:
            await group.start(
                PublishConfig(bridge.url(room_id, name), "-"), _media(name)
            ).wait_live()
        await stack.enter_async_context(_guests(publishing, room_id, guests))
        stage = await stack.enter_async_context(livekit_stage(livekit, room_id))
        await eventually(
            lambda: all(
                name in stage.room.anchors and stage.anchor(name).video and stage.anchor(name).audio
                for name in names
            ),
            within_s=60,
        )
        sinks = {name: RecordingSink() for name in names}
        for name, sink in sinks.items():
            stage.audio(name).add_sink(sink)
        await eventually(lambda: all(len(s.packets) >= 100 for s in sinks.values()), within_s=30)
        keyframes = await asyncio.gather(
            *(stage.keyframe(stage.video(name), within_s=10) for name in names)
        )
        for name, keyframe, sink in zip(names, keyframes, sinks.values(), strict=True):
            assert name.encode() * 100 in keyframe.data
            numbers = [int(payload.removeprefix(_packet(name, ""))) for payload in sink.payloads]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert set(stage.room.anchors) == set(names)
        assert await _count_members(livekit, room_id) >= _ANCHORS + guests


@asynccontextmanager
async def _guests(publishing: LivekitPublishing, room_id: str, count: int) -> AsyncIterator[None]:
    """Members that send nothing. One comes after the other: a server that all come to at once lets
    some wait for longer than they do."""
    async with asyncio.TaskGroup() as group:
        looking_on = []
        for number in range(count):
            has_joined = asyncio.Event()
            coming = publishing.look_on(room_id, f"guest{number}", has_joined)
            looking_on.append(group.create_task(coming))
            await has_joined.wait()
        yield
        for each in looking_on:
            each.cancel()


async def _count_members(livekit: LivekitProcess, room_id: str) -> int:
    async with livekit.api() as api:
        listed = await api.room.list_participants(ListParticipantsRequest(room=room_id))
        return len(listed.participants)


def _packet(name: str, number: str) -> bytes:
    return _CELT_20_MS + f"{name} {number}".encode()


def _media(name: str) -> Media:
    """Opus packets and key frames that say whose they are."""
    audio = AudioLoop(tuple(_packet(name, str(number)) for number in range(10_000)))
    keyframe = b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00" + name.encode() * 400
    delta = b"\x11\x00\x00" + name.encode()
    frames = [PacketizedFrame(packetize(VP8, keyframe), True)]
    frames += [PacketizedFrame(packetize(VP8, delta), False)] * 9
    return Media(VideoLoop(VideoSpec(VP8, 320, 240, fps=5), tuple(frames)), audio)
