"""What becomes of a robot when a LiveKit room, its server or the way to it is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from livekit.api import DeleteRoomRequest, ListParticipantsRequest, RoomParticipantIdentity

from cloudslice.rooms.base import LeaveCode
from cloudslice.rooms.remote.remote_room import RoomState
from helpers.livekit_anchor import AnchorSpec
from helpers.livekit_process import LivekitProcess
from helpers.livekit_stage import LivekitStage, livekit_stage
from helpers.rtp import RecordingSink
from helpers.tcp_proxy import TcpProxy, tcp_proxy
from helpers.waiting import eventually

_AUDIO = AnchorSpec(video=None)


@asynccontextmanager
async def behind_a_proxy(
    livekit: LivekitProcess, room_id: str, **options: float
) -> AsyncIterator[tuple[LivekitStage, TcpProxy]]:
    """A stage whose signalling can be cut; anchors' is not."""
    async with tcp_proxy(livekit.port) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}"
        async with livekit_stage(livekit, room_id, url=url, **options) as stage:
            yield stage, proxy


def assert_whole(stage: LivekitStage, sink: RecordingSink) -> None:
    """No packet is missing, and none came twice. A publisher on a busy machine may leave out some
    audio by itself: timestamps alone do not tell."""
    assert stage.room.media_counts["audio_lost"] == 0
    assert sink.timestamps == sorted(set(sink.timestamps))
    assert sink.restarts == []


async def test_who_is_removed_by_the_server_is_told_so(stage: LivekitStage) -> None:
    async with stage.process.api() as api:
        room = stage.key.room_id
        await stage.join("alice", _AUDIO)
        members = await api.room.list_participants(ListParticipantsRequest(room=room))
        [ours] = [m.identity for m in members.participants if m.identity.startswith("cloudslice-")]
        await api.room.remove_participant(RoomParticipantIdentity(room=room, identity=ours))
        async with asyncio.timeout(5):
            await stage.robot.was_evicted.wait()
    assert stage.robot.heard[-1] == ("evicted", LeaveCode.SERVER_REMOVED)


async def test_a_room_that_is_deleted_is_dismissed(stage: LivekitStage) -> None:
    await stage.join("alice", _AUDIO)
    async with stage.process.api() as api:
        await api.room.delete_room(DeleteRoomRequest(room=stage.key.room_id))
    async with asyncio.timeout(5):
        await stage.robot.was_evicted.wait()
    assert stage.robot.heard[-1] == ("evicted", LeaveCode.SERVER_DISMISSED)


@pytest.mark.parametrize("seconds", [0.2, 3])
async def test_media_goes_on_while_signalling_is_cut(
    livekit: LivekitProcess, room_id: str, seconds: float
) -> None:
    """It is resumed; who comes afterwards is known."""
    async with behind_a_proxy(livekit, room_id) as (stage, proxy):
        await stage.join("alice", _AUDIO)
        sink = RecordingSink()
        stage.audio("alice").add_sink(sink)
        await eventually(lambda: len(sink.packets) > 50)
        proxy.cut()
        await asyncio.sleep(seconds)
        before = len(sink.packets)
        proxy.restore()
        await stage.join("bob", _AUDIO)
        assert len((await stage.hear("bob", 20)).packets) >= 20
        await eventually(lambda: len(sink.packets) > before + 100)
        assert_whole(stage, sink)
        assert [what for what, _ in stage.robot.heard] == ["joined", "joined"]
        assert stage.room.state is RoomState.CONNECTED


async def test_who_leaves_while_signalling_is_cut_has_left(
    livekit: LivekitProcess, room_id: str
) -> None:
    """The server tells it to nobody who comes back: it tells who is there."""
    async with behind_a_proxy(livekit, room_id) as (stage, proxy):
        await stage.join("alice", _AUDIO)
        await stage.join("bob", _AUDIO)
        sink = RecordingSink()
        stage.audio("bob").add_sink(sink)
        await eventually(lambda: len(sink.packets) > 50)
        proxy.cut()
        await stage.leave("alice")
        proxy.restore()
        await eventually(lambda: ("left", "alice") in stage.robot.heard)
        before = len(sink.packets)
        await eventually(lambda: len(sink.packets) > before + 50)
        assert_whole(stage, sink)
        assert [what for what, _ in stage.robot.heard] == ["joined", "joined", "left"]


