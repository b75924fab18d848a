"""A hall with many more members than are sliced: nothing is sent to us of the others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from cloudslice.rooms.base import Anchor
from cloudslice.rooms.janus.janus_channel import JanusAddress
from cloudslice.rooms.janus.session import open_session
from helpers.janus_server import API_SECRET, NUMBER_ROOM, PIN
from helpers.janus_stage import ROOM, JanusStage, Listener, janus_stage, speakers
from helpers.numbered_media import speaker
from helpers.waiting import eventually

GUESTS = 175
SPEAKERS = tuple(f"speaker{number}" for number in range(25))
SLICED = SPEAKERS[:10]


class Choosy(Listener):
    """Listens to some."""

    def _listen(self, anchor: Anchor) -> None:
        if anchor.user_id in SLICED:
            super()._listen(anchor)


@contextlib.asynccontextmanager
async def guests(stage: JanusStage) -> AsyncIterator[None]:
    """Members that publish nothing."""
    async with open_session(JanusAddress(stage.server.url, API_SECRET)) as session:
        for number in range(GUESTS):
            handle = await session.attach(lambda _message: None)
            body = {"request": "join", "ptype": "publisher", "room": NUMBER_ROOM, "pin": PIN}
            await session.message(handle, body | {"display": f"guest{number}"})
        yield


async def test_two_hundred_members_of_whom_a_few_are_heard(tmp_path: Path) -> None:
    async with janus_stage(tmp_path) as stage, guests(stage):
        robot = Choosy()
        await asyncio.gather(*(stage.publish(name, speaker(name)) for name in SPEAKERS))
        stay = await stage.rooms.enter(ROOM, "robot", robot)
        assert set(robot.anchors) == set(SPEAKERS)
        await eventually(lambda: all(robot.packets(name) >= 50 for name in SLICED))
        before, heard = stage.port.datagrams, sum(map(robot.packets, SLICED))
        await asyncio.sleep(2)
        stay.catch_up()
        came = stage.port.datagrams - before
        assert came < 1.3 * (sum(map(robot.packets, SLICED)) - heard)  # RTCP is the rest
        stay.leave()
    assert set(robot.sinks) == set(SLICED)
    for name in SLICED:
        assert [speakers(sink) for sink in robot.sinks[name]] == [{name}]
