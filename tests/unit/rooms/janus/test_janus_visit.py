"""What a visit makes of what Janus tells it, in Janus's order."""

import asyncio
from collections.abc import Mapping
from typing import Any

from structlog.testing import capture_logs

from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.rooms.janus.janus_channel import Message
from cloudslice.rooms.janus.janus_visit import JanusVisit, VisitOptions
from cloudslice.rooms.janus.session import Answer, Listener
from cloudslice.rooms.remote.room_server import Tracks
from helpers.meeting import MemoryPort
from helpers.slice_store import ManualClock

ROOM = RoomKey(1, "150", RoomIdType.NUMBER)


class ToldSession:
    """A JanusSession that tells more right after its answer to a join, before we go on."""

    is_connected = True

    def __init__(self, *more: Message) -> None:
        self.listener: Listener = lambda _message: None
        self._more = more
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def lost(self) -> str:
        return await self._lost

    async def attach(self, listener: Listener) -> int:
        self.listener = listener
        return 1

    async def message(self, _handle: int, _body: Message) -> Answer:
        joined = {"videoroom": "joined", "publishers": [publisher(1)]}
        for data in (joined, *self._more):
            self.tell(data)
        return Answer(joined, None)

    def tell(self, data: Message) -> None:
        self.listener({"janus": "event", "plugindata": {"data": data}})


class View:
    """A RoomView that keeps who is there."""

    def __init__(self) -> None:
        self.there: list[str] = []

    def show(self, anchors: Mapping[str, Tracks]) -> None:
        self.there = list(anchors)


def publisher(feed: int) -> dict[str, Any]:
    streams = [{"mid": "0", "type": "audio", "codec": "opus"}]
    return {"id": feed, "display": f"name{feed}", "streams": streams}


async def enter(session: ToldSession, view: View) -> JanusVisit:
    clock = ManualClock()
    options = VisitOptions(ROOM, 150, "", "us", lambda feed: feed.display, on_demand=True)
    port = MemoryPort(clock)
    port.close()

    def connect(_user: object) -> Any:
        raise AssertionError("nothing is wanted")

    visit = JanusVisit(session, options, view, {}, connect, port, clock)  # type: ignore[arg-type]
    await visit.enter()
    return visit


async def test_who_comes_right_after_we_have_joined_is_there() -> None:
    session = ToldSession({"videoroom": "event", "publishers": [publisher(2)]})
    view = View()
    visit = await enter(session, view)
    assert view.there == ["name1", "name2"]
    await visit.leave()


async def test_who_leaves_right_after_we_have_joined_is_not() -> None:
    session = ToldSession({"videoroom": "event", "unpublished": 1})
    view = View()
    visit = await enter(session, view)
    assert view.there == []
    await visit.leave()


async def test_ends_have_their_codes() -> None:
    ends: list[tuple[Message, LeaveCode]] = [
        (
            {"videoroom": "event", "leaving": "ok", "reason": "kicked"},
            LeaveCode.SERVER_REMOVED,
        ),
        ({"videoroom": "destroyed"}, LeaveCode.SERVER_DISMISSED),
    ]
    for data, code in ends:
        session = ToldSession()
        visit = await enter(session, View())
        session.tell(data)
        session.tell({"videoroom": "destroyed"})  # the first one counts
        assert await visit.ended() is code
        await visit.leave()


async def test_lines_of_the_log_name_app_and_room() -> None:
    """By the names that they have in all other lines."""
    streams = [{"mid": "0", "type": "video", "codec": "h263"}]
    strange = publisher(2) | {"streams": streams}
    with capture_logs() as logs:
        session = ToldSession({"videoroom": "event", "publishers": [strange]})
        visit = await enter(session, View())
        session.tell({"videoroom": "destroyed"})
        await visit.leave()
    assert [each["event"] for each in logs] == [
        "an anchor sends a codec that is not sliced",
        "visit to a Janus room ends",
    ]
    assert [(each["sdk_app_id"], each["room_id"]) for each in logs] == [(1, 150)] * 2
