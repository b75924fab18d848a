"""Many anchors in one connection, and what they have muted."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from cloudslice.codecs.vp8 import VP8
from cloudslice.ids import TrackKind
from cloudslice.media.tracks import Keyframe
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import Look, Media, synthetic_media
from helpers.janus_stage import ROOM, JanusStage, Listener, janus_stage, owner_of, speakers
from helpers.numbered_media import speaker
from helpers.waiting import eventually

NAMES = tuple(f"anchor{number}" for number in range(25))
LOOKS = 5
"""So many different videos."""


@pytest.fixture(scope="module")
def looks() -> dict[str, Media]:
    videos = [
        synthetic_media(
            Look(str(number)), video=VideoSpec(VP8, 320, 180, 10, 150, 1), audio=None, seconds=2
        )
        for number in range(LOOKS)
    ]
    return {name: videos[number % LOOKS] for number, name in enumerate(NAMES)}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[JanusStage]:
    async with janus_stage(tmp_path) as opened:
        yield opened


async def ask_all(robot: Listener, due: float) -> dict[str, Keyframe]:
    """A key frame of everybody."""
    got: dict[str, Keyframe] = {}
    for name in NAMES:
        track = robot.anchors[name].video
        assert track is not None
        track.request_keyframe(partial(got.__setitem__, name), due)
    await eventually(lambda: len(got) == len(NAMES), 10)
    return got


async def test_twenty_five_anchors_in_one_connection(
    stage: JanusStage, looks: dict[str, Media]
) -> None:
    """Each is heard whole, and three pictures in a row of all come in time."""
    robot = Listener()
    stay = await stage.rooms.enter(ROOM, "robot", robot)
    await asyncio.gather(*(stage.publish(name, speaker(name, looks[name])) for name in NAMES))
    await eventually(lambda: len(robot.anchors) == 25 and all(map(robot.packets, NAMES)))
    late = []
    for _ in range(3):
        asked = stage.clock.monotonic()
        got = await ask_all(robot, asked)
        late.append(max(each.arrival - asked for each in got.values()))
        for name, keyframe in got.items():
            assert looks[owner_of(keyframe, looks)] is looks[name]
        await asyncio.sleep(1)  # in which videos are off
    await eventually(lambda: all(robot.packets(name) >= 100 for name in NAMES))
    stay.leave()
    print("the last of 25 key frames after", [f"{each * 1000:.0f} ms" for each in late])
    assert max(late[1:]) < 1, late
    for name in NAMES:
        (sink,) = robot.sinks[name]
        assert speakers(sink) == {name}
    # One of each publisher, and one of ours.
    assert stage.server.log.count("WebRTC media is now available") == 26


async def test_a_camera_that_sends_nothing_is_not_flowing_until_it_does(
    stage: JanusStage, looks: dict[str, Media]
) -> None:
    """Janus does not tell of it."""
    publisher = await stage.publish("alice", speaker("alice", looks[NAMES[0]]))
    robot = Listener()
    stay = await stage.rooms.enter(ROOM, "robot", robot)
    track = robot.anchors["alice"].video
    assert track is not None
    assert track.flowing
    await stage.keyframe(robot.anchors["alice"])
    publisher.mute(TrackKind.VIDEO)
    await asyncio.sleep(0.5)  # until what was sent before has come
    got: list[Keyframe] = []
    request = track.request_keyframe(got.append, stage.clock.monotonic())
    await eventually(lambda: not track.flowing, 5)
    request.cancel()  # as a robot does that takes pictures of the screen share meanwhile
    assert not got
    publisher.mute(TrackKind.VIDEO, is_muted=False)
    await eventually(lambda: track.flowing, 5)
    await stage.keyframe(robot.anchors["alice"])
    stay.leave()


async def test_what_a_moderator_mutes_is_gone_until_it_is_unmuted(stage: JanusStage) -> None:
    await stage.publish("alice", speaker("alice"))
    robot = Listener()
    stay = await stage.rooms.enter(ROOM, "robot", robot)
    await eventually(lambda: robot.packets("alice") >= 10)
    await stage.moderate("alice", "0", mute=True)
    await eventually(lambda: ("left", "alice") in robot.heard)
    await stage.moderate("alice", "0", mute=False)
    await eventually(lambda: "alice" in robot.anchors)
    heard = robot.packets("alice")
    await eventually(lambda: robot.packets("alice") >= heard + 10)
    assert stage.server.log.count("Negotiation update") <= 1  # the subscription has stayed
    stay.leave()
