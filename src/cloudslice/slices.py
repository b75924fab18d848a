"""What a slice is, whose it is, and where it goes: the words of slicing and delivery."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum


class Vendor(IntEnum):
    """The API's Vendor."""

    COS = 0
    S3 = 1
    OSS = 2


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a task's slices go: the API's CloudSliceStorage."""

    vendor: Vendor
    region: str
    name: str
    access_key: str
    secret_key: str = field(repr=False)
    prefix: tuple[str, ...] = ()
    """FileNamePrefix: the leading segments of every object key."""


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task as its events name it."""

    task_id: str
    sdk_app_id: int
    room_id: int | str
    """As events carry it: a number for numeric rooms."""
    robot_user_id: str


Details = Mapping[str, int | str]
"""What a slice knows of itself, beside its times: small letters and hyphens in its names; numbers,
or printable ASCII without spaces. Its order is that of weight."""


class SliceKind(Enum):
    """Audio slice or picture; the value is the folder in object keys (docs/wire.md, 9.2)."""

    AUDIO = "audios"
    IMAGE = "images"


@dataclass(frozen=True, slots=True)
class SliceOrigin:
    """Whose slice it is, and what."""

    task_id: str
    user_id: str
    """The anchor that is sliced."""
    kind: SliceKind
    extension: str
    """File name extension without the dot: ogg, png, jpg."""
    identity: str = ""
    """What the room's server calls the anchor, if that is not the UserId."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice that is complete: what its file in the spool says of itself."""

    name: str
    """In the spool; no other slice ever has it. Names sort by age: see `created_ms`."""
    origin: SliceOrigin
    object_key: str
    start_ms: int
    """When its first sample was, UTC milliseconds."""
    duration_ms: int
    details: Details
    """What else is told of it: in the object's metadata and in event 1004."""
    size: int
    """Bytes of its content."""
    sha256: str
    """Of its content, in lower-case hexadecimal digits."""


class DamagedSliceError(Exception):
    """A file is not what was written as a slice; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class WaitingSlice:
    """A slice that waits for its upload."""

    name: str
    """See `Slice`."""
    size: int
    """Bytes of its file."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a slice that was cut off in its growth is worth."""

    content: bytes
    """A valid file."""
    duration_ms: int
    """How much time it covers."""
    details: Details = field(default_factory=dict)
    """What it still says of itself."""


Repair = Callable[[bytes], Repaired | None]
"""Makes a valid file of what one that was cut off holds; None if nothing in it is worth keeping."""


def created_ms(name: str) -> int:
    """When the slice of that name was begun, in ms of the clock that is steady over restarts."""
    return int(name.partition("-")[0])