async def test_signalling_that_is_silent_is_noticed(livekit: LivekitProcess, room_id: str) -> None:
    """The server's time-out of pings is 15 s; media goes on meanwhile, and after."""
    async with behind_a_proxy(livekit, room_id) as (stage, proxy):
        await stage.join("alice", _AUDIO)
        sink = RecordingSink()
        stage.audio("alice").add_sink(sink)
        await eventually(lambda: len(sink.packets) > 50)
        before = proxy.connections
        proxy.freeze()
        await eventually(lambda: proxy.connections > before, within_s=30)
        proxy.restore()
        await stage.join("bob", _AUDIO)
        assert len((await stage.hear("bob", 20)).packets) >= 20
        assert_whole(stage, sink)
        assert stage.room.state is RoomState.CONNECTED


@pytest.mark.parametrize("seconds", [0.5, 3, pytest.param(12, marks=pytest.mark.long)])
async def test_a_blip_of_the_network_is_a_gap(
    livekit: LivekitProcess, room_id: str, seconds: float
) -> None:
    """Of media alone: the track stays, and nothing comes twice."""
    async with livekit_stage(livekit, room_id) as stage:
        await stage.join("alice", _AUDIO)
        sink, track = RecordingSink(), stage.audio("alice")
        track.add_sink(sink)
        await eventually(lambda: len(sink.packets) > 50)
        stage.port.is_cut = True
        await asyncio.sleep(seconds)
        stage.port.is_cut = False
        before = len(sink.packets)
        await eventually(lambda: len(sink.packets) > before + 100, within_s=40)
        assert sink.timestamps == sorted(set(sink.timestamps))
        assert stage.audio("alice") is track
        assert [what for what, _ in stage.robot.heard] == ["joined"]


async def test_lost_media_is_had_again_by_another_visit(
    livekit: LivekitProcess, room_id: str
) -> None:
    """The same anchor with the same track: a gap, not an end."""
    async with livekit_stage(livekit, room_id, consent_timeout_s=3) as stage:
        await stage.join("alice", AnchorSpec())
        stage.robot.heard.clear()
        sink, track, video = RecordingSink(), stage.audio("alice"), stage.video("alice")
        track.add_sink(sink)
        await eventually(lambda: len(sink.packets) > 50)
        stage.port.is_cut = True
        await eventually(lambda: stage.room.state is RoomState.LOST, within_s=20)
        stage.port.is_cut = False
        before = len(sink.packets)
        await eventually(lambda: len(sink.packets) > before + 100, within_s=30)
        assert stage.audio("alice") is track
        assert stage.video("alice") is video
        await stage.keyframe(video)
        assert stage.robot.heard == []


async def test_a_server_that_is_killed_is_entered_again(tmp_path: Path, room_id: str) -> None:
    """Its anchors come back as others would; the robot has never left."""
    with LivekitProcess(tmp_path) as livekit:
        async with livekit_stage(livekit, room_id) as stage:
            await stage.join("alice", _AUDIO)
            await stage.hear("alice", 20)
            livekit.kill()
            await stage.leave("alice")
            await eventually(lambda: stage.room.state is RoomState.LOST, within_s=30)
            await asyncio.to_thread(livekit.start)
            await eventually(lambda: stage.room.state is RoomState.CONNECTED, within_s=20)
            await stage.join("alice", _AUDIO)
            assert len((await stage.hear("alice", 20)).packets) >= 20
            assert not stage.robot.was_evicted.is_set()


async def test_a_server_that_stays_away_ends_the_stay(tmp_path: Path, room_id: str) -> None:
    with LivekitProcess(tmp_path) as livekit:
        async with livekit_stage(livekit, room_id, grace_s=2, consent_timeout_s=2) as stage:
            await stage.join("alice", _AUDIO)
            livekit.kill()
            async with asyncio.timeout(20):
                await stage.robot.was_evicted.wait()
            assert stage.robot.heard[-1] == ("evicted", LeaveCode.CONNECTION_LOST)


@pytest.mark.parametrize("seconds", [3, pytest.param(20, marks=pytest.mark.long)])
async def test_this_machine_is_offline_for_a_while(
    livekit: LivekitProcess, room_id: str, seconds: float
) -> None:
    """Signalling and media: the anchor stays with its tracks, and nothing comes twice."""
    async with behind_a_proxy(livekit, room_id) as (stage, proxy):
        await stage.join("alice", AnchorSpec())
        stage.robot.heard.clear()
        sink, track, video = RecordingSink(), stage.audio("alice"), stage.video("alice")
        track.add_sink(sink)
        await eventually(lambda: len(sink.packets) > 50)
        stage.port.is_cut = True
        proxy.cut()
        await asyncio.sleep(seconds)
        stage.port.is_cut = False
        proxy.restore()
        before = len(sink.packets)
        await eventually(lambda: len(sink.packets) > before + 100, within_s=40)
        await stage.keyframe(video, within_s=5)
        assert sink.timestamps == sorted(set(sink.timestamps)) or sink.restarts
        assert stage.audio("alice") is track
        assert stage.robot.heard == []
