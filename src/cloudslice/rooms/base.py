"""What every kind of room offers to a robot, and what a robot must be able to hear.

Rooms know nothing of slicing. All calls are plain synchronous calls on the event loop.
"""

from enum import IntEnum
from typing import Protocol

from cloudslice.ids import RoomKey
from cloudslice.media.tracks import AudioTrack, VideoTrack


class LeaveCode(IntEnum):
    """Why a robot left its room: the LeaveCode of event 1002 (docs/api.md)."""

    STOPPED = 0
    REMOVED = 1
    ROOM_DISMISSED = 2
    SERVER_REMOVED = 3
    SERVER_DISMISSED = 4
    IDLE = 99
    CONNECTION_LOST = 100
    REPLACED = 101


class Anchor(Protocol):
    """A member that sends media."""

    @property
    def user_id(self) -> str: ...

    @property
    def identity(self) -> str:
        """What the room's server calls it, if that is not its UserId; else empty."""
        ...

    @property
    def audio(self) -> AudioTrack | None: ...

    @property
    def video(self) -> VideoTrack | None: ...

    @property
    def aux(self) -> VideoTrack | None: ...


class RoomListener(Protocol):
    """What a robot hears from its room. Called on the event loop; must not block or raise."""

    def on_anchor_joined(self, anchor: Anchor) -> None:
        """An anchor is there (also called on entering, for each one already there)."""
        ...

    def on_anchor_changed(self, anchor: Anchor) -> None:
        """The anchor's set of tracks is another one now; gone tracks send nothing more."""
        ...

    def on_anchor_left(self, anchor: Anchor) -> None:
        """The anchor is gone; its tracks send nothing more."""
        ...

    def on_evicted(self, code: LeaveCode) -> None:
        """The robot is out of the room, not by its own wish; nothing more will be heard."""
        ...


class Attendance(Protocol):
    """A robot's stay in a room.

    A robot hears what arrived at this machine while it was there: nothing that arrived before it
    entered, and all that arrived before it left or was put out.
    """

    def catch_up(self) -> None:
        """Have the robot hear all that has arrived by now and was not handed on yet, before this
        returns: what comes after it arrived after it. Harmless when the room is left."""
        ...

    def leave(self) -> None:
        """Leave the room, having caught up; harmless when it is left already."""
        ...


class RoomEntryError(Exception):
    """The robot could not enter; the text says why and is fit to be shown to the API's user."""


class RoomProvider(Protocol):
    """A source of rooms: our own server, or somebody else's that we are a guest of."""

    @property
    def entry_timeout_s(self) -> float:
        """Seconds after which `enter` has no chance any more."""
        ...

    async def check(self, key: RoomKey, robot_user_id: str) -> None:
        """Find out within 5 s, without entering it, whether a room can be entered by that name.

        Raises:
            RoomEntryError: it cannot be, and why.
        """
        ...

    async def enter(self, key: RoomKey, robot_user_id: str, listener: RoomListener) -> Attendance:
        """Enter a room (which need not exist yet) as the member `robot_user_id`.

        Cancelled or failed, the robot is not in the room.

        Raises:
            RoomEntryError: the room cannot be entered.
        """
        ...

    def holds_user(self, key: RoomKey, user_id: str) -> bool:
        """Whether a member that is not a robot is in the room under `user_id`."""
        ...
