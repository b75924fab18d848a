"""A robot in rooms of a real Janus: what it hears and sees of whom, and how it is kept apart."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from cloudslice.codecs.h264 import H264
from cloudslice.codecs.vp8 import VP8
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import Look, Media, synthetic_media
from helpers.janus_server import BIG_ROOM, TEXT_ROOM
from helpers.janus_stage import (
    APP_ID,
    ROOM,
    JanusStage,
    Listener,
    janus_stage,
    owner_of,
    speakers,
)
from helpers.numbered_media import speaker
from helpers.waiting import eventually

NAMES = ("alice", "bob", "carl")


@pytest.fixture(scope="module")
def looks() -> dict[str, Media]:
    """Video whose key frames are like nobody else's."""
    codecs = {"alice": VP8, "bob": VP8, "carl": H264}
    return {
        name: synthetic_media(
            Look(name), video=VideoSpec(codec, 320, 180, 30, 300, 1), audio=None, seconds=2
        )
        for name, codec in codecs.items()
    }


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[JanusStage]:
    async with janus_stage(tmp_path) as opened:
        yield opened


async def test_audio_and_pictures_of_everybody_come_from_the_right_one(
    stage: JanusStage, looks: dict[str, Media]
) -> None:
    robot = Listener()
    stay = await stage.rooms.enter(ROOM, "robot", robot)
    for name in NAMES:
        await stage.publish(name, speaker(name, looks[name]))
    await eventually(lambda: all(robot.packets(name) >= 20 for name in NAMES))
    for name in NAMES:
        keyframe, _ = await stage.keyframe(robot.anchors[name])
        assert owner_of(keyframe, looks) == name
        assert [speakers(sink) for sink in robot.sinks[name]] == [{name}]
    stay.leave()


async def test_what_is_heard_is_what_was_sent_packet_for_packet(stage: JanusStage) -> None:
    robot = Listener()
    await stage.publish("alice", speaker("alice"))
    stay = await stage.rooms.enter(ROOM, "robot", robot)
    await eventually(lambda: robot.packets("alice") >= 100)
    stay.leave()
    (sink,) = robot.sinks["alice"]
    numbers = [int(payload.split(b":")[1]) for payload in sink.payloads]
    assert all((after - before) % 500 == 1 for before, after in pairwise(numbers))
    assert all(b - a == 960 for a, b in pairwise(sink.timestamps))


async def test_nothing_is_subscribed_to_that_nobody_wants(
    stage: JanusStage, looks: dict[str, Media]
) -> None:
    robot = Listener(listens=False)
    await stage.publish("alice", speaker("alice", looks["alice"]))
    stay = await stage.rooms.enter(ROOM, "robot", robot)
    assert list(robot.anchors) == ["alice"]
    before = stage.port.datagrams
    await asyncio.sleep(0.5)  # in which nothing may happen
    assert stage.port.datagrams == before
    stay.leave()


async def test_video_comes_only_while_a_picture_is_wanted(
    stage: JanusStage, looks: dict[str, Media]
) -> None:
    robot = Listener(listens=False)
    await stage.publish("alice", speaker("alice", looks["alice"]))
    stay = await stage.rooms.enter(ROOM, "robot", robot)
    track = robot.anchors["alice"].video
    assert track is not None
    for _ in range(4):
        _, seconds = await stage.keyframe(robot.anchors["alice"])
        assert seconds < 1
        await asyncio.sleep(0.3)  # what is on its way comes yet
        before = stage.port.datagrams
        await asyncio.sleep(0.7)  # in which some twenty frames would come
        assert stage.port.datagrams - before < 5  # RTCP
        assert track.flowing
    stay.leave()


