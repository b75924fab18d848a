"""How a robot's stay in a room of Janus ends, and what becomes of it when the network fails."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from cloudslice.ids import RoomIdType
from cloudslice.rooms.base import LeaveCode
from cloudslice.rooms.management import RoomServerError
from helpers.janus_server import OPEN_ROOM
from helpers.janus_stage import ROOM, JanusStage, Listener, janus_stage, speakers
from helpers.numbered_media import speaker
from helpers.waiting import eventually


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[JanusStage]:
    async with janus_stage(tmp_path) as opened:
        yield opened


async def hears_more(robot: Listener, user_id: str, *, within_s: float = 20) -> None:
    """Wait until it hears what is sent now."""
    before = robot.packets(user_id)
    await eventually(lambda: robot.packets(user_id) >= before + 30, within_s)


async def test_a_robot_that_is_kicked_leaves(stage: JanusStage) -> None:
    robot = Listener()
    await stage.rooms.enter(ROOM, "robot", robot)
    await stage.janus_kick("cloudslice")
    async with asyncio.timeout(10):
        await robot.was_evicted.wait()
    assert robot.heard[-1] == ("evicted", LeaveCode.SERVER_REMOVED)


async def test_a_room_that_is_destroyed_is_left(stage: JanusStage) -> None:
    robot = Listener()
    await stage.publish("alice", speaker("alice"))
    await stage.rooms.enter(ROOM, "robot", robot)
    await hears_more(robot, "alice")
    await stage.server_side("destroy")
    async with asyncio.timeout(10):
        await robot.was_evicted.wait()
    assert robot.heard[-1] == ("evicted", LeaveCode.SERVER_DISMISSED)


async def test_users_are_put_out_and_the_room_is_ended_by_us(stage: JanusStage) -> None:
    robot = Listener()
    alice = await stage.publish("alice", speaker("alice"))
    await stage.publish("bob", speaker("bob"))
    await stage.rooms.enter(ROOM, "robot", robot)
    assert set(robot.anchors) == {"alice", "bob"}
    alice.vanish()
    await stage.rooms.remove_users(ROOM, ["alice", "nobody"])
    await eventually(lambda: ("left", "alice") in robot.heard)
    assert ("left", "bob") not in robot.heard
    await stage.rooms.dismiss(ROOM)
    async with asyncio.timeout(10):
        await robot.was_evicted.wait()
    assert robot.heard[-1] == ("evicted", LeaveCode.ROOM_DISMISSED)
    assert not await stage.rooms.exists(ROOM)


async def test_actions_by_the_other_type_act_on_people(stage: JanusStage) -> None:
    """A robot is in the room of its type: there it is known to RemoveUser and DismissRoom. The
    participant whom all robots share, cloudslice by default, is nobody's to remove."""
    robot, text_room = Listener(), replace(ROOM, room_id_type=RoomIdType.STRING)
    alice = await stage.publish("alice", speaker("alice"))
    await stage.publish("bob", speaker("bob"))
    await stage.rooms.enter(text_room, "robot", robot)
    alice.vanish()
    await stage.rooms.remove_users(ROOM, ["alice", "robot", "cloudslice"])
    await eventually(lambda: ("left", "alice") in robot.heard)
    assert not robot.was_evicted.is_set()
    await stage.rooms.dismiss(ROOM)
    async with asyncio.timeout(10):
        await robot.was_evicted.wait()
    assert robot.heard[-1] == ("evicted", LeaveCode.SERVER_DISMISSED)


async def test_the_rooms_secret_is_needed_and_never_told(tmp_path: Path) -> None:
    async with janus_stage(tmp_path, room_secret="NotTheSecret") as stage:
        with pytest.raises(RoomServerError, match=r"apps\.janus\.room_secret") as caught:
            await stage.rooms.dismiss(ROOM)
        assert "NotTheSecret" not in str(caught.value)


