"""An anchor in a Janus room by aiortc: a tone, and numbered pictures."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from helpers.encoded_video import numbered_picture
from helpers.whip_bridges import JanusPublishing

_FPS = 15


@dataclass(frozen=True)
class AnchorSpec:
    """What an anchor sends."""

    tone_hz: float = 440
    first_number: int = 0
    """Of the pictures: they go from it to 15 more, and again."""
    codec: str = "VP8"


class Tone(AudioStreamTrack):
    """A sine."""

    def __init__(self, tone_hz: float) -> None:
        super().__init__()
        self._tone_hz = tone_hz

    async def recv(self) -> av.AudioFrame:
        frame = await super().recv()
        assert isinstance(frame, av.AudioFrame)
        assert frame.pts is not None
        times = (frame.pts + np.arange(frame.samples)) / frame.sample_rate
        wave = (np.sin(2 * np.pi * self._tone_hz * times) * 10000).astype(np.int16)
        frame.planes[0].update(wave.tobytes())
        return frame


class NumberedVideo(VideoStreamTrack):
    """Pictures that show their numbers.

    Attributes:
        sent: Unix second of each picture, and its number.
    """

    def __init__(self, first_number: int) -> None:
        super().__init__()
        self.sent: list[tuple[float, int]] = []
        self._first_number = first_number
        self._start = time.monotonic()

    async def recv(self) -> av.VideoFrame:
        count = len(self.sent)
        await asyncio.sleep(max(0.0, self._start + count / _FPS - time.monotonic()))
        number = self._first_number + count % 16
        frame = numbered_picture(number)
        frame.pts, frame.time_base = count * 90_000 // _FPS, Fraction(1, 90_000)
        self.sent.append((time.time(), number))
        return frame


@dataclass
class JanusAnchor:
    """One that publishes."""

    spec: AnchorSpec
    video: NumberedVideo
    connection: RTCPeerConnection = field(default_factory=RTCPeerConnection)

    @property
    def sent(self) -> list[tuple[float, int]]:
        """Unix second of each picture, and its number."""
        return self.video.sent


@contextlib.asynccontextmanager
async def janus_anchor(
    publishing: JanusPublishing, room: str, name: str, spec: AnchorSpec
) -> AsyncIterator[JanusAnchor]:
    """Publish until the end of the context."""
    anchor = JanusAnchor(spec, NumberedVideo(spec.first_number))
    connection = anchor.connection
    connection.addTrack(Tone(spec.tone_hz))
    connection.addTrack(anchor.video)
    connection.getTransceivers()[1].setCodecPreferences(
        [
            each
            for each in RTCRtpSender.getCapabilities("video").codecs
            if each.mimeType == f"video/{spec.codec}"
        ]
    )
    await connection.setLocalDescription(await connection.createOffer())
    try:
        offer = connection.localDescription.sdp
        async with publishing.publish(room, name, offer) as answer:
            await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
            yield anchor
    finally:
        await connection.close()
