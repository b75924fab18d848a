"""What is put into buckets, and what a bucket is to those who put it there."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of an object, with their hashes."""

    data: bytes
    sha256: str
    """In lower-case hexadecimal digits."""
    md5: bytes
    """16 bytes."""

    @classmethod
    def of(cls, data: bytes, sha256: str | None = None) -> Self:
        """The content of these bytes, whose SHA-256 may be known."""
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        return cls(data, sha256 or hashlib.sha256(data).hexdigest(), md5)


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
