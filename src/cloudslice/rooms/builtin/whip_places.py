"""On which node of a cluster a room is: WHIP asks before it takes an offer."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from cloudslice.ids import RoomKey


class NoPlaceError(Exception):
    """No node can have the room at this moment; trying again may help. The text says why."""


class RoomPlaces(Protocol):
    """Says where rooms are."""

    @property
    def url(self) -> str:
        """By which base URL clients reach this node; empty: by the one that they have used."""
        ...

    def holding(self, room: RoomKey) -> AbstractAsyncContextManager[str]:
        """A context within which a room that is here stays here, though nobody is in it yet.

        It gives the base URL of the node that has the room, or is to have it; empty: it is here.

        Raises:
            NoPlaceError
        """
        ...


class OnePlace:
    """The `RoomPlaces` of a node that is alone."""

    url = ""

    @asynccontextmanager
    async def holding(self, room: RoomKey) -> AsyncIterator[str]:
        """See `RoomPlaces`."""
        yield ""
