"""What the spool has its thread do, in order; who carries it out is `writer`.

Nobody changes an order. They are not frozen, as making them would take three times as long, and
one is made for each second of an anchor's audio.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from cloudslice.slices import SliceOrigin


@dataclass(slots=True, eq=False)
class Draft:
    """A slice that is being written."""

    origin: SliceOrigin
    start_ms: int
    """Until `finish` fixes it, as far as is known."""
    created_ms: int
    id: int | None = None
    """Its row and file; given by the writer, which alone touches this and what follows."""
    pieces: list[bytes] = field(default_factory=list)
    """What is still to be written."""
    written: int = 0
    """Bytes in the file."""
    size: int = 0
    """Bytes that count as the spool's: those in the file and those still to be written."""
    has_file: bool = False
    """Its file was made, by us."""
    must_rewrite: bool = False
    """A flush failed: the kernel may take pages for clean that never reached the disk."""
    finish: "Finish | None" = None
    """Set once the file is to be completed."""
    is_described: bool = False
    """What `finish` says is on record."""
    is_cut: bool = False
    """Its end is lost: the file is completed with what came before."""
    is_gone: bool = False
    """Whole, lost or discarded: nothing more is to be done for it."""
    retry_at: float = 0.0
    """Monotonic second until which it is left alone after an error."""
    failing_since: float | None = None
    """Monotonic second of the first error since something last went well."""

    @property
    def is_on_record(self) -> bool:
        """Whether the record says of it what it must before its file may be touched."""
        return self.id is not None and (self.finish is None or self.is_described)

    @property
    def takes_more(self) -> bool:
        """Whether orders for it still count."""
        return not (self.is_gone or self.is_cut)


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
    start_ms: int
    duration_ms: int
    details: Mapping[str, str]
    head: bytes


@dataclass(slots=True)
class Discard:
    draft: Draft


@dataclass(slots=True)
class Abandon:
    """What comes now cannot be kept, for a reason that lies before the disk: the slice is cut."""

    draft: Draft
    reason: str


@dataclass(slots=True)
class Remove:
    """A waiting slice is off the record: its file may go."""

    slice_id: int
    size: int


@dataclass(slots=True)
class SetAside:
    """A waiting slice's file is not what was recorded: it is to be kept apart."""

    slice_id: int
    reason: str


@dataclass(slots=True)
class Flush:
    """Nothing to write: `done` is for the spool to set when all before it is on record."""

    done: Future[None]


Order = Begin | Append | Finish | Discard | Abandon | Remove | SetAside | Flush
