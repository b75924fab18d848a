"""Rooms of a LiveKit server that are waited for: asked for together, however many they are."""

import asyncio
from collections import Counter
from math import inf

from cloudslice.clock import Clock
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import RoomEntryError
from cloudslice.rooms.livekit.names import LivekitNames
from cloudslice.rooms.livekit.room_api import LivekitRoomApi
from cloudslice.rooms.remote.room_server import UnreachableError

_ASK_EVERY_S = 2.0
_MAX_AGE_S = 1.0
"""Of an answer that several have."""


class AwaitedRooms:
    """Of one server."""

    def __init__(self, api: LivekitRoomApi, names: LivekitNames, clock: Clock) -> None:
        self._api = api
        self._names = names
        self._clock = clock
        self._awaited = Counter[str]()
        """By name, how many wait."""
        self._turn = asyncio.Lock()
        self._answer: set[str] | str = ""
        self._answered_at = -inf

    async def wait_for(self, room: RoomKey) -> None:
        """Return when the server has the room, some seconds later at most.

        Raises:
            UnreachableError: it does not answer, or refuses to.
        """
        name = self._names.to_room_name(room)
        self._awaited[name] += 1
        try:
            there: set[str] | str = set()
            while name not in there:
                await asyncio.sleep(_ASK_EVERY_S)
                there = await self._find()
                if isinstance(there, str):
                    raise UnreachableError(there)
        finally:
            self._awaited[name] -= 1
            self._awaited += Counter()  # without those that nobody waits for

    async def _find(self) -> set[str] | str:
        """A recent answer. Who waits for his turn has the one that came meanwhile, however long it
        took."""
        async with self._turn:
            if self._clock.monotonic() - self._answered_at >= _MAX_AGE_S:
                self._answer = await self._ask()
                self._answered_at = self._clock.monotonic()
            return self._answer

    async def _ask(self) -> set[str] | str:
        """The names of those that are there, or why that is not known."""
        try:
            return {each["name"] for each in await self._api.list_rooms(list(self._awaited))}
        except (UnreachableError, RoomEntryError) as error:
            return str(error)
