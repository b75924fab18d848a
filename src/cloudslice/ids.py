"""Which room and which track is meant, and what ids and object keys look like, everywhere."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, IntEnum
from urllib.parse import quote

from cloudslice.slices import SliceKind


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


_STAMP = "%Y%m%d%H%M%S"
# The user id stands in a key twice; that the two are equal is what tells where it begins and ends
# in the file name, as room and user ids may both hold underscores.
_KEY = re.compile(
    r"""(?:(?P<prefix>[^/]+(?:/[^/]+)*)/)?
        (?P<task>[^/]+)/(?P<user>[^/]+)/(?P<kind>audios|images)/
        (?P<app>[0-9]+)_(?P<room>[^/]+)_(?P=user)_(?P<stamp>[0-9]{14})\.(?P<extension>[a-z0-9]+)""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class ObjectName:
    """What the key of a slice's object says (docs/wire.md, 9.2)."""

    prefix: tuple[str, ...]
    task_id: str
    user_id: str
    """The anchor."""
    kind: SliceKind
    sdk_app_id: int
    room_id: str
    utc_second: int
    """Unix second at which the slice starts."""
    extension: str

    def to_key(self) -> str:
        """The object key: raw text; whoever sends it encodes it."""
        stamp = datetime.fromtimestamp(self.utc_second, UTC).strftime(_STAMP)
        file_name = f"{self.sdk_app_id}_{self.room_id}_{self.user_id}_{stamp}.{self.extension}"
        return "/".join(
            (*self.prefix, self.task_id, self.user_id, self.kind.value, file_name),
        )

    @classmethod
    def from_key(cls, key: str) -> "ObjectName":
        """What an object key says; raises ValueError if it is not one of a slice."""
        match = _KEY.fullmatch(key)
        if match is None:
            raise ValueError(f"not the object key of a slice: {key!r}")
        prefix = match["prefix"]
        try:
            # Ten times as fast as strptime: a start reads the keys of all that waits.
            start = datetime.fromisoformat(f"{match['stamp'][:8]}T{match['stamp'][8:]}Z")
        except ValueError as error:
            raise ValueError(f"not the object key of a slice: {key!r}: no such time") from error
        return cls(
            prefix=tuple(prefix.split("/")) if prefix else (),
            task_id=match["task"],
            user_id=match["user"],
            kind=SliceKind(match["kind"]),
            sdk_app_id=int(match["app"]),
            room_id=match["room"],
            utc_second=round(start.timestamp()),
            extension=match["extension"],
        )
