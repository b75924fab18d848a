"""Which rooms a real Janus has, and in which of them somebody publishes."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import RoomEntryError
from cloudslice.rooms.remote.room_server import UnreachableError
from helpers.janus_server import BIG_ROOM, NUMBER_ROOM, OPEN_ROOM, TEXT_ROOM
from helpers.janus_stage import APP_ID, ROOM, JanusStage, janus_stage
from helpers.numbered_media import speaker
from helpers.scripted_rooms import HearingRobot

NUMBER, STRING = RoomIdType.NUMBER, RoomIdType.STRING


def room(room_id: object, room_id_type: RoomIdType = STRING) -> RoomKey:
    return RoomKey(APP_ID, str(room_id), room_id_type)


async def test_a_room_is_active_while_somebody_publishes(tmp_path: Path) -> None:
    """Our own participant does not count. A number that is no RoomId of ours is a text."""
    async with janus_stage(tmp_path) as stage:
        await stage.rooms.enter(ROOM, "robot", HearingRobot())
        assert await stage.rooms.list_rooms(APP_ID, {NUMBER}) == {
            room(NUMBER_ROOM, NUMBER): False,
            room(OPEN_ROOM, NUMBER): False,
        }
        publisher = await stage.publish("alice", speaker("alice"))
        assert await stage.rooms.list_rooms(APP_ID, {STRING}) == {
            room(NUMBER_ROOM): True,
            room(OPEN_ROOM): False,
            room(BIG_ROOM): False,
        }
        await stage.group.stop(publisher)
        assert not any((await stage.rooms.list_rooms(APP_ID, {STRING})).values())


async def test_rooms_may_have_texts_for_ids(tmp_path: Path) -> None:
    async with janus_stage(tmp_path, string_ids=True) as stage:
        assert set(await stage.rooms.list_rooms(APP_ID, {STRING, NUMBER})) == {
            room(TEXT_ROOM),
            room("150"),
            room("150", NUMBER),
        }


async def test_no_list_says_why(tmp_path: Path) -> None:
    async with janus_stage(tmp_path, api_secret=SecretStr("wrong")) as stage:
        with pytest.raises(RoomEntryError, match=r"apps\.janus\.api_secret"):
            await list_of(stage)
        stage.server.stop()
        with pytest.raises(UnreachableError):
            await list_of(stage)


async def list_of(stage: JanusStage) -> object:
    return await stage.rooms.list_rooms(APP_ID, {STRING})
