"""What the file of a slice looks like: its content, between what is known of it.

    head      a line of JSON: whose slice it is
    content   what goes into the bucket
    tail      a line of JSON: object key, times, size, SHA-256, details
    seal      a line: bytes of the tail and the CRC-32 of head and tail, in hexadecimal digits

A slice that grows has a head and some content. The file's name begins with the time at which the
slice began, so that names sort by age.
"""

import hashlib
import json
import re
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudslice.slices import DamagedSliceError, Slice, SliceKind, SliceOrigin

PART, WHOLE = ".part", ".slice"
"""What a file's name ends with while the slice grows, and once it is whole and durable."""

_NAME = re.compile(r"([0-9]{13,})-[0-9a-f]{16}", re.ASCII)
_SEAL = re.compile(rb"\n([0-9a-f]{8}) ([0-9a-f]{8})\n")
_SEAL_SIZE = 19


@dataclass(frozen=True, slots=True)
class Head:
    """What a slice says of itself from its first byte on."""

    origin: SliceOrigin
    start_ms: int
    """When its first sample was, UTC milliseconds, as far as was known when it began."""

    def to_bytes(self) -> bytes:
        """The first line of the file."""
        origin = self.origin
        return _to_line(
            {
                "task": origin.task_id,
                "user": origin.user_id,
                "kind": origin.kind.value,
                "extension": origin.extension,
                "start_ms": self.start_ms,
            }
        )


def new_name(created_ms: int, serial: int) -> str:
    """A name, without its ending, for a slice that begins now; nobody else has it.

    Args:
        created_ms: now, of a clock that never steps.
        serial: keeps the order of those that begin in the same millisecond.
    """
    return f"{created_ms:013d}-{serial % 2**32:08x}{secrets.token_hex(4)}"


def read_created_ms(name: str) -> int | None:
    """When the slice of that name, without its ending, was begun; None if it is no such name."""
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])


def read_head(data: bytes) -> tuple[Head, int]:
    """What a file says at its beginning, and where its content begins.

    Raises:
        DamagedSliceError: there is no head.
    """
    end = data.find(b"\n") + 1
    values = _from_line(data[:end], "head")
    try:
        origin = SliceOrigin(
            values["task"], values["user"], SliceKind(values["kind"]), values["extension"]
        )
        return Head(origin, int(values["start_ms"])), end
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedSliceError(f"its head cannot be read: {error!r}") from error


def make_tail(
    head: bytes,
    content_sha256: str,
    size: int,
    *,
    object_key: str,
    start_ms: int,
    duration_ms: int,
    details: Mapping[str, str],
) -> bytes:
    """What stands behind the content of a slice that is whole: tail and seal.

    Args:
        head: as it stands in the file.
        content_sha256, size: of the content.
        object_key, start_ms, duration_ms, details: see `Slice`.
    """
    tail = _to_line(
        {
            "key": object_key,
            "start_ms": start_ms,
            "duration_ms": duration_ms,
            "size": size,
            "sha256": content_sha256,
            "details": dict(details),
        }
    )
    return tail[:-1] + f"\n{len(tail):08x} {zlib.crc32(tail, zlib.crc32(head)):08x}\n".encode()


def read_slice(name: str, data: bytes) -> tuple[Slice, bytes]:
    """The slice that a whole file holds, and its content; every byte is checked.

    Args:
        name: of the file, without its ending.
        data: all of the file.

    Raises:
        DamagedSliceError: it is not what was written.
    """
    head, content_at = read_head(data)
    seal = _SEAL.fullmatch(data[-_SEAL_SIZE:])
    if seal is None:
        raise DamagedSliceError("it has no end")
    tail_end = len(data) - _SEAL_SIZE + 1
    tail_at = tail_end - int(seal[1], 16)
    if tail_at < content_at:
        raise DamagedSliceError("its tail is longer than the file")
    tail = data[tail_at:tail_end]
    if zlib.crc32(tail, zlib.crc32(data[:content_at])) != int(seal[2], 16):
        raise DamagedSliceError("what it says of itself is damaged")
    values, content = _from_line(tail, "tail"), data[content_at:tail_at]
    if len(content) != values["size"] or hashlib.sha256(content).hexdigest() != values["sha256"]:
        raise DamagedSliceError("its content is damaged")
    return _to_slice(name, head.origin, values), content


def _to_slice(name: str, origin: SliceOrigin, values: Mapping[str, Any]) -> Slice:
    return Slice(
        name=name,
        origin=origin,
        object_key=values["key"],
        start_ms=values["start_ms"],
        duration_ms=values["duration_ms"],
        details=values["details"],
        size=values["size"],
        sha256=values["sha256"],
    )


def _to_line(values: Mapping[str, object]) -> bytes:
    return json.dumps(values, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _from_line(line: bytes, what: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise DamagedSliceError(f"its {what} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise DamagedSliceError(f"its {what} cannot be read")
    return values
