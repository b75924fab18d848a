"""A LiveKit room that ends because nobody is in it, while a robot is."""

import asyncio
from pathlib import Path

from livekit.api import ListRoomsRequest
from structlog.testing import capture_logs

from cloudslice.rooms.remote.remote_room import RoomState
from helpers.livekit_anchor import AnchorSpec
from helpers.livekit_process import LivekitProcess
from helpers.livekit_stage import APP_ID, LivekitStage, livekit_stage
from helpers.waiting import eventually

_AUDIO = AnchorSpec(video=None)
_SHORT = "room:\n  empty_timeout: 5\n  departure_timeout: 1"


async def is_there(stage: LivekitStage) -> bool:
    """By the server's own API."""
    async with stage.process.api() as api:
        asked = ListRoomsRequest(names=[stage.key.room_id])
        return bool((await api.room.list_rooms(asked)).rooms)


async def test_a_room_that_has_ended_is_not_made_again_by_us(tmp_path: Path, room_id: str) -> None:
    """The robot stays; it hears who comes when others have made the room again."""
    with LivekitProcess(tmp_path, more=_SHORT) as livekit:
        async with livekit_stage(livekit, room_id) as stage:
            await stage.join("alice", _AUDIO)
            await stage.hear("alice", 20)
            await stage.leave("alice")
            async with asyncio.timeout(15):
                while await is_there(stage):
                    pass
            for _ in range(20):
                await asyncio.sleep(0.2)  # that nothing happens is what is waited for
                assert not await is_there(stage)
            assert stage.room.anchors == {}
            assert "audio_lost" in stage.room.media_counts
            await stage.join("alice", _AUDIO)
            assert len((await stage.hear("alice", 20)).packets) >= 20
            assert [what for what, _ in stage.robot.heard] == ["joined", "left", "joined"]


async def test_a_restart_that_is_over_before_media_is_lost_makes_no_room_again(
    tmp_path: Path, room_id: str
) -> None:
    """Signalling is lost at once, and would be resumed in a room that is not there any more."""
    with LivekitProcess(tmp_path) as livekit:
        async with livekit_stage(livekit, room_id, consent_timeout_s=30) as stage:
            await stage.join("alice", _AUDIO)
            livekit.kill()
            restart = asyncio.create_task(asyncio.to_thread(livekit.start))
            await stage.leave("alice")
            await restart
            await eventually(lambda: ("left", "alice") in stage.robot.heard, within_s=20)
            assert not await is_there(stage)
            await stage.join("bob", _AUDIO)
            assert len((await stage.hear("bob", 20)).packets) >= 20
            assert not stage.robot.was_evicted.is_set()


async def test_a_room_that_a_restart_has_ended_is_not_made_again_by_us(
    tmp_path: Path, room_id: str
) -> None:
    """And each line of the log says which room it is about."""
    with LivekitProcess(tmp_path, more=_SHORT) as livekit, capture_logs() as logs:
        async with livekit_stage(livekit, room_id, consent_timeout_s=2) as stage:
            await stage.join("alice", _AUDIO)
            livekit.kill()
            await stage.leave("alice")
            await eventually(lambda: stage.room.state is RoomState.LOST)
            await asyncio.to_thread(livekit.start)
            await eventually(lambda: ("left", "alice") in stage.robot.heard)
            assert not await is_there(stage)
            await stage.join("bob", _AUDIO)
            assert len((await stage.hear("bob", 20)).packets) >= 20
            assert not stage.robot.was_evicted.is_set()
    assert {"signalling is lost", "media of a LiveKit room has ended"} <= {
        each["event"] for each in logs
    }
    assert {(each.get("sdk_app_id"), each.get("room_id")) for each in logs} == {(APP_ID, room_id)}
