"""What is said where a room of Janus cannot be entered: which server, what is wrong, what to do."""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudslice.clock import SystemClock
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import RoomEntryError
from cloudslice.rooms.janus.janus_channel import JanusAddress
from cloudslice.rooms.janus.janus_server import JanusServer
from cloudslice.rooms.janus.session import open_session
from cloudslice.rooms.remote.remote_rooms import RemoteRooms
from helpers.asgi_server import serving
from helpers.janus_server import ADMIN_KEY, API_SECRET, NUMBER_ROOM, PIN, running_janus
from helpers.janus_server import JanusServer as Server
from helpers.janus_stage import APP_ID, ROOM, Listener, settings
from helpers.media_port import media_port
from helpers.room_observer import make_bus

NO_ROOM = RoomKey(APP_ID, "404", RoomIdType.NUMBER)
TEXT = RoomKey(APP_ID, "not a number", RoomIdType.STRING)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_janus(tmp_path_factory.mktemp("janus")) as running:
        yield running


@pytest.fixture(scope="module")
def text_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_janus(tmp_path_factory.mktemp("janus"), string_ids=True) as running:
        yield running


@contextlib.asynccontextmanager
async def rooms_of(url: str, **more: Any) -> AsyncIterator[RemoteRooms]:
    clock = SystemClock()
    with media_port(clock, "127.0.0.1") as (port, tick):
        ours = JanusServer(
            settings(url, **more), port, tick, clock, consent_timeout_s=15, max_video_bitrate_kbps=1
        )
        async with RemoteRooms("janus", {APP_ID: ours}, 0.0, clock, make_bus()) as rooms:
            yield rooms


async def refusal(url: str, room: RoomKey = ROOM, **more: Any) -> str:
    """What a check says; to enter says the same."""
    async with rooms_of(url, **more) as rooms:
        with pytest.raises(RoomEntryError) as checked:
            await rooms.check(room, "robot")
        with pytest.raises(RoomEntryError) as entered:
            await rooms.enter(room, "robot", Listener())
        assert str(entered.value) == str(checked.value)
    return str(checked.value)


@pytest.mark.parametrize(
    ("room", "more", "said"),
    [
        (ROOM, {"api_secret": "Wrong1"}, "apps.janus.api_secret"),
        (ROOM, {"pin": "Wrong1"}, "the pin in apps.janus is wrong"),
        (ROOM, {"pin": ""}, "set apps.janus.pin"),
        (ROOM, {"string_ids": True}, "apps.janus.string_ids is wrong"),
        (NO_ROOM, {}, "has no room 404"),
        (TEXT, {}, "is no number"),
    ],
)
async def test_a_refusal_names_the_setting_and_no_secret(
    server: Server, room: RoomKey, more: dict[str, Any], said: str
) -> None:
    text = await refusal(server.url, room, **more)
    assert said in text
    if room is not TEXT:
        assert server.url in text
    for secret in ("Wrong1", API_SECRET, PIN):
        assert secret not in text


async def test_rooms_with_texts_for_ids_are_told(text_server: Server) -> None:
    assert "apps.janus.string_ids is wrong" in await refusal(text_server.url)


async def test_a_server_that_is_not_there_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{probe.getsockname()[1]}"
        assert f"{url} cannot be reached" in await refusal(url)


async def test_a_server_of_something_else_is_told() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with serving(app) as port:
        text = await refusal(f"ws://127.0.0.1:{port}")
    assert "does not answer as Janus's WebSocket does (it answered with HTTP status 404)" in text


async def test_a_server_without_the_plugin_is_told(tmp_path: Path) -> None:
    with running_janus(tmp_path, has_videoroom=False) as server:
        assert "has no VideoRoom plugin" in await refusal(server.url)


async def test_a_room_that_does_not_exist_is_made_where_that_is_wanted(server: Server) -> None:
    room = RoomKey(APP_ID, "405", RoomIdType.NUMBER)
    async with rooms_of(server.url, create_rooms=True, admin_key=ADMIN_KEY) as rooms:
        await rooms.check(room, "robot")
        assert not await rooms.exists(room)
        stay = await rooms.enter(room, "robot", Listener())
        assert await rooms.exists(room)
        stay.leave()
    assert "the pin in apps.janus is wrong" in await refusal(server.url, room, pin="Wrong1")


async def test_a_wrong_key_for_making_rooms_is_told(server: Server) -> None:
    room = RoomKey(APP_ID, "406", RoomIdType.NUMBER)
    async with rooms_of(server.url, create_rooms=True, admin_key="Wrong1") as rooms:
        with pytest.raises(RoomEntryError, match=r"apps\.janus\.admin_key") as caught:
            await rooms.enter(room, "robot", Listener())
        assert "Wrong1" not in str(caught.value)


async def test_a_room_that_is_encrypted_is_refused(server: Server) -> None:
    room = RoomKey(APP_ID, "407", RoomIdType.NUMBER)
    async with open_session(JanusAddress(server.url, API_SECRET)) as session:
        handle = await session.attach(lambda _message: None)
        body = {"request": "create", "room": 407, "require_e2ee": True, "admin_key": ADMIN_KEY}
        await session.message(handle, body)
    async with rooms_of(server.url, pin="") as rooms:
        with pytest.raises(RoomEntryError, match="encrypted from end to end"):
            await rooms.check(room, "robot")


async def test_a_person_has_the_robots_name(server: Server) -> None:
    async with open_session(JanusAddress(server.url, API_SECRET)) as session:
        handle = await session.attach(lambda _message: None)
        body = {"request": "join", "ptype": "publisher", "room": NUMBER_ROOM, "pin": PIN}
        await session.message(handle, body | {"display": "alice"})
        async with rooms_of(server.url, user_id="display") as rooms:
            await rooms.check(ROOM, "robot")
            with pytest.raises(RoomEntryError, match="UserId alice is in the room already"):
                await rooms.check(ROOM, "alice")


async def test_a_check_does_not_enter(server: Server) -> None:
    async with rooms_of(server.url) as rooms:
        await rooms.check(ROOM, "robot")
    assert "joining" not in server.log
