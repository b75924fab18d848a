"""What the spool has its thread do, in order; who carries it out is `writer`.

Nobody changes an order. They are not frozen, as making them would take three times as long, and
one is made for each second of an anchor's audio.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from cloudslice.delivery.model import SliceOrigin


@dataclass(slots=True, eq=False)
class Draft:
    """A slice that is being written."""

    origin: SliceOrigin
    start_ms: int
    created_ms: int
    id: int | None = None
    """Its row and file; given by the writer, which alone touches this and what follows."""
    pieces: list[bytes] = field(default_factory=list)
    """What is still to be written."""
    written: int = 0
    """Bytes in the file."""
    size: int = 0
    """Bytes that count as the spool's."""
    finish: "Finish | None" = None
    """Set once the file is to be completed."""
    is_gone: bool = False
    """Lost or discarded: nothing more is to be done for it."""


@dataclass(slots=True)
class Begin:
    draft: Draft


@dataclass(slots=True)
class Append:
    draft: Draft
    data: bytes


@dataclass(slots=True)
class Finish:
    draft: Draft
    duration_ms: int
    details: Mapping[str, str]
    head: bytes


@dataclass(slots=True)
class Discard:
    draft: Draft


@dataclass(slots=True)
class Abandon:
    """The slice cannot be kept, for a reason that lies before the disk."""

    draft: Draft
    reason: str


@dataclass(slots=True)
class Remove:
    """A waiting slice is off the record: its file may go."""

    slice_id: int
    size: int


@dataclass(slots=True)
class Flush:
    """Nothing to write: `done` is for the spool to set when the batch is carried out."""

    done: Future[None]


Order = Begin | Append | Finish | Discard | Abandon | Remove | Flush
