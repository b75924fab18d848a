"""What is put into buckets, and what a bucket is to those who put it there."""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self


class DamagedContentError(Exception):
    """A file is not what is known of it."""


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of an object, with their hashes."""

    data: bytes
    sha256: str
    """In lower-case hexadecimal digits."""
    md5: bytes
    """16 bytes."""

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The content of these bytes."""
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        return cls(data, hashlib.sha256(data).hexdigest(), md5)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What is to be put into a bucket."""

    key: str
    """Raw, not encoded."""
    content: Content
    content_type: str
    """The media type."""
    metadata: Mapping[str, str]
    """User metadata: lower-case names; printable ASCII."""


class ObjectStore(Protocol):
    """A bucket that can be written to."""

    def url(self, key: str) -> str:
        """The URL of an object, its key encoded (the URL in event 1004)."""
        ...

    async def put(self, item: StoredObject) -> None:
        """Store the object, or replace it. When this returns, the object is there.

        Raises:
            StorageError: the object is not there, as far as we know.
        """
        ...


def read_content(path: Path, size: int, sha256: str) -> Content:
    """The content of a file, read once and compared with what is known of it. Blocking.

    Args:
        path: the file.
        size: its bytes.
        sha256: of its content, in lower-case hexadecimal digits.

    Raises:
        DamagedContentError: size or hash differ.
        OSError: the file cannot be read.
    """
    try:
        with open(path, "rb", buffering=0, opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                raise DamagedContentError(path.name)
            content = Content.of(file.readall())
    except IsADirectoryError as error:
        raise DamagedContentError(path.name) from error
    if content.sha256 != sha256:
        raise DamagedContentError(path.name)
    return content


def _open_at_once(path: str, flags: int) -> int:
    """Opens a FIFO without waiting for a writer, too: only what is there then can be told."""
    return os.open(path, flags | os.O_NONBLOCK)
