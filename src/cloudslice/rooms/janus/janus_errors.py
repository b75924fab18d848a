"""What Janus refuses, in words that say what to do."""

from typing import Final

from cloudslice.rooms.base import RoomEntryError
from cloudslice.rooms.remote.room_server import UnreachableError

UNAUTHORIZED: Final = 403
NO_SUCH_SESSION: Final = 458
NO_SUCH_PLUGIN: Final = 460
NO_SUCH_ROOM: Final = 426
ROOM_EXISTS: Final = 427
NO_SUCH_FEED: Final = 428
MISSING_ELEMENT: Final = 429
INVALID_ELEMENT: Final = 430
WRONG_SECRET: Final = 433

_MAX_REASON = 200
"""Characters of the server's own words that are shown."""


class JanusError(Exception):
    """Janus, or its plugin, has refused a request.

    Attributes:
        code: by janus.h and janus_videoroom.c of Janus.
    """

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason[:_MAX_REASON]
        super().__init__(f"{self.reason} (error {code})")


class SignallingLostError(UnreachableError):
    """The connection to Janus's API was lost with a request under way, or is lost.

    Args:
        url: of Janus.
    """

    def __init__(self, url: str) -> None:
        super().__init__(f"the connection to Janus at {url} is lost")


def entry_error(error: JanusError, where: str, room: int | str) -> RoomEntryError:
    """Why a room cannot be entered, for the API's user.

    Args:
        where: the server.
        room: the room's id there.
    """
    reasons = {
        UNAUTHORIZED: "refuses the secret in apps.janus.api_secret",
        NO_SUCH_PLUGIN: "has no VideoRoom plugin (janus.plugin.videoroom)",
        NO_SUCH_ROOM: f"has no room {room!r}: it must be made there before, or by the setting "
        "apps.janus.create_rooms",
        WRONG_SECRET: f"does not let us into room {room!r}: the pin in apps.janus is wrong",
    }
    reason = reasons.get(error.code, f"refuses the request: {error}")
    if "admin_key" in error.reason:
        reason = "lets nobody make rooms without the right key: apps.janus.admin_key"
    elif error.code == MISSING_ELEMENT and "pin" in error.reason:
        reason = f"wants a pin for room {room!r}: set apps.janus.pin"
    elif error.code == INVALID_ELEMENT and "room" in error.reason:
        kind = "texts" if isinstance(room, int) else "numbers"
        reason = f"has {kind} for room ids: the setting apps.janus.string_ids is wrong"
    return RoomEntryError(f"Janus at {where} {reason}")
