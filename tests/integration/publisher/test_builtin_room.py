"""A publisher in our own rooms: what a robot there hears and sees of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from cloudslice.clock import SystemClock
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.vp8 import VP8
from cloudslice.config import AppSettings, Settings
from cloudslice.identity.private_map_key import Privilege, make_private_map_key
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.media.tracks import Keyframe, VideoTrack
from cloudslice.rooms.base import Anchor, LeaveCode
from cloudslice.rooms.builtin.rooms import BuiltinRooms
from cloudslice.rooms.builtin.whip import whip_app
from cloudslice_publisher.connection import ConnectionOptions
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import Look, Media, synthetic_media
from cloudslice_publisher.publisher import PublishConfig, PublisherGroup, publisher_group
from helpers.asgi_server import serving
from helpers.media_port import media_port
from helpers.room_observer import make_bus

pytestmark = pytest.mark.timeout(30)

ROOM = RoomKey(1400000001, "150", RoomIdType.NUMBER)
KEY = "k" * 64
SMALL = VideoSpec(H264, 160, 120, 15, bitrate_kbps=100)


class Robot:
    """Waits for anchors that come and go."""

    def __init__(self) -> None:
        self.joined: asyncio.Queue[Anchor] = asyncio.Queue()
        self.left: asyncio.Queue[Anchor] = asyncio.Queue()

    def on_anchor_joined(self, anchor: Anchor) -> None:
        self.joined.put_nowait(anchor)

    def on_anchor_changed(self, anchor: Anchor) -> None:
        raise AssertionError("a publisher's tracks do not change")

    def on_anchor_left(self, anchor: Anchor) -> None:
        self.left.put_nowait(anchor)

    def on_evicted(self, code: LeaveCode) -> None:
        raise AssertionError("nobody put this robot out")


@dataclass
class Room:
    """A room with a robot in it, and publishers on their way in."""

    robot: Robot
    anchors: PublisherGroup
    base_url: str

    def config(self, private_map_key: str | None = None, **options: int) -> PublishConfig:
        now_s = time.time()
        return PublishConfig(
            f"{self.base_url}/whip/{ROOM.sdk_app_id}/1/{ROOM.room_id}/alice",
            make_user_sig(KEY, ROOM.sdk_app_id, "alice", now_s=now_s, lifetime_s=3600),
            private_map_key,
            connection=ConnectionOptions(**options),
        )


@pytest.fixture
async def room(request: pytest.FixtureRequest) -> AsyncIterator[Room]:
    is_strict = getattr(request, "param", "") == "strict"
    app = AppSettings(
        sdk_app_id=ROOM.sdk_app_id, secret_key=KEY, private_map_key_required=is_strict
    )
    settings, clock, robot = Settings(apps=(app,)), SystemClock(), Robot()
    with media_port(clock, "127.0.0.1") as (port, tick):
        async with publisher_group() as anchors:
            rooms = BuiltinRooms(port, settings.rtc, clock, tick, make_bus())
            await rooms.enter(ROOM, "robot", robot)
            whip = Starlette(routes=[Mount("/whip", whip_app(settings, rooms, clock))])
            async with serving(whip) as http_port:
                yield Room(robot, anchors, f"http://127.0.0.1:{http_port}")
                await anchors.stop_all()


@pytest.fixture(scope="module")
def media() -> Media:
    """Camera, sound and a screen share of another size."""
    camera = synthetic_media(Look(), video=SMALL, seconds=2)
    screen = VideoSpec(VP8, 320, 240, 10, bitrate_kbps=100)
    share = synthetic_media(Look(), video=screen, audio=None, seconds=2)
    return Media(camera.video, camera.audio, share.video)


async def keyframe(track: VideoTrack | None) -> Keyframe:
    """The next key frame, asked for at once."""
    assert track is not None
    granted: asyncio.Future[Keyframe] = asyncio.get_running_loop().create_future()
    track.request_keyframe(granted.set_result, time.monotonic())
    return await granted


async def test_all_three_tracks_arrive(room: Room, media: Media) -> None:
    """Sound, camera and screen share, each where it belongs."""
    publisher = room.anchors.start(room.config(), media)
    anchor = await room.robot.joined.get()
    assert anchor.audio is not None
    assert (await keyframe(anchor.video)).decoding is H264.decoding
    assert (await keyframe(anchor.aux)).decoding is VP8.decoding
    assert publisher.stats.keyframes_wanted >= 1
    assert publisher.stats.remb_kbps is not None


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
async def test_rotation_arrives(room: Room, media: Media, rotation: int) -> None:
    room.anchors.start(room.config(rotation=rotation), media)
    anchor = await room.robot.joined.get()
    assert (await keyframe(anchor.video)).rotation == rotation


async def test_leaving_is_noticed_at_once(room: Room, media: Media) -> None:
    """The server need not wait for a timeout."""
    publisher = room.anchors.start(room.config(), media)
    anchor = await room.robot.joined.get()
    await publisher.wait_live()
    await room.anchors.stop(publisher)
    async with asyncio.timeout(1):
        assert await room.robot.left.get() is anchor


@pytest.mark.parametrize("room", ["strict"], indirect=True)
async def test_a_private_map_key_opens_strict_rooms(room: Room, media: Media) -> None:
    ticket = make_private_map_key(
        KEY, ROOM, "alice", Privilege(255), now_s=time.time(), lifetime_s=3600
    )
    room.anchors.start(room.config(ticket), media)
    assert (await room.robot.joined.get()).user_id == "alice"
