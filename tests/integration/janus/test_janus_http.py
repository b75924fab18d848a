"""Rooms of a Janus that is spoken to by its HTTP transport alone."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from cloudslice.codecs.vp8 import VP8
from cloudslice.rooms.base import LeaveCode, RoomEntryError
from cloudslice.rooms.janus.janus_channel import JanusAddress
from cloudslice.rooms.janus.session import open_session
from cloudslice.rooms.remote.room_server import UnreachableError
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import Look, synthetic_media
from helpers.janus_server import API_SECRET
from helpers.janus_stage import ROOM, JanusStage, Listener, janus_stage, owner_of, speakers
from helpers.numbered_media import speaker
from helpers.waiting import eventually


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[JanusStage]:
    async with janus_stage(tmp_path, over_http=True) as opened:
        yield opened


async def test_people_are_heard_and_seen(stage: JanusStage) -> None:
    """Who is there already, and who comes later; each packet once."""
    video = VideoSpec(VP8, 320, 180, 30, 300, 1)
    media = synthetic_media(Look("alice"), video=video, audio=None, seconds=2)
    robot = Listener()
    await stage.publish("alice", speaker("alice", media))
    stay = await stage.rooms.enter(ROOM, "robot", robot)
    await stage.publish("bob", speaker("bob"))
    await eventually(lambda: min(robot.packets("alice"), robot.packets("bob")) >= 100)
    for _ in range(2):  # video is off in between
        keyframe, _ = await stage.keyframe(robot.anchors["alice"])
        assert owner_of(keyframe, {"alice": media}) == "alice"
    stay.leave()
    for name in ("alice", "bob"):
        (sink,) = robot.sinks[name]
        assert speakers(sink) == {name}
        numbers = [int(payload.split(b":")[1]) for payload in sink.payloads]
        assert all((after - before) % 500 == 1 for before, after in pairwise(numbers))


async def test_people_and_rooms_are_managed(stage: JanusStage) -> None:
    robot = Listener()
    alice = await stage.publish("alice", speaker("alice"))
    await stage.rooms.enter(ROOM, "robot", robot)
    await eventually(lambda: robot.packets("alice") > 10)
    alice.vanish()
    await stage.rooms.remove_users(ROOM, ["alice"])
    await eventually(lambda: ("left", "alice") in robot.heard)
    await stage.rooms.dismiss(ROOM)
    async with asyncio.timeout(10):
        await robot.was_evicted.wait()
    assert robot.heard[-1] == ("evicted", LeaveCode.ROOM_DISMISSED)


async def test_requests_that_are_cut_off_cost_no_packet(stage: JanusStage) -> None:
    """Janus keeps a session without a connection; what it told in between is asked for anew."""
    robot = Listener()
    alice = await stage.publish("alice", speaker("alice"))
    await stage.publish("bob", speaker("bob"))
    stay = await stage.rooms.enter(ROOM, "robot", robot)
    await eventually(lambda: robot.packets("bob") > 10)
    stage.proxy.cut()
    await stage.group.stop(alice)
    await stage.publish("carl", speaker("carl"))
    stage.proxy.mend()
    await eventually(lambda: robot.packets("carl") > 10, 20)
    stay.leave()
    assert set(robot.heard[:2]) == {("joined", "alice"), ("joined", "bob")}
    assert robot.heard[2:] == [("left", "alice"), ("joined", "carl")]
    (sink,) = robot.sinks["bob"]
    numbers = [int(payload.split(b":")[1]) for payload in sink.payloads]
    assert all((after - before) % 500 == 1 for before, after in pairwise(numbers))


async def test_a_janus_that_is_started_again_is_entered_again(stage: JanusStage) -> None:
    robot = Listener()
    await stage.publish("alice", speaker("alice"))
    stay = await stage.rooms.enter(ROOM, "robot", robot)
    await eventually(lambda: robot.packets("alice") > 10)
    stage.server.stop()
    stage.server.start()
    before = robot.packets("alice")
    await eventually(lambda: robot.packets("alice") > before + 50, 40)
    assert not robot.was_evicted.is_set()
    stay.leave()


async def test_a_wrong_secret_is_told_as_such(tmp_path: Path) -> None:
    async with janus_stage(tmp_path, over_http=True, api_secret="Wrong") as stage:
        with pytest.raises(RoomEntryError, match=r"apps\.janus\.api_secret") as caught:
            await stage.rooms.check(ROOM, "robot")
        assert "Wrong" not in str(caught.value)


async def test_http_may_stand_for_the_websocket(stage: JanusStage) -> None:
    """As it always did: where nothing answers as the HTTP transport does."""
    address = JanusAddress(f"http://127.0.0.1:{stage.server.port}", API_SECRET)
    async with open_session(address) as session:
        assert (await session.info())["name"] == "Janus WebRTC Server"


async def test_a_url_of_something_else_is_told_as_such(stage: JanusStage) -> None:
    address = JanusAddress(f"http://127.0.0.1:{stage.server.http_port}/elsewhere", API_SECRET)
    with pytest.raises(UnreachableError, match="is the URL right"):
        async with open_session(address):
            pass
