"""Slices that are being written, as the spool's thread keeps them, and what becomes of them."""

from dataclasses import dataclass, field

from cloudslice.events import SliceLost, SliceReady
from cloudslice.slices import Details, Repaired, SliceOrigin
from cloudslice.spool.slice_format import Head


@dataclass(frozen=True, slots=True)
class Finish:
    """How a slice ends."""

    start_ms: int
    duration_ms: int
    details: Details
    head: bytes = b""
    """The first bytes of the content are to be these instead."""
    content: bytes | None = None
    """All of the content, in place of what is written."""

    @classmethod
    def of_repaired(cls, start_ms: int, repaired: Repaired) -> "Finish":
        """That of a slice whose end was cut off."""
        details = {**repaired.details, "repaired": "true"}
        return cls(start_ms, repaired.duration_ms, details, content=repaired.content)


@dataclass(slots=True, eq=False)
class Draft:
    """A slice that grows."""

    origin: SliceOrigin
    start_ms: int
    """When its first sample was, as far as was known when it began."""
    name: str
    """Of its file, without the ending."""
    head: bytes = b""
    """What stands in the file before the content."""
    pieces: list[bytes] = field(default_factory=list)
    """What is still to be written into its file; with the head, at first."""
    written: int = 0
    """Bytes that are in its file, with the head."""
    crc: int = 0
    """CRC-32 of them, as they were handed in."""
    size: int = 0
    """Bytes that count as the spool's: of the content, in the file and still to be written."""
    has_file: bool = False
    """Its file was made."""
    must_rewrite: bool = False
    """A flush failed: the kernel may take pages for clean that never reached the disk."""
    finish: Finish | None = None
    """Set once the file is to be completed."""
    object_key: str | None = None
    """Given when it is completed, for good."""
    is_cut: bool = False
    """Its end is lost: the file is completed with what came before."""
    is_gone: bool = False
    """Whole or lost: nothing more is to be done for it."""
    retry_at: float = 0.0
    """Monotonic second until which it is left alone after an error."""
    failing_since: float | None = None
    """Monotonic second of the first error since something last went well."""

    def __post_init__(self) -> None:
        if not self.head:
            self.head = Head(self.origin, self.start_ms).to_bytes()
            self.pieces.insert(0, self.head)

    @property
    def takes_more(self) -> bool:
        """Whether what is handed in for it still counts."""
        return not (self.is_gone or self.is_cut)

    @property
    def kept(self) -> int:
        """Bytes of its content that are in its file."""
        return max(self.written - len(self.head), 0)


@dataclass(slots=True)
class Outcome:
    """What became of a batch."""

    ready: list[SliceReady] = field(default_factory=list)
    lost: list[SliceLost] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """The task of each slice that came to nothing."""
    freed: int = 0
    """Bytes that the spool holds no more."""
