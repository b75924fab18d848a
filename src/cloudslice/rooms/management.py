"""What the API's room actions ask of the rooms (docs/wire.md, 12)."""

from collections.abc import Sequence
from typing import Protocol

from cloudslice.ids import RoomKey


class RoomNotFoundError(Exception):
    """No such room: nobody is in it, or its id is of the other type."""


class RoomServerError(Exception):
    """The server that has the rooms gave no answer; the text says why and is fit to be shown."""


class RoomService(Protocol):
    """The rooms of all apps, behind the API's checks of form."""

    async def exists(self, room: RoomKey) -> bool:
        """Whether anybody, robots included, is in the room.

        Raises RoomServerError.
        """
        ...

    async def remove_users(self, room: RoomKey, user_ids: Sequence[str]) -> None:
        """Put users and robots out of the room (LeaveCode.REMOVED); who is not in it is ignored.

        Raises RoomNotFoundError, RoomServerError.
        """
        ...

    async def dismiss(self, room: RoomKey) -> None:
        """Put everybody out of the room (LeaveCode.ROOM_DISMISSED).

        Raises RoomNotFoundError, RoomServerError.
        """
        ...
