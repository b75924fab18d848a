"""Chromium in builtin rooms: connected by WHIP, repaired by NACK, and at full quality soon."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from cloudslice.clock import SystemClock
from cloudslice.codecs.av1 import AV1
from cloudslice.codecs.catalog import CATALOG
from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.vp8 import VP8
from cloudslice.codecs.vp9 import VP9
from cloudslice.config import Settings
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.media.tracks import Keyframe
from cloudslice.rooms.base import Anchor, LeaveCode
from cloudslice.rooms.builtin.publication import Publication
from cloudslice.rooms.builtin.rooms import BuiltinRooms
from cloudslice.rooms.builtin.whip import whip_app
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.colors import ColorConverter
from cloudslice.slicing.pictures.decoding import decode
from cloudslice.slicing.pictures.picture_files import encode_picture
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.udp.port import UdpPort
from cloudslice.webrtc.video_receiver import VideoReceiver
from helpers.asgi_server import serving
from helpers.browser import BrowserAnchor, browser_anchor
from helpers.encoded_video import decode_keyframe
from helpers.keyframes import BAR_COLORS, decode_picture
from helpers.lossy_relay import Weather, lossy_relay
from helpers.media_port import media_port
from helpers.room_observer import make_bus
from helpers.rtp import RecordingSink, runs

each_codec = pytest.mark.parametrize("codec", [VP8, H264, VP9, AV1], ids=lambda each: each.name)
"""That Debian's Chromium encodes."""

pytestmark = pytest.mark.timeout(90)

APP, KEY = 1400000001, "k" * 64
ROOM = RoomKey(APP, "150", RoomIdType.NUMBER)
SETTINGS = Settings.model_validate({"apps": [{"sdk_app_id": APP, "secret_key": KEY}]})


@dataclass
class Robot:
    """A RoomListener on which tests can wait."""

    joined: asyncio.Queue[Anchor] = field(default_factory=asyncio.Queue)
    left: asyncio.Queue[Anchor] = field(default_factory=asyncio.Queue)

    def on_anchor_joined(self, anchor: Anchor) -> None:
        self.joined.put_nowait(anchor)

    def on_anchor_changed(self, anchor: Anchor) -> None: ...

    def on_anchor_left(self, anchor: Anchor) -> None:
        self.left.put_nowait(anchor)

    def on_evicted(self, code: LeaveCode) -> None: ...


@dataclass
class Stage:
    """Rooms with a robot in them, and their WHIP endpoint on a real port."""

    rooms: BuiltinRooms
    port: UdpPort
    robot: Robot
    url: str

    @contextlib.asynccontextmanager
    async def anchor(
        self, codec: VideoCodec, layers: str = "", script: str = ""
    ) -> AsyncIterator[tuple[BrowserAnchor, PeerConnection, VideoReceiver, RecordingSink]]:
        """Chromium in the room: the browser, and what the server has of it."""
        sig = make_user_sig(KEY, APP, "anchor", now_s=time.time(), lifetime_s=86400)
        async with browser_anchor(
            self.url, sig, codec=codec.name, layers=layers, script=script
        ) as browser:
            async with asyncio.timeout(15):
                anchor = await self.robot.joined.get()
            assert isinstance(anchor, Publication)
            assert isinstance(anchor.video, VideoReceiver)
            sink = RecordingSink()
            if anchor.audio is not None:
                anchor.audio.add_sink(sink)
            yield browser, anchor.connection, anchor.video, sink


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    clock = SystemClock()
    with media_port(clock) as (port, tick):
        rooms = BuiltinRooms(port, SETTINGS.rtc, clock, tick, make_bus())
        robot = Robot()
        await rooms.enter(ROOM, "robot", robot)
        app = Starlette(routes=[Mount("/whip", whip_app(SETTINGS, rooms, clock))])
        async with serving(app) as http_port:
            yield Stage(rooms, port, robot, f"http://127.0.0.1:{http_port}/whip/{APP}/1/150/anchor")


async def keyframe(video: VideoReceiver, within_s: float = 1) -> Keyframe:
    granted: asyncio.Future[Keyframe] = asyncio.get_running_loop().create_future()
    request = video.request_keyframe(granted.set_result, SystemClock().monotonic())
    try:
        async with asyncio.timeout(within_s):
            return await granted
    finally:
        request.cancel()


