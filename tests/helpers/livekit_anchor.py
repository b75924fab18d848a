"""An anchor in a LiveKit room by LiveKit's own client: a tone, and numbered pictures."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from livekit import rtc

from helpers.encoded_video import HEIGHT, WIDTH, numbered_picture

SAMPLE_RATE = 48_000
_BLOCK = SAMPLE_RATE // 100


@dataclass(frozen=True)
class AnchorSpec:
    """What an anchor sends."""

    tone_hz: float | None = 440
    video: tuple[int, int] | None = (WIDTH, HEIGHT)
    fps: int = 15
    codec: str = "vp8"
    simulcast: bool = False
    screen: bool = False
    e2ee_key: str = ""
    """What it encrypts with from end to end; nothing without it."""
    first_number: int = 0
    """Of the pictures: they go from it to 15 more, and again."""


@dataclass
class LivekitAnchor:
    """An anchor that has joined and publishes."""

    identity: str
    room: rtc.Room
    spec: AnchorSpec
    audio: Any = None
    video: Any = None
    screen: Any = None
    sent: list[tuple[float, int]] = field(default_factory=list)
    """Unix second of each picture, and its number."""


@contextlib.asynccontextmanager
async def livekit_anchor(
    url: str, token: str, identity: str, spec: AnchorSpec
) -> AsyncIterator[LivekitAnchor]:
    """Join, and publish until the end of the context."""
    room = rtc.Room()
    encryption = None
    if spec.e2ee_key:
        keys = rtc.KeyProviderOptions(shared_key=spec.e2ee_key.encode())
        encryption = rtc.E2EEOptions(key_provider_options=keys)
    await room.connect(url, token, rtc.RoomOptions(auto_subscribe=False, encryption=encryption))
    anchor = LivekitAnchor(identity, room, spec)
    tasks: list[asyncio.Task[None]] = []
    sources: list[Any] = []
    try:
        if spec.tone_hz is not None:
            audio = rtc.AudioSource(SAMPLE_RATE, 1)
            sources.append(audio)
            track = rtc.LocalAudioTrack.create_audio_track("microphone", audio)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            await room.local_participant.publish_track(track, options)
            anchor.audio = track
            tasks.append(asyncio.create_task(_play(audio, spec.tone_hz)))
        if spec.video is not None:
            anchor.video, task = await _publish_video(
                anchor, sources, "camera", rtc.TrackSource.SOURCE_CAMERA
            )
            tasks.append(task)
        if spec.screen:
            anchor.screen, task = await _publish_video(
                anchor, sources, "screen", rtc.TrackSource.SOURCE_SCREENSHARE
            )
            tasks.append(task)
        yield anchor
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await room.disconnect()
        # Where the server has ended the connection already, that returns before the room's task.
        await asyncio.wait([room._task], timeout=5)
        for source in sources:
            await source.aclose()


async def _publish_video(
    anchor: LivekitAnchor, sources: list[Any], name: str, source: Any
) -> tuple[Any, asyncio.Task[None]]:
    spec = anchor.spec
    assert spec.video is not None
    video = rtc.VideoSource(*spec.video)
    sources.append(video)
    track = rtc.LocalVideoTrack.create_video_track(name, video)
    codec = getattr(rtc.VideoCodec, spec.codec.upper())
    options = rtc.TrackPublishOptions(source=source, simulcast=spec.simulcast, video_codec=codec)
    frames = _frames(spec)
    video.capture_frame(frames[0])  # until there is one, black ones are sent
    await anchor.room.local_participant.publish_track(track, options)
    return track, asyncio.create_task(_film(video, frames, anchor))


async def _play(source: rtc.AudioSource, tone_hz: float) -> None:
    at = 0
    while True:
        times = (at + np.arange(_BLOCK)) / SAMPLE_RATE
        wave = (np.sin(2 * np.pi * tone_hz * times) * 10_000).astype(np.int16)
        frame = rtc.AudioFrame(wave.tobytes(), SAMPLE_RATE, 1, _BLOCK)
        await source.capture_frame(frame)
        at += _BLOCK


def _frames(spec: AnchorSpec) -> list[rtc.VideoFrame]:
    """The pictures, in the order of their numbers."""
    assert spec.video is not None
    width, height = spec.video
    pictures = [
        numbered_picture(spec.first_number + each).reformat(
            width=width, height=height, format="yuv420p"
        )
        for each in range(16)
    ]
    return [
        rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, each.to_ndarray().tobytes())
        for each in pictures
    ]


async def _film(
    source: rtc.VideoSource, frames: list[rtc.VideoFrame], anchor: LivekitAnchor
) -> None:
    loop = asyncio.get_running_loop()
    spec = anchor.spec
    start, count = loop.time(), 0
    while True:
        number = count % len(frames)
        source.capture_frame(frames[number])
        anchor.sent.append((time.time(), spec.first_number + number))
        count += 1
        await asyncio.sleep(max(0.0, start + count / spec.fps - loop.time()))
