"""What somebody hears who wants to know which rooms there are, of whichever kind.

Our own rooms tell it by the events `RoomCreated` and `RoomDismissed`; rooms of other servers by
this protocol. Called on the event loop; must not block or raise.
"""

from collections.abc import Mapping
from typing import Protocol

from cloudslice.ids import RoomKey


class RoomNews(Protocol):
    """Takes what is heard of rooms, which may come twice, or late."""

    def on_room_active(self, room: RoomKey) -> None:
        """Somebody has come into a room, or begun to send media there. Robots do not count."""
        ...

    def on_room_ended(self, room: RoomKey) -> None:
        """A room is no more."""
        ...

    def on_rooms_listed(self, sdk_app_id: int, rooms: Mapping[RoomKey, bool]) -> None:
        """These are all rooms of an app, each with whether somebody sends media in it."""
        ...