async def test_video_comes_all_the_time_where_it_is_not_on_demand(
    tmp_path: Path, looks: dict[str, Media]
) -> None:
    async with janus_stage(tmp_path, video_on_demand=False) as stage:
        robot = Listener(listens=False)
        await stage.publish("alice", speaker("alice", looks["alice"]))
        stay = await stage.rooms.enter(ROOM, "robot", robot)
        for _ in range(3):
            _, seconds = await stage.keyframe(robot.anchors["alice"])
            assert seconds < 1
            before = stage.port.datagrams
            await asyncio.sleep(0.5)
            assert stage.port.datagrams - before > 10
        stay.leave()


async def test_who_is_asked_for_a_key_frame_is_the_one_whose_picture_is_wanted(
    tmp_path: Path, looks: dict[str, Media]
) -> None:
    """All are asked through one connection; Janus goes by the first SSRC of an RTCP packet."""
    async with janus_stage(tmp_path, video_on_demand=False) as stage:
        robot = Listener(listens=False)
        stay = await stage.rooms.enter(ROOM, "robot", robot)
        publishers = {name: await stage.publish(name, looks[name]) for name in NAMES}
        await eventually(lambda: len(robot.anchors) == len(NAMES))
        for name in NAMES:
            await stage.keyframe(robot.anchors[name])

        def count() -> dict[str, int]:
            return {name: each.stats.keyframes_wanted for name, each in publishers.items()}

        for name in NAMES:
            before = count()
            await stage.keyframe(robot.anchors[name])
            await eventually(lambda name=name, before=before: count()[name] > before[name])
            assert {other for other in NAMES if count()[other] != before[other]} == {name}
        stay.leave()


async def test_two_robots_share_one_connection(stage: JanusStage) -> None:
    first, second = Listener(), Listener()
    await stage.publish("alice", speaker("alice"))
    stays = [await stage.rooms.enter(ROOM, "robot_1", first)]
    await eventually(lambda: first.packets("alice") >= 10)
    stays.append(await stage.rooms.enter(ROOM, "robot_2", second))
    await eventually(lambda: second.packets("alice") >= 10)
    stays[0].leave()
    first.stop()
    heard = second.packets("alice")
    await eventually(lambda: second.packets("alice") >= heard + 10)
    assert stage.server.log.count("WebRTC media is now available") == 2  # hers and ours
    stays[1].leave()


async def test_ids_of_rooms_have_64_bits(tmp_path: Path) -> None:
    async with janus_stage(tmp_path, pin="") as stage:
        room = RoomKey(APP_ID, str(BIG_ROOM), RoomIdType.STRING)
        await stage.publish("alice", speaker("alice"), BIG_ROOM)
        robot = Listener()
        stay = await stage.rooms.enter(room, "robot", robot)
        await eventually(lambda: robot.packets("alice") >= 10)
        assert await stage.rooms.exists(room)
        other = RoomKey(APP_ID, str(BIG_ROOM - 1), RoomIdType.STRING)
        assert not await stage.rooms.exists(other)
        stay.leave()


async def test_rooms_and_people_may_have_texts_for_ids(tmp_path: Path) -> None:
    async with janus_stage(tmp_path, string_ids=True, user_id="id") as stage:
        room = RoomKey(APP_ID, TEXT_ROOM, RoomIdType.STRING)
        await stage.publish("alice@example.com", speaker("alice"), TEXT_ROOM)
        robot = Listener()
        stay = await stage.rooms.enter(room, "robot", robot)
        (user_id,) = robot.anchors
        assert user_id.startswith("alice_example--")
        assert robot.anchors[user_id].identity == "alice@example.com"
        await eventually(lambda: robot.packets(user_id) >= 10)
        stay.leave()


@pytest.mark.parametrize("option", ["is_ice_lite", "trickles"])
async def test_ice_is_as_the_server_has_it(tmp_path: Path, option: str) -> None:
    async with janus_stage(tmp_path, options={option: True}) as stage:
        robot = Listener()
        await stage.publish("alice", speaker("alice"))
        stay = await stage.rooms.enter(ROOM, "robot", robot)
        await eventually(lambda: robot.packets("alice") >= 10)
        stay.leave()
