"""What a robot is told that cannot enter a LiveKit room, and how long that takes."""

import asyncio
import socket

import pytest
from aiohttp import web

from cloudslice.rooms.base import RoomEntryError
from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import API_KEY, LivekitProcess
from helpers.livekit_stage import LivekitStage, livekit_stage
from helpers.tcp_proxy import tcp_proxy
from helpers.waiting import eventually


async def test_a_wrong_secret(livekit: LivekitProcess, room_id: str) -> None:
    await assert_refused(livekit, room_id, "api_secret is not its secret", api_secret="x" * 32)


async def test_a_wrong_key(livekit: LivekitProcess, room_id: str) -> None:
    await assert_refused(livekit, room_id, "does not know this api_key", api_key=API_KEY[::-1])


async def test_a_person_has_the_robots_name(livekit: LivekitProcess, room_id: str) -> None:
    """Whether or not a robot is in the room."""
    async with livekit_stage(livekit, room_id, enters=False) as stage:
        async with livekit_anchor(
            livekit.url, livekit.token(room_id, "alice"), "alice", AnchorSpec(video=None)
        ):
            await stage.rooms.check(stage.key, "robot")
            with pytest.raises(RoomEntryError, match="UserId alice is in the room already"):
                await stage.rooms.check(stage.key, "alice")
            await stage.enter()
            await eventually(lambda: "alice" in stage.room.anchors)
            assert stage.rooms.holds_user(stage.key, "alice")
        await stage.rooms.check(stage.key, "alice")


async def test_nobody_listens(livekit: LivekitProcess, room_id: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}"
        await assert_refused(livekit, room_id, "cannot be reached", url=url)


async def test_no_livekit_server(livekit: LivekitProcess, room_id: str) -> None:
    """Or one that is older: it has no such place."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [address] = runner.addresses
    try:
        await assert_refused(
            livekit, room_id, "older than 1.9.2", url=f"ws://127.0.0.1:{address[1]}"
        )
    finally:
        await runner.cleanup()


async def test_a_server_that_says_nothing(livekit: LivekitProcess, room_id: str) -> None:
    async with tcp_proxy(livekit.port) as proxy:
        proxy.freeze()
        url = f"ws://127.0.0.1:{proxy.port}"
        await assert_refused(livekit, room_id, "gave no answer in 8 s", url=url)


async def test_a_robot_may_leave_on_its_way_in(stage: LivekitStage) -> None:
    """Nothing of it stays."""
    key = stage.key
    assert stage.attendance is not None
    stage.attendance.leave()
    entering = asyncio.create_task(stage.rooms.enter(key, "robot_2", stage.robot))
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert stage.rooms.find(key) is None


async def assert_refused(
    livekit: LivekitProcess, room_id: str, reason: str, **settings: str
) -> None:
    async with livekit_stage(livekit, room_id, grace_s=1, enters=False, **settings) as stage:
        with pytest.raises(RoomEntryError, match=reason):
            await stage.enter()
        assert stage.rooms.find(stage.key) is None
