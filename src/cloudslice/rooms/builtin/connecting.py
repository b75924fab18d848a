"""The anchors whose offers were answered and who are not connected yet, and how many there may be.

Each holds a DTLS connection and a ufrag until it is connected or has timed out. Whoever has a
UserSig can ask for them without sending a single datagram, so their number has bounds.
"""

from collections import Counter
from enum import Enum
from typing import Generic, TypeVar

from cloudslice.config import RtcSettings
from cloudslice.ids import RoomKey

K = TypeVar("K")
T = TypeVar("T")


class Scope(Enum):
    """Whose bound is reached; the values are the settings' names."""

    USER = "connecting_per_user"
    """One UserId of one app: one UserSig."""
    APP = "connecting_per_app"
    NODE = "connecting_per_node"


class TooManyConnectingError(Exception):
    """The bound of `scope` is reached; it is free again once others are connected or time out."""

    def __init__(self, scope: Scope, limit: int) -> None:
        super().__init__(f"{limit} sessions are not connected yet ({scope.value})")
        self.scope = scope


class Connecting(Generic[T]):
    """At most one of a UserId in a room.

    Args:
        settings: the bounds.
    """

    def __init__(self, settings: RtcSettings) -> None:
        self._settings = settings
        self._members: dict[tuple[RoomKey, str], T] = {}
        self._per_user: Counter[tuple[int, str]] = Counter()
        self._per_app: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._members)

    def find(self, room: RoomKey, user_id: str) -> T | None:
        """Who is on the way into `room` under `user_id`, or None."""
        return self._members.get((room, user_id))

    def has_any(self, room: RoomKey) -> bool:
        """Whether anybody is on the way into `room`."""
        return any(each == room for each, _ in self._members)

    def check(self, room: RoomKey, user_id: str) -> None:
        """Whether one more may be on its way; one that replaces another may always be.

        Raises:
            TooManyConnectingError: the nearest bound that is reached.
        """
        if (room, user_id) in self._members:
            return
        app = room.sdk_app_id
        for scope, count, limit in (
            (Scope.USER, self._per_user[app, user_id], self._settings.connecting_per_user),
            (Scope.APP, self._per_app[app], self._settings.connecting_per_app),
            (Scope.NODE, len(self), self._settings.connecting_per_node),
        ):
            if count >= limit:
                raise TooManyConnectingError(scope, limit)

    def add(self, room: RoomKey, user_id: str, member: T) -> None:
        """`member` is on its way; nobody else may be on the same one."""
        self._members[room, user_id] = member
        self._per_user[room.sdk_app_id, user_id] += 1
        self._per_app[room.sdk_app_id] += 1

    def discard(self, room: RoomKey, user_id: str, member: T) -> None:
        """`member` has arrived, or never will; harmless when it is not there."""
        if self._members.get((room, user_id)) is not member:
            return
        del self._members[room, user_id]
        _count_down(self._per_user, (room.sdk_app_id, user_id))
        _count_down(self._per_app, room.sdk_app_id)


def _count_down(counts: Counter[K], key: K) -> None:
    """Without keeping a key for everybody who was ever here."""
    counts[key] -= 1
    if counts[key] == 0:
        del counts[key]
