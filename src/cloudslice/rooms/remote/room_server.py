"""What a kind of rooms on other servers has to bring: a file or a folder beside this one.

It enters a room, says who is there and what they send, and says how the visit ended. When it is to
be tried again, what the robots hear and for how long they wait is not its business, but that of
`RemoteRoom`.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from cloudslice.faults import Faults
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.media.tracks import AudioTrack, VideoTrack
from cloudslice.rooms.base import LeaveCode, RoomEntryError


class UnreachableError(Exception):
    """The server gave no answer, or none that can be understood; another try may help.

    The text says which server and why, and is fit to be shown to the API's user: no secret is in
    it. `RoomEntryError` is for what no other try helps against: a wrong key, a refusal.
    """


def user_id_taken(user_id: str) -> RoomEntryError:
    """Why a robot cannot be in a room with a person of its UserId."""
    return RoomEntryError(f"UserId {user_id} is in the room already, and is not a robot")


@dataclass(frozen=True, slots=True)
class Tracks:
    """What an anchor sends; what it has muted or does not send is None.

    `identity` is what events tell of it besides its UserId (`user_ids.identity_to_tell`).

    A track that goes on must be the same object as before: another one ends the slice under way.
    """

    audio: AudioTrack | None = None
    video: VideoTrack | None = None
    aux: VideoTrack | None = None
    identity: str = ""

    def __bool__(self) -> bool:
        return any((self.audio, self.video, self.aux))


class RoomView(Protocol):
    """Is told what a visit sees. Called on the event loop."""

    @property
    def faults(self) -> Faults:
        """Where a visit counts and logs what a robot raises."""
        ...

    def show(self, anchors: Mapping[str, Tracks]) -> None:
        """By UserId, all anchors that are in the room now, with all that they send.

        To be called when a visit has begun, and after each change. Who is not in it has left.
        """
        ...


class Visit(Protocol):
    """A stay in a room, from its entry to its end."""

    async def ended(self) -> LeaveCode | None:
        """Wait for the end: the code with which robots leave, or None if the connection is lost
        and the room may be entered again."""
        ...

    def catch_up(self) -> None:
        """Hand on all media that has arrived by now, before this returns."""
        ...

    @property
    def media_counts(self) -> Counter[str]:
        """What was received and what was dropped so far, by a name that says it."""
        ...


class RoomServer(Protocol):
    """One app's server."""

    async def check(self, room: RoomKey, robot_user_id: str) -> None:
        """Find out, without entering it, whether a robot of that name can be in a room: nobody else
        has its UserId. A room that does not exist yet can be entered.

        Raises:
            RoomEntryError, UnreachableError: it cannot be; the text says why.
        """
        ...

    def visit(self, room: RoomKey, view: RoomView) -> AbstractAsyncContextManager[Visit]:
        """Enter a room, hidden from its members; leave it at the end of the context.

        The context is entered when media can come.

        Raises (on entering the context):
            RoomEntryError, UnreachableError: the room was not entered.
        """
        ...

    async def exists(self, room: RoomKey) -> bool:
        """Whether the server has the room.

        Raises UnreachableError; RoomEntryError where we are not allowed to.
        """
        ...

    async def remove_users(self, room: RoomKey, user_ids: Sequence[str]) -> None:
        """Put members out of the room; who is not in it is ignored.

        Raises UnreachableError; RoomEntryError where we are not allowed to.
        """
        ...

    async def dismiss(self, room: RoomKey) -> None:
        """Put everybody out of the room, and end it.

        Raises UnreachableError; RoomEntryError where we are not allowed to.
        """
        ...

    async def list_rooms(
        self, sdk_app_id: int, types: Collection[RoomIdType]
    ) -> Mapping[RoomKey, bool]:
        """All rooms of the server that can be rooms of ours of these types, each with whether
        somebody sends media in it.

        Raises UnreachableError; RoomEntryError where we are not allowed to.
        """
        ...
