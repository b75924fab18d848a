"""Robots share a visit to a room of another server, which is made again when it is lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cloudslice.clock import SystemClock
from cloudslice.events import ExitReason
from cloudslice.ids import RoomIdType, RoomKey, TrackKind
from cloudslice.rooms.base import LeaveCode, RoomEntryError
from cloudslice.rooms.management import RoomNotFoundError, RoomServerError
from cloudslice.rooms.remote import remote_room
from cloudslice.rooms.remote.remote_rooms import RemoteRooms
from cloudslice.rooms.remote.room_server import Tracks, UnreachableError
from helpers.room_observer import RecordingObserver, make_bus
from helpers.scripted_rooms import HearingRobot, ScriptedServer
from helpers.tracks import ManualAudio, ManualVideo

ROOM = RoomKey(1, "150", RoomIdType.NUMBER)


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
async def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
async def rooms(
    server: ScriptedServer, observer: RecordingObserver, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RemoteRooms]:
    monkeypatch.setattr(remote_room, "_FIRST_PAUSE_S", 0.0)
    async with RemoteRooms("livekit", {1: server}, 30.0, SystemClock(), observer.bus) as rooms:
        yield rooms


async def test_robots_of_a_room_share_one_visit(rooms: RemoteRooms, server: ScriptedServer) -> None:
    first, second = HearingRobot(), HearingRobot()
    await rooms.enter(ROOM, "robot_1", first)
    (await server.visits.get()).view.show({"anchor": Tracks(audio=ManualAudio())})
    await rooms.enter(ROOM, "robot_2", second)

    assert first.heard == second.heard == [("joined", "anchor")]
    assert server.visits.empty()
    assert rooms.states["connected"] == 1


async def test_the_visit_ends_with_the_last_robot(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    stays = [await rooms.enter(ROOM, f"robot_{n}", HearingRobot()) for n in range(2)]
    stays[0].leave()
    assert rooms.find(ROOM) is not None
    stays[1].leave()

    await server.left.get()
    assert rooms.find(ROOM) is None


async def test_what_is_shown_is_what_robots_hear(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    robot, audio = HearingRobot(), ManualAudio()
    await rooms.enter(ROOM, "robot", robot)
    view = (await server.visits.get()).view
    view.show({"a": Tracks(audio=audio), "silent": Tracks()})
    view.show({"a": Tracks(audio=audio)})
    view.show({"a": Tracks(audio=audio, video=ManualVideo())})
    view.show({"b": Tracks(audio=ManualAudio())})

    assert robot.heard == [("joined", "a"), ("changed", "a"), ("left", "a"), ("joined", "b")]
    assert rooms.holds_user(ROOM, "b")
    assert not rooms.holds_user(ROOM, "a")


async def test_anchors_and_their_media_are_told_on_the_bus(
    rooms: RemoteRooms, server: ScriptedServer, observer: RecordingObserver
) -> None:
    await rooms.enter(ROOM, "robot", HearingRobot())
    view, audio = (await server.visits.get()).view, ManualAudio()
    view.show({"a": Tracks(audio=audio)})
    view.show({"a": Tracks(audio=audio, aux=ManualVideo())})
    view.show({"a": Tracks(aux=ManualVideo())})
    view.show({})

    assert observer.heard == [
        ("entered", "150", "a"),
        ("started", "150", "a", TrackKind.AUDIO),
        ("started", "150", "a", TrackKind.AUX),
        ("stopped", "150", "a", TrackKind.AUDIO),
        ("left", "150", "a", ExitReason.NORMAL),
    ]


async def test_a_lost_connection_is_made_again_and_the_anchors_stay(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    robot, tracks = HearingRobot(), Tracks(audio=ManualAudio())
    await rooms.enter(ROOM, "robot", robot)
    lost = await server.visits.get()
    lost.view.show({"stays": tracks, "goes": Tracks(audio=ManualAudio())})
    server.failures += [UnreachableError("no answer"), RuntimeError("a bug")]
    lost.end.set_result(None)
    again = await server.visits.get()
    again.view.show({"stays": tracks})

    assert robot.heard == [("joined", "stays"), ("joined", "goes"), ("left", "goes")]
    assert lost.catches_up > 0
    assert rooms.faults.errors == 1
    assert rooms.media_counts() == {"lost": 2}


async def test_after_the_grace_robots_leave_with_the_code_of_a_lost_connection(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_room, "_FIRST_PAUSE_S", 0.01)
    async with RemoteRooms("livekit", {1: server}, 0.05, SystemClock(), make_bus()) as rooms:
        robot = HearingRobot()
        await rooms.enter(ROOM, "robot", robot)
        server.failures += [UnreachableError("no answer")] * 1000
        (await server.visits.get()).end.set_result(None)
        await robot.was_evicted.wait()

    assert robot.heard == [("evicted", LeaveCode.CONNECTION_LOST)]


@pytest.mark.parametrize("code", [LeaveCode.SERVER_REMOVED, LeaveCode.SERVER_DISMISSED])
async def test_a_visit_that_the_server_ends_is_the_end(
    rooms: RemoteRooms, server: ScriptedServer, code: LeaveCode
) -> None:
    robot = HearingRobot()
    await rooms.enter(ROOM, "robot", robot)
    (await server.visits.get()).end.set_result(code)
    await robot.was_evicted.wait()
    await server.left.get()

    assert robot.heard == [("evicted", code)]
    assert server.visits.empty()


async def test_a_room_that_refuses_is_not_tried_again(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    server.failures.append(RoomEntryError("the pin is wrong"))
    with pytest.raises(RoomEntryError, match="the pin is wrong"):
        await rooms.enter(ROOM, "robot", HearingRobot())
    assert rooms.find(ROOM) is None


async def test_a_server_that_is_away_at_first_is_waited_for(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    server.failures += [UnreachableError("connection refused")] * 2
    await rooms.enter(ROOM, "robot", HearingRobot())
    assert server.failures == []


async def test_a_room_that_ends_as_it_is_entered_has_no_robot(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    """Nobody would tell it anything."""
    server.ends_at_once = LeaveCode.SERVER_DISMISSED
    with pytest.raises(RoomEntryError, match="the room has ended"):
        await rooms.enter(ROOM, "robot", HearingRobot())
    assert rooms.find(ROOM) is None


@pytest.mark.parametrize("is_first", [True, False])
async def test_an_entry_without_an_end_is_given_up_after_the_grace(
    server: ScriptedServer,
    observer: RecordingObserver,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_first: bool,
) -> None:
    monkeypatch.setattr(remote_room, "_SHORTEST_TRY_S", 0.0)
    robot = HearingRobot()
    async with RemoteRooms("livekit", {1: server}, 0.05, SystemClock(), observer.bus) as rooms:
        server.hangs = is_first
        if is_first:
            with pytest.raises(RoomEntryError, match="the server gave no answer"):
                await rooms.enter(ROOM, "robot", robot)
        else:
            await rooms.enter(ROOM, "robot", robot)
            server.hangs = True
            (await server.visits.get()).end.set_result(None)
            await robot.was_evicted.wait()
            assert robot.heard == [("evicted", LeaveCode.CONNECTION_LOST)]


async def test_an_entry_that_is_cancelled_leaves_nothing(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    server.failures += [UnreachableError("connection refused")] * 100_000
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(rooms.enter(ROOM, "robot", HearingRobot()), 0.01)
    assert rooms.find(ROOM) is None


async def test_a_newer_robot_of_the_same_id_replaces_the_older_one(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    older, newer = HearingRobot(), HearingRobot()
    stay = await rooms.enter(ROOM, "robot", older)
    await rooms.enter(ROOM, "robot", newer)
    stay.leave()

    assert older.heard == [("evicted", LeaveCode.REPLACED)]
    (await server.visits.get()).view.show({"anchor": Tracks(audio=ManualAudio())})
    assert newer.heard == [("joined", "anchor")]


async def test_users_are_removed_on_the_server_and_robots_here(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    robot = HearingRobot()
    await rooms.enter(ROOM, "robot", robot)
    await rooms.remove_users(ROOM, ["robot", "anchor"])

    assert robot.heard == [("evicted", LeaveCode.REMOVED)]
    assert server.removed == ["anchor"]
    await server.left.get()


async def test_a_room_is_dismissed_on_the_server_too(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    robot = HearingRobot()
    await rooms.enter(ROOM, "robot", robot)
    await rooms.dismiss(ROOM)

    assert robot.heard == [("evicted", LeaveCode.ROOM_DISMISSED)]
    assert server.dismissed == [ROOM]


async def test_a_robot_on_its_way_is_removed_too(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    robot = HearingRobot()
    server.rooms.add(ROOM)
    server.failures += [UnreachableError("not yet")] * 20
    entry = asyncio.create_task(rooms.enter(ROOM, "robot", robot))
    await asyncio.sleep(0)
    await rooms.remove_users(ROOM, ["robot"])
    assert robot.heard == [("evicted", LeaveCode.REMOVED)]
    (await entry).leave()
    assert server.removed == []
    assert rooms.find(ROOM) is None


async def test_a_person_with_a_robots_name_is_removed_with_it(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    robot = HearingRobot()
    await rooms.enter(ROOM, "same", robot)
    (await server.visits.get()).view.show({"same": Tracks(audio=ManualAudio())})
    await rooms.remove_users(ROOM, ["same"])

    assert robot.heard[-1] == ("evicted", LeaveCode.REMOVED)
    assert server.removed == ["same"]


async def test_a_room_that_is_not_dismissed_keeps_its_robots(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    robot = HearingRobot()
    await rooms.enter(ROOM, "robot", robot)
    server.dismiss_failure = RoomEntryError("the room secret is wrong")
    with pytest.raises(RoomServerError, match="the room secret is wrong"):
        await rooms.dismiss(ROOM)

    assert robot.heard == []
    assert rooms.find(ROOM) is not None


async def test_a_room_that_ends_while_it_is_dismissed_was_dismissed_by_us(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    robot = HearingRobot()
    await rooms.enter(ROOM, "robot", robot)
    visit = await server.visits.get()

    async def end() -> None:
        visit.end.set_result(LeaveCode.SERVER_DISMISSED)
        await robot.was_evicted.wait()

    server.on_dismiss = end
    await rooms.dismiss(ROOM)
    assert robot.heard == [("evicted", LeaveCode.ROOM_DISMISSED)]


async def test_a_room_whose_connection_is_lost_is_checked_again(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    await rooms.enter(ROOM, "robot", HearingRobot())
    await rooms.check(ROOM, "robot")
    server.failures += [UnreachableError("connection refused")] * 100_000
    (await server.visits.get()).end.set_result(None)
    await server.left.get()
    server.check_failure = UnreachableError("connection refused")
    with pytest.raises(RoomEntryError, match="connection refused"):
        await rooms.check(ROOM, "robot")


async def test_a_room_that_the_server_does_not_have_is_not_found(rooms: RemoteRooms) -> None:
    with pytest.raises(RoomNotFoundError):
        await rooms.dismiss(ROOM)


@pytest.mark.parametrize("error", [UnreachableError("it is down"), RoomEntryError("wrong key")])
async def test_actions_on_rooms_say_why_they_fail(
    rooms: RemoteRooms, server: ScriptedServer, error: Exception
) -> None:
    server.lookup_failure = error
    with pytest.raises(RoomServerError, match=str(error)):
        await rooms.remove_users(ROOM, ["alice"])


async def test_check_says_why_a_room_cannot_be_entered(
    rooms: RemoteRooms, server: ScriptedServer
) -> None:
    server.check_failure = UnreachableError("ws://livekit: connection refused")
    with pytest.raises(RoomEntryError, match="ws://livekit: connection refused"):
        await rooms.check(ROOM, "robot")
