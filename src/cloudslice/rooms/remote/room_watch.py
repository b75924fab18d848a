"""Hears which rooms another server has: by asking for all of them, and by what it says by itself.

A list is older than what was heard while it was under way, and does not count against it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from cloudslice.faults import Faults
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import RoomEntryError
from cloudslice.rooms.remote.room_server import UnreachableError
from cloudslice.rooms.room_news import RoomNews

_log = structlog.get_logger(__name__)

_ASK_EVERY_S = 10.0


class RoomWatch:
    """The rooms of one app.

    Args:
        sdk_app_id: which app.
        list_rooms: asks the server for its rooms (`RoomServer.list_rooms`).
        news: is told.
        faults: takes unforeseen errors of asking.
        ask_every_s: seconds from one answer to the next question.
    """

    def __init__(
        self,
        sdk_app_id: int,
        list_rooms: Callable[[], Awaitable[Mapping[RoomKey, bool]]],
        news: RoomNews,
        faults: Faults,
        *,
        ask_every_s: float = _ASK_EVERY_S,
    ) -> None:
        self._sdk_app_id = sdk_app_id
        self._list_rooms = list_rooms
        self._news = news
        self._faults = faults
        self._ask_every_s = ask_every_s
        self._heard: dict[RoomKey, bool] = {}
        """Of each room that was heard of since the last question: whether it is there."""
        self._has_failed = False

    def note_active(self, room: RoomKey) -> None:
        """The server says that somebody has come into a room, or begun to send there."""
        self._heard[room] = True
        self._news.on_room_active(room)

    def note_ended(self, room: RoomKey) -> None:
        """The server says that a room is no more."""
        self._heard[room] = False
        self._news.on_room_ended(room)

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await self._ask()
            await asyncio.sleep(self._ask_every_s)

    async def _ask(self) -> None:
        self._heard.clear()
        try:
            rooms = dict(await self._list_rooms())
        except (UnreachableError, RoomEntryError) as error:
            if not self._has_failed:
                _log.warning("rooms not known", reason=str(error), sdk_app_id=self._sdk_app_id)
            self._has_failed = True
            return
        except Exception as error:
            self._faults.caught(error, sdk_app_id=self._sdk_app_id)
            return
        if self._has_failed:
            _log.info("rooms known again", sdk_app_id=self._sdk_app_id)
        self._has_failed = False
        for room, is_there in self._heard.items():
            if is_there:
                rooms.setdefault(room, False)
            else:
                rooms.pop(room, None)
        self._news.on_rooms_listed(self._sdk_app_id, rooms)
