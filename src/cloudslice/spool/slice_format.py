"""What the file of a slice looks like: its content, between what is known of it.

    head      a line: whose slice it is
    content   what goes into the bucket
    newline
    tail      a line: object key, times, size and SHA-256 of the content, details

Both lines carry their own check sum (`checked_lines`). A slice that grows has a head and some
content. The file's name begins with the time at which the slice began, so that names sort by age.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Any

from cloudslice.slices import DamagedSliceError, Slice, SliceKind, SliceOrigin
from cloudslice.spool.checked_lines import from_line, to_line

PART, WHOLE = ".part", ".slice"
"""What a file's name ends with while the slice grows, and once it is whole and durable."""
HEAD_BYTES = TAIL_BYTES = 8192
"""A head, and a tail, are shorter."""

_NOTHING_YET = re.compile(rb"\0*|[ -~]*")
_NAME = re.compile(r"[0-9]{13,}-[0-9a-f]{16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Head:
    """What a slice says of itself from its first byte on."""

    origin: SliceOrigin
    start_ms: int
    """When its first sample was, UTC milliseconds, as far as was known when it began."""

    def to_bytes(self) -> bytes:
        """The first line of the file."""
        origin = self.origin
        return to_line(
            {
                "task": origin.task_id,
                "user": origin.user_id,
                "kind": origin.kind.value,
                "extension": origin.extension,
                "start_ms": self.start_ms,
                **({"identity": origin.identity} if origin.identity else {}),
            }
        )


def new_name(created_ms: int, serial: int) -> str:
    """A name, without its ending, for a slice that begins now; nobody else has it.

    Args:
        created_ms: now, of a clock that never steps.
        serial: keeps the order of those that begin in the same millisecond.
    """
    return f"{created_ms:013d}-{serial % 2**32:08x}{secrets.token_hex(4)}"


def is_name(text: str) -> bool:
    """Whether it is such a name."""
    return _NAME.fullmatch(text) is not None


def has_content(data: bytes) -> bool:
    """Whether a file may hold more than the beginning of a head, or the zeros that some file
    systems have in place of what a power cut has taken."""
    return _NOTHING_YET.fullmatch(data) is None


def read_head(data: bytes) -> tuple[Head, int]:
    """What a file says at its beginning, and where its content begins.

    Raises:
        DamagedSliceError: there is no head.
    """
    end = data.find(b"\n") + 1
    values = _read_line(data[:end], "head")
    origin = SliceOrigin(
        values["task"],
        values["user"],
        SliceKind(values["kind"]),
        values["extension"],
        values.get("identity", ""),
    )
    return Head(origin, values["start_ms"]), end


def make_tail(whole: Slice) -> bytes:
    """What stands behind the content of a slice that is whole."""
    return b"\n" + to_line(
        {
            "key": whole.object_key,
            "start_ms": whole.start_ms,
            "duration_ms": whole.duration_ms,
            "size": whole.size,
            "sha256": whole.sha256,
            "details": dict(whole.details),
        }
    )


def read_slice(name: str, data: bytes) -> tuple[Slice, bytes]:
    """The slice that a whole file holds, and its content; every byte is checked.

    Args:
        name: of the file, without its ending.
        data: all of the file.

    Raises:
        DamagedSliceError: it is not what was written.
    """
    head, content_at = read_head(data)
    content_end = data.rfind(b"\n", content_at, len(data) - 1)
    if content_end < 0 or not data.endswith(b"\n"):
        raise DamagedSliceError("it has no end")
    values, content = _read_line(data[content_end + 1 :], "tail"), data[content_at:content_end]
    if len(content) != values["size"] or hashlib.sha256(content).hexdigest() != values["sha256"]:
        raise DamagedSliceError("its content is damaged")
    whole = Slice(
        name=name,
        origin=head.origin,
        object_key=values["key"],
        start_ms=values["start_ms"],
        duration_ms=values["duration_ms"],
        details=values["details"],
        size=values["size"],
        sha256=values["sha256"],
    )
    return whole, content


def read_key(end: bytes) -> str:
    """The object key of a slice.

    Args:
        end: the last `TAIL_BYTES` of its file.

    Raises:
        DamagedSliceError: its tail cannot be read.
    """
    key: str = _read_line(end[end.rfind(b"\n", 0, len(end) - 1) + 1 :], "tail")["key"]
    return key


def _read_line(line: bytes, what: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = from_line(line)
    except ValueError as error:
        raise DamagedSliceError(f"its {what} is damaged: {error}") from error
    return values