@each_codec
async def test_quality_is_full_soon_and_key_frames_come_on_request(
    stage: Stage, codec: VideoCodec
) -> None:
    """More than 1 Mbit/s to spend within ten seconds, by REMB; each picture within a second."""
    async with stage.anchor(codec) as (browser, connection, video, sink):
        first = await keyframe(video)
        assert first.decoding.decoder == codec.decoding.decoder
        await browser.connected()
        await browser.until("stats.video.targetKbps > 1000")
        for _ in range(3):
            frame = decode_keyframe(codec.decoding, (await keyframe(video)).data)
            assert frame.width * 9 == frame.height * 16
        counts = connection.counts
        assert (counts["not_authentic"], counts["malformed"], counts["unassigned"]) == (0, 0, 0)
        ticks = [timestamp // 960 for timestamp in sink.timestamps]
        assert len(runs(ticks)) == 1
        await browser.stop()
        async with asyncio.timeout(2):
            await stage.robot.left.get()


@pytest.mark.parametrize(
    ("codec", "layers"),
    [(VP9, "L1T3"), (VP9, "L3T3_KEY"), (VP9, "L3T3"), (AV1, "L1T3"), (AV1, "L3T3_KEY")],
    ids=lambda each: each if isinstance(each, str) else each.name,
)
async def test_of_several_layers_the_highest_is_pictured(
    stage: Stage, codec: VideoCodec, layers: str
) -> None:
    """As soon as Chromium sends it, the picture has its size."""
    async with stage.anchor(codec, layers) as (browser, _connection, video, _sink):
        await browser.connected()
        async with asyncio.timeout(30):
            while True:
                found = await keyframe(video, 5)
                made = decode(found)
                assert CATALOG.coded_size(found) == (made.width, made.height)
                assert made.width * 9 == made.height * 16
                if made.width == 1280:
                    break
        sent = (await browser.stats())["video"]
        assert sent["codec"] == f"video/{codec.name}"
        assert sent["layers"] == layers


_CANVAS = """
navigator.mediaDevices.getUserMedia = async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1280, height: 720 });
  const context = canvas.getContext("2d");
  const colors = COLORS;
  const draw = () =>
    colors.forEach((color, index) => {
      context.fillStyle = `rgb(${color})`;
      const width = canvas.width / colors.length;
      context.fillRect(Math.floor(index * width), 0, Math.ceil(width), canvas.height);
    });
  draw();
  setInterval(draw, 50);
  return canvas.captureStream(20);
};
"""
"""Instead of a camera: colour bars as a page draws them."""


@each_codec
async def test_a_canvas_has_the_colours_that_were_drawn(stage: Stage, codec: VideoCodec) -> None:
    """Within 3 levels: of RGB, not of a camera's YUV, which Chromium says beside the stream."""
    script = _CANVAS.replace("COLORS", json.dumps(BAR_COLORS.tolist()))
    converter, error = ColorConverter(), 255
    async with stage.anchor(codec, script=script) as (browser, _connection, video, _sink):
        await browser.connected()
        async with asyncio.timeout(30):  # it begins with a coarse picture
            while error > 3:
                found = await keyframe(video, 5)
                shown = decode_picture(encode_picture(found, ImageFormat.PNG, converter).data)
                step = shown.shape[1] // len(BAR_COLORS)
                middle = shown[shown.shape[0] // 2, step // 2 :: step][: len(BAR_COLORS)]
                error = int(np.abs(middle.astype(int) - BAR_COLORS).max())


@each_codec
async def test_lost_packets_are_repaired_on_the_media_ssrc(
    stage: Stage, codec: VideoCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We refuse RTX: Chromium answers NACKs with the packets themselves."""
    weather = Weather(loss=0.05, late=0.05, late_s=0.03)
    host, udp_port = stage.port.candidates[0]
    async with lossy_relay((host, udp_port), weather) as (_relay, relay_port):
        monkeypatch.setattr(UdpPort, "candidates", [(host, relay_port)])
        async with stage.anchor(codec) as (browser, connection, video, _sink):
            made = nacks = 0
            while made < 8 or not nacks:  # a small key frame may have lost nothing
                frame = decode_keyframe(codec.decoding, (await keyframe(video, 1.5)).data)
                assert frame.width * 9 == frame.height * 16
                nacks = (await browser.stats())["video"]["nackCount"]
                made += 1
            assert weather.lost > 0
            assert connection.counts["unassigned"] == 0
            assert video.counts["keyframe_requests"] <= 1.75 * made
