"""Object keys (docs/wire.md, 9.2): the one place that knows how a slice is named, both ways."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from cloudslice.slices import SliceKind

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
    """What the key of a slice's object says."""

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
            start = datetime.strptime(match["stamp"], _STAMP).replace(tzinfo=UTC)
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
