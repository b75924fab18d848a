"""Reads files of the spool for people: also those that were set aside. Everything here blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cloudslice.slices import DamagedSliceError, SliceOrigin
from cloudslice.spool.files import read_regular
from cloudslice.spool.slice_format import PART, WHOLE, read_head, read_key, read_slice

UNFINISHED = "it has not ended"
"""The fault of a slice that is not damaged: it grows, or its process was killed."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a file of the spool holds, as far as it can be told."""

    path: Path
    fault: str
    """Why it is not whole; empty if it is."""
    content: bytes
    origin: SliceOrigin | None
    start_ms: int | None
    object_key: str | None

    @property
    def start(self) -> str:
        """When its first sample was, in UTC; empty if that cannot be told."""
        if self.start_ms is None:
            return ""
        return f"{datetime.fromtimestamp(self.start_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"

    @property
    def file_name(self) -> str:
        """That of its object, or one that says as much as is known."""
        if self.object_key is not None:
            return self.object_key.rpartition("/")[2]
        if self.origin is None:
            return f"{self.path.name}.content"
        stamp = self.start.replace("-", "").replace(":", "")
        return f"{self.origin.user_id}_{stamp}.{self.origin.extension}".replace("/", "_")


def inspect_all(directory: Path) -> Iterator[Inspected]:
    """The files of slices in a directory and all below it, each with what is wrong with it."""
    for path in sorted(directory.rglob("*")):
        if path.suffix in (PART, WHOLE) and path.is_file():
            yield inspect(path)


def inspect(path: Path) -> Inspected:
    """What a file holds.

    Raises:
        OSError: it cannot be read.
    """
    data = read_regular(path)
    try:
        whole, content = read_slice(path.stem, data)
    except DamagedSliceError as error:
        fault = UNFINISHED if path.suffix == PART else str(error)
        return _inspect_damaged(path, data, fault)
    return Inspected(path, "", content, whole.origin, whole.start_ms, whole.object_key)


def _inspect_damaged(path: Path, data: bytes, fault: str) -> Inspected:
    origin = start_ms = key = None
    start, end = data.find(b"\n") + 1, len(data)
    try:
        head, start = read_head(data)
        origin, start_ms = head.origin, head.start_ms
    except DamagedSliceError as error:
        fault = str(error)
    try:
        key = read_key(data[start:])
        end = data.rfind(b"\n", 0, len(data) - 1)
    except DamagedSliceError:
        pass  # then the end belongs to the content, as far as anybody knows
    return Inspected(path, fault, data[start:end], origin, start_ms, key)
