"""Rooms that are waited for: one question for all of them."""

import asyncio
import json

import pytest

from cloudslice.clock import SystemClock
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.livekit import awaited_rooms, room_api
from cloudslice.rooms.livekit.awaited_rooms import AwaitedRooms
from cloudslice.rooms.livekit.names import LivekitNames
from cloudslice.rooms.livekit.room_api import LivekitRoomApi
from cloudslice.rooms.remote.room_server import UnreachableError
from cloudslice.settings.room_settings import LivekitSettings
from helpers.scripted_http import ScriptedHttp, respond, scripted_http


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited_rooms, "_ASK_EVERY_S", 0.1)
    monkeypatch.setattr(awaited_rooms, "_MAX_AGE_S", 0.05)
    monkeypatch.setattr(room_api, "_ANSWER_S", 0.2)


def key(number: int) -> RoomKey:
    return RoomKey(1, str(number), RoomIdType.NUMBER)


def rooms_at(site: ScriptedHttp) -> AwaitedRooms:
    settings = LivekitSettings.model_validate(
        {"url": f"ws://127.0.0.1:{site.port}", "api_key": "key", "api_secret": "x" * 32}
    )
    clock = SystemClock()
    return AwaitedRooms(LivekitRoomApi(settings, clock), LivekitNames(settings), clock)


async def test_many_rooms_are_asked_for_at_once() -> None:
    there: set[str] = set()
    asked: list[set[str]] = []

    def answer(_path: str, _headers: dict[str, str], body: bytes) -> bytes:
        asked.append(set(json.loads(body)["names"]))
        rooms = [{"name": name} for name in there & asked[-1]]
        if len(asked) == 2:
            there.update(("1", "2"))
        return respond(200, json.dumps({"rooms": rooms}).encode())

    async with scripted_http() as site, asyncio.timeout(10):
        site.answer = answer
        rooms = rooms_at(site)
        await asyncio.gather(rooms.wait_for(key(1)), rooms.wait_for(key(2)))
        third = asyncio.create_task(rooms.wait_for(key(3)))
        seen = len(asked)
        while len(asked) == seen:  # noqa: ASYNC110 - the server is asked after a pause
            await asyncio.sleep(0.01)
        third.cancel()
    assert asked[:3] == [{"1", "2"}] * 3
    assert asked[-1] == {"3"}


async def test_who_waits_hears_that_the_server_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of them, of one question."""
    monkeypatch.setattr(awaited_rooms, "_MAX_AGE_S", 5)
    async with scripted_http() as site, asyncio.timeout(10):
        site.is_silent = True
        rooms = rooms_at(site)
        waiting = [rooms.wait_for(key(number)) for number in range(1, 20)]
        raised = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(each) for each in raised} == {UnreachableError}
        assert len(site.requests) == 1
