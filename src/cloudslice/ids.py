"""Which room and which track is meant, and what room ids and user ids look like, on every door of
the server."""

import re
from dataclasses import dataclass
from enum import Enum, IntEnum
from urllib.parse import quote


class RoomIdType(IntEnum):
    """The API's RoomIdType: "1" and 1 are two rooms."""

    STRING = 0
    NUMBER = 1


@dataclass(frozen=True, slots=True)
class RoomKey:
    """A room's identity: room ids are unique within an app and a RoomIdType only."""

    sdk_app_id: int
    room_id: str
    room_id_type: RoomIdType

    @property
    def wire_id(self) -> int | str:
        """The room id as events carry it: a number for numeric rooms, else the text."""
        return int(self.room_id) if self.room_id_type is RoomIdType.NUMBER else self.room_id


class TrackKind(Enum):
    """Which of an anchor's streams: a screen share (AUX) is a second video."""

    AUDIO = "audio"
    VIDEO = "video"
    AUX = "aux"


MAX_ROOM_NUMBER = 4_294_967_294
STRING_ROOM_ID = re.compile(
    r"(?!\.{1,2}\Z)[A-Za-z0-9 !#$%&()+\-:;<=.>?@\[\]^_{}|~,]{1,64}", re.ASCII
)
"""Not ``.`` and ``..``: clients take them out of a URL's path, also when they are percent-encoded
(https://url.spec.whatwg.org/#double-dot-path-segment), so that nobody could come in."""
_NUMBER_ROOM_ID = re.compile(r"[0-9]{1,64}", re.ASCII)
USER_ID = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)

ROOM_ID_RULES = {
    RoomIdType.NUMBER: f"a decimal number from 1 to {MAX_ROOM_NUMBER}",
    RoomIdType.STRING: "1 to 64 letters, digits, spaces or !#$%&()+-:;<=.>?@[]^_{}|~, (but not "
    "`.` or `..`)",
}
USER_ID_RULE = "1 to 32 letters, digits, _ or -"


def read_room_key(sdk_app_id: int, text: str, room_id_type: RoomIdType) -> RoomKey | None:
    """The room that an id means; None if no room of that type can have it. Leading zeros of a
    number do not count: 0150 and 150 are one room."""
    if room_id_type is RoomIdType.STRING:
        return RoomKey(sdk_app_id, text, room_id_type) if STRING_ROOM_ID.fullmatch(text) else None
    number = int(text) if _NUMBER_ROOM_ID.fullmatch(text) else 0
    if not 1 <= number <= MAX_ROOM_NUMBER:
        return None
    return RoomKey(sdk_app_id, str(number), room_id_type)


def is_user_id(text: str) -> bool:
    """Whether a member can have this UserId."""
    return USER_ID.fullmatch(text) is not None


def whip_path(room: RoomKey, user_id: str) -> str:
    """The path of the WHIP endpoint (RFC 9725) by which an anchor publishes into a room."""
    room_id = quote(room.room_id, safe="")
    return f"/whip/{room.sdk_app_id}/{int(room.room_id_type)}/{room_id}/{user_id}"
