"""What happens in rooms, for those who want to know without being in them."""

from enum import IntEnum
from typing import Protocol

from cloudslice.ids import RoomKey, TrackKind


class ExitReason(IntEnum):
    """Why an anchor left its room: the Reason of event 104 (docs/api.md)."""

    NORMAL = 1
    TIMEOUT = 2
    REMOVED = 3


class RoomObserver(Protocol):
    """Hears of all rooms. Called on the event loop; must not block or raise.

    Robots are invisible here: a room begins with its first anchor and ends with its last.
    """

    def on_room_created(self, room: RoomKey, user_id: str) -> None:
        """The first anchor is about to enter."""
        ...

    def on_room_dismissed(self, room: RoomKey) -> None:
        """The last anchor has left."""
        ...

    def on_anchor_entered(self, room: RoomKey, user_id: str) -> None:
        """An anchor is in the room; its media will begin."""
        ...

    def on_anchor_left(self, room: RoomKey, user_id: str, reason: ExitReason) -> None:
        """The anchor is gone, and its media with it: no `on_track_stopped` follows."""
        ...

    def on_track_started(self, room: RoomKey, user_id: str, kind: TrackKind) -> None:
        """The anchor's packets of that kind have begun to come."""
        ...

    def on_track_stopped(self, room: RoomKey, user_id: str, kind: TrackKind) -> None:
        """The anchor, which is there, has stopped to send that kind."""
        ...
