"""Several rooms of one server at a time, through one UDP port of ours and one of the server's."""

import asyncio
import time
from contextlib import AsyncExitStack

from cloudslice.ids import RoomIdType, RoomKey
from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import LivekitProcess
from helpers.livekit_stage import APP_ID, livekit_stage
from helpers.rtp import RecordingSink
from helpers.scripted_rooms import HearingRobot
from helpers.waiting import eventually

_ROOMS = 3
_HEARD_S = 8
_SPEC = AnchorSpec()


async def test_each_is_entered_at_once_and_heard_without_a_gap(
    livekit: LivekitProcess, room_id: str
) -> None:
    """Each connection's checks reach its own room's connection over there."""
    keys = [RoomKey(APP_ID, f"{room_id}-{n}", RoomIdType.STRING) for n in range(_ROOMS)]
    async with (
        livekit_stage(livekit, room_id, enters=False) as stage,
        AsyncExitStack() as stack,
    ):
        for key in keys:
            token = livekit.token(key.room_id, "ann")
            await stack.enter_async_context(livekit_anchor(livekit.url, token, "ann", _SPEC))
        took, sinks = [], []
        for key in keys:
            began = time.monotonic()
            await stage.rooms.enter(key, "robot", HearingRobot())
            took.append(time.monotonic() - began)
            room = stage.rooms.find(key)
            assert room is not None
            await eventually(lambda room=room: room.anchors and room.anchors["ann"].audio)
            sinks.append(RecordingSink())
            room.anchors["ann"].audio.add_sink(sinks[-1])
        await eventually(lambda: all(sink.packets for sink in sinks))
        before = [len(sink.packets) for sink in sinks]
        await asyncio.sleep(_HEARD_S)
        heard = [len(sink.packets) - count for sink, count in zip(sinks, before, strict=True)]
        assert max(took) < 3
        assert min(heard) > 45 * _HEARD_S