@pytest.mark.parametrize("reclaim_s", [30, 0], ids=["kept session", "session that ends at once"])
async def test_signalling_that_is_cut_is_made_again(tmp_path: Path, reclaim_s: int) -> None:
    """Janus keeps the session: no packet is lost. Or it does not: the room is entered again."""
    async with janus_stage(tmp_path, options={"reclaim_s": reclaim_s}) as stage:
        robot = Listener()
        alice = await stage.publish("alice", speaker("alice"))
        await stage.publish("bob", speaker("bob"))
        stay = await stage.rooms.enter(ROOM, "robot", robot)
        await hears_more(robot, "alice")
        stage.proxy.cut()
        await stage.group.stop(alice)
        await stage.publish("carl", speaker("carl"))
        if reclaim_s:
            await hears_more(robot, "bob")
        stage.proxy.mend()
        await eventually(lambda: robot.packets("carl") > 10)
        await hears_more(robot, "bob")
        stay.leave()
        assert set(robot.heard[:2]) == {("joined", "alice"), ("joined", "bob")}
        assert robot.heard[2:] == [("left", "alice"), ("joined", "carl")]
        (sink,) = robot.sinks["bob"]
        assert speakers(sink) == {"bob"}
        numbers = [int(payload.split(b":")[1]) for payload in sink.payloads]
        is_whole = all((b - a) % 500 == 1 for a, b in pairwise(numbers))
        assert is_whole is bool(reclaim_s)
        assert len(sink.restarts) == (0 if reclaim_s else 1)


async def test_signalling_that_stands_still_for_a_while_is_the_same(tmp_path: Path) -> None:
    async with janus_stage(tmp_path, options={"reclaim_s": 30}) as stage:
        robot = Listener()
        await stage.publish("alice", speaker("alice"))
        stay = await stage.rooms.enter(ROOM, "robot", robot)
        await hears_more(robot, "alice")
        stage.proxy.hold()
        bob = stage.publish("bob", speaker("bob"))
        await asyncio.gather(bob, asyncio.sleep(3))
        stage.proxy.mend()
        await eventually(lambda: robot.packets("bob") > 10)
        stay.leave()
        (sink,) = robot.sinks["alice"]
        numbers = [int(payload.split(b":")[1]) for payload in sink.payloads]
        assert all((b - a) % 500 == 1 for a, b in pairwise(numbers))
        assert robot.heard == [("joined", "alice"), ("joined", "bob")]


@pytest.mark.parametrize(
    ("how", "seconds"),
    [
        ("cut", 12),
        pytest.param("hold", 14, marks=pytest.mark.long),
        pytest.param("cut", 35, marks=pytest.mark.long),
    ],
)
async def test_signalling_that_is_away_for_long_costs_no_packet(
    tmp_path: Path, how: str, seconds: float
) -> None:
    """Where Janus keeps the session."""
    async with janus_stage(tmp_path, options={"reclaim_s": 60}) as stage:
        robot = Listener()
        await stage.publish("alice", speaker("alice"))
        stay = await stage.rooms.enter(ROOM, "robot", robot)
        await hears_more(robot, "alice")
        getattr(stage.proxy, how)()
        await asyncio.sleep(seconds)
        stage.proxy.mend()
        await stage.publish("bob", speaker("bob"))
        await eventually(lambda: robot.packets("bob") > 10)
        stay.leave()
        (sink,) = robot.sinks["alice"]
        numbers = [int(payload.split(b":")[1]) for payload in sink.payloads]
        assert all((b - a) % 500 == 1 for a, b in pairwise(numbers))


async def test_a_janus_that_is_killed_and_started_again_is_entered_again(tmp_path: Path) -> None:
    async with janus_stage(tmp_path) as stage:
        robot = Listener()
        await stage.publish("alice", speaker("alice"))
        stay = await stage.rooms.enter(ROOM, "robot", robot)
        await hears_more(robot, "alice")
        stage.server.stop()
        await asyncio.sleep(1)
        stage.server.start()
        await hears_more(robot, "alice", within_s=40)
        assert not robot.was_evicted.is_set()
        stay.leave()


