"""The words that delivery shares with those that hand it slices and events."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from pathlib import Path
from typing import Protocol


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
class Consignor:
    """The task on whose behalf slices and events are delivered, as events name it."""

    task_id: str
    sdk_app_id: int
    room_id: int | str
    """As events carry it: a number for numeric rooms."""
    robot_user_id: str


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


class GrowingSlice(Protocol):
    """A slice that is being written. Calls return at once and are carried out in order."""

    def append(self, data: bytes) -> None:
        """Put `data` at the end of the file; it survives a kill of the process from soon on."""
        ...

    def finish(
        self, start_utc_ms: int, duration_ms: int, details: Mapping[str, str], *, head: bytes = b""
    ) -> None:
        """The file is complete: store it durably and deliver it. This fixes its times and its name.

        Args:
            start_utc_ms: when its first sample was.
            duration_ms: how much time the slice covers.
            details: what else goes into the object's metadata; lower-case names, ASCII.
            head: what the file's first bytes are to be instead (same length as what is there).
        """
        ...

    def abandon(self, reason: str) -> None:
        """The file breaks off here: make it valid, deliver it, and tell the loss of its end.
        Harmless when it is finished or discarded.

        Args:
            reason: why, as event 1006 says it.
        """
        ...

    def discard(self) -> None:
        """Nothing worth keeping was written: forget the file."""
        ...


class SliceStore(Protocol):
    """What slicing needs of delivery. Calls return at once, never block the event loop."""

    def grow(self, origin: SliceOrigin, start_utc_ms: int) -> GrowingSlice:
        """Start a slice whose file grows.

        Args:
            origin: whose slice it is.
            start_utc_ms: when its first sample was, as far as is known. `finish` says it for good;
                this holds if the process is killed before.
        """
        ...

    def put(
        self, origin: SliceOrigin, start_utc_ms: int, data: bytes, details: Mapping[str, str]
    ) -> None:
        """Store a slice that is complete in memory (a picture) durably and deliver it."""
        ...


Repair = Callable[[Path], int | None]
"""Makes a valid file of one that was cut off in its growth, in place; blocking.

Returns the milliseconds that the repaired file covers, or None if nothing in it is worth keeping.
"""
