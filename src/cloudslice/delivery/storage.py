"""Buckets behind one small interface: put an object, or say why not.

obstore speaks S3 to COS, S3, OSS and anything alike: one PutObject with Content-Length and the
body's SHA-256, no trailing checksum, which OSS refuses. It keeps no retries of its own here:
when to try again is the uploader's decision. Why directories are written without it is in
docs/decisions/storage.md.
"""

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from cloudslice.config import StorageSettings
from cloudslice.delivery.endpoints import (
    DirectoryEndpoint,
    Endpoint,
    S3Endpoint,
    find_endpoint,
    is_plain_http,
)
from cloudslice.delivery.model import Bucket

if TYPE_CHECKING:
    from obstore.store import S3Credential

_CONNECT_TIMEOUT_S = 5.0
_REFUSALS = frozenset({301, 307, 400, 401, 403, 404, 405, 411, 412, 501})
"""Answers that repeating at once will not change; what others there are may pass."""


class StorageError(Exception):
    """An object was not stored.

    Attributes:
        status: HTTP status of the store's answer, 0 if there was none.
        code: the store's error code (``AccessDenied``), or ours where there is none.
        text: what it said, or we say, to that; never a credential.
    """

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.status = status
        self.code = code
        self.text = text

    @property
    def refused(self) -> bool:
        """Whether the store was reached and said no: somebody has to put something right."""
        return self.status in _REFUSALS


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What is to be put into a bucket.

    Attributes:
        key: the object key, raw.
        path: the file that is its content.
        content_type: its media type.
        metadata: user metadata; lower-case names, ASCII.
    """

    key: str
    path: Path
    content_type: str
    metadata: Mapping[str, str]


class ObjectStore(Protocol):
    """A bucket that can be written to."""

    async def put(self, item: StoredObject) -> None:
        """Store the object, or replace it; once this has returned, it is there.

        Raises:
            StorageError: it is not, as far as we know.
            OSError: the file to be stored cannot be read.
        """
        ...


BucketOpener = Callable[[Bucket], ObjectStore]
"""Gives the store for a bucket; raises StorageError if there cannot be one."""


class S3Bucket:
    """A bucket behind the S3 protocol."""

    def __init__(self, endpoint: S3Endpoint, bucket: Bucket, timeout_s: float) -> None:
        self._bucket = bucket
        # The provider, not plain arguments: obstore would complete those by AWS_* variables of
        # our environment, such as a session token that belongs to somebody else's key.
        self._store = S3Store(
            endpoint.bucket,
            endpoint=endpoint.url,
            region=endpoint.region,
            virtual_hosted_style_request=endpoint.virtual_hosted,
            credential_provider=self._credential,
            unsigned_payload=False,
            skip_signature=False,
            client_options={
                "allow_http": is_plain_http(endpoint),
                "connect_timeout": timedelta(seconds=min(_CONNECT_TIMEOUT_S, timeout_s)),
                "timeout": timedelta(seconds=timeout_s),
            },
            retry_config={"max_retries": 0},
        )

    async def put(self, item: StoredObject) -> None:
        try:
            # The path, not the content: the file is opened here and now, so that this raises
            # OSError if there is none, but read on a thread of obstore's own.
            answer = obstore.put_async(
                self._store,
                item.key,
                item.path,
                attributes={"Content-Type": item.content_type, **item.metadata},
                use_multipart=False,
            )
        except (BaseError, ValueError) as error:
            raise translate_error(error, hide=_secrets(self._bucket)) from error
        try:
            await answer
        except (BaseError, OSError, ValueError, NotImplementedError) as error:
            raise translate_error(error, hide=_secrets(self._bucket)) from error

    def _credential(self) -> "S3Credential":
        return {
            "access_key_id": self._bucket.access_key,
            "secret_access_key": self._bucket.secret_key,
            "token": None,
            "expires_at": None,
        }


class DirectoryBucket:
    """A bucket that is a directory: an object is a file named by its key, raw.

    A file has no place for content type and metadata; both are dropped.
    """

    def __init__(self, endpoint: DirectoryEndpoint, writers: Executor) -> None:
        self._root = endpoint.path
        self._writers = writers

    async def put(self, item: StoredObject) -> None:
        data = await asyncio.get_running_loop().run_in_executor(self._writers, item.path.read_bytes)
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._writers, _write_durably, self._root, item.key, data
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise StorageError(0, type(error).__name__, f"{reason}.") from error


def open_bucket(bucket: Bucket, settings: StorageSettings, workers: Executor) -> ObjectStore:
    """The store for a bucket; nothing is asked of the network yet.

    Raises:
        StorageError: there cannot be such a bucket.
    """
    endpoint = locate(bucket, settings)
    if isinstance(endpoint, DirectoryEndpoint):
        return DirectoryBucket(endpoint, workers)
    try:
        return S3Bucket(endpoint, bucket, settings.upload_timeout_s)
    except (BaseError, ValueError) as error:
        raise translate_error(error, hide=_secrets(bucket)) from error


def locate(bucket: Bucket, settings: StorageSettings) -> Endpoint:
    """Where a bucket is; raises StorageError if its name or region can be no part of an address."""
    try:
        return find_endpoint(bucket, settings.endpoints)
    except ValueError as error:
        raise StorageError(0, "InvalidBucket", f"{error}.") from error


def translate_error(error: Exception, *, hide: tuple[str, ...] = ()) -> StorageError:
    """Our error for one of obstore's, whose only carrier of detail is its text.

    Args:
        error: what obstore raised.
        hide: texts that must not be shown.
    """
    summary, _, detail = str(error).partition("\n\nDebug source:")
    answer = re.search(r"status code: (\d{3})", summary)
    if answer is None:
        return _unanswered(summary, detail, hide)
    status = int(answer[1])
    code = re.search(r"<Code>([^<]+)</Code>", summary)
    text = re.search(r"<Message>([^<]*)</Message>", summary)
    return StorageError(
        status,
        unescape(code[1]) if code else f"Http{status}",
        _conceal(unescape(text[1]), hide) if text else "The store gave no reason.",
    )


def _unanswered(summary: str, detail: str, hide: tuple[str, ...]) -> StorageError:
    kind = re.search(r"\bkind: (Timeout|Connect|Request|Decode|Interrupted)\b", detail)
    if kind is None:
        return StorageError(0, "InvalidRequest", _conceal(summary.strip(), hide))
    if kind[1] == "Timeout" or "TimedOut" in detail:
        return StorageError(0, "Timeout", "The store did not answer in time.")
    reason = re.search(r'\b(?:message|error): "([^"]+)"', detail)
    said = f": {_conceal(reason[1], hide)}" if reason else ""
    return StorageError(0, "ConnectionFailed", f"The store cannot be reached{said}.")


def _secrets(bucket: Bucket) -> tuple[str, str]:
    return bucket.secret_key, bucket.access_key


def _conceal(text: str, hide: tuple[str, ...]) -> str:
    for secret in hide:
        if secret:
            text = text.replace(secret, "***")
    return text


def _write_durably(root: Path, key: str, data: bytes) -> None:
    """Write the file whole or not at all, and through to the disk: the spool's copy goes next."""
    target = root / key
    if ".." in Path(key).parts or target.is_dir():
        raise IsADirectoryError(f"{key!r} cannot be the name of a file here")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.part")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