async def test_a_janus_that_does_not_come_back_is_given_up(tmp_path: Path) -> None:
    """Media tells of it before signalling gives up: 15 s, and the grace."""
    async with janus_stage(tmp_path, grace_s=3) as stage:
        robot = Listener()
        await stage.publish("alice", speaker("alice"))
        await stage.rooms.enter(ROOM, "robot", robot)
        await hears_more(robot, "alice")
        stage.server.stop()
        async with asyncio.timeout(25):
            await robot.was_evicted.wait()
        assert robot.heard[-1] == ("evicted", LeaveCode.CONNECTION_LOST)


@pytest.mark.long
async def test_robots_leave_where_media_does_not_come_back(tmp_path: Path) -> None:
    """Though signalling is there all the time."""
    async with janus_stage(tmp_path, grace_s=5) as stage:
        robot = Listener()
        await stage.publish("alice", speaker("alice"))
        await stage.rooms.enter(ROOM, "robot", robot)
        await hears_more(robot, "alice")
        stage.port.is_cut = True
        async with asyncio.timeout(50):
            await robot.was_evicted.wait()
        assert robot.heard == [("joined", "alice"), ("evicted", LeaveCode.CONNECTION_LOST)]


async def test_a_room_that_is_gone_after_a_restart_is_waited_for(tmp_path: Path) -> None:
    """Whoever makes the rooms does so a moment later."""
    async with janus_stage(tmp_path, pin="") as stage:
        robot = Listener()
        room = await stage.make_room(777)
        await stage.rooms.enter(room, "robot", robot)
        stage.server.stop()
        stage.server.start()
        await stage.publish("bob", speaker("bob"), OPEN_ROOM)  # it is there again
        await asyncio.sleep(2)  # in which it is tried in vain
        await stage.make_room(777)
        await stage.publish("alice", speaker("alice"), 777)
        await eventually(lambda: robot.packets("alice") > 10)
        assert not robot.was_evicted.is_set()


@pytest.mark.parametrize("seconds", [0.5, 3, pytest.param(12, marks=pytest.mark.long)])
async def test_media_that_is_cut_for_a_while_leaves_a_gap_and_no_more(
    stage: JanusStage, seconds: float
) -> None:
    robot = Listener()
    await stage.publish("alice", speaker("alice"))
    stay = await stage.rooms.enter(ROOM, "robot", robot)
    await hears_more(robot, "alice")
    stage.port.is_cut = True
    await asyncio.sleep(seconds)
    stage.port.is_cut = False
    await hears_more(robot, "alice")
    stay.leave()
    (sink,) = robot.sinks["alice"]
    assert sink.restarts == []  # it is the same connection
    assert len(set(sink.timestamps)) == len(sink.timestamps)
    assert robot.heard == [("joined", "alice")]


@pytest.mark.long
@pytest.mark.parametrize(
    "with_signalling", [False, True], ids=["only media", "media and signalling"]
)
async def test_media_that_is_cut_for_long_is_made_anew(
    tmp_path: Path, with_signalling: bool
) -> None:
    """The anchors stay, and their slices go on with a gap."""
    async with janus_stage(tmp_path, grace_s=60) as stage:
        robot = Listener()
        await stage.publish("alice", speaker("alice"))
        stay = await stage.rooms.enter(ROOM, "robot", robot)
        await hears_more(robot, "alice")
        stage.port.is_cut = True
        if with_signalling:
            stage.proxy.cut()
        await asyncio.sleep(40)
        stage.port.is_cut = False
        stage.proxy.mend()
        await hears_more(robot, "alice", within_s=30)
        stay.leave()
        (sink,) = robot.sinks["alice"]
        assert len(set(sink.restarts)) == 1  # all before the first packet of the new connection
        assert len(set(sink.payloads)) >= 30
        assert robot.heard == [("joined", "alice")]
