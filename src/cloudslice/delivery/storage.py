"""Buckets behind one small interface: put an object, or say why not.

obstore speaks S3 to COS, S3, OSS and anything alike: one PutObject with Content-Length and the
body's SHA-256, no trailing checksum, which OSS refuses. It keeps no retries of its own here:
when to try again is the uploader's decision. Its client follows a 303 and does not say so: only
the content's MD5 as ETag, or a look at the object, proves that it is stored. Why directories are
written without it is in docs/decisions/storage.md.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
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
from cloudslice.delivery.object_check import check_object
from cloudslice.delivery.storage_errors import (
    HangUpError,
    StorageError,
    is_success,
    translate_error,
)
from cloudslice.slices import Bucket

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential

_CONNECT_TIMEOUT_S = 5.0
_SIGNED_FOR = timedelta(minutes=5)
"""The URL by which an object is looked at; clocks of machines differ by less."""


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
        self._endpoint = endpoint
        self._bucket = bucket
        self._timeout_s = timeout_s
        self._store = self._open(keep_alive=True)
        self._fresh_store: S3Store | None = None

    async def put(self, item: StoredObject) -> None:
        try:
            await self._put(self._store, item)
        except HangUpError:
            # As a rule of a connection that was idle, as are the others that are kept.
            if self._fresh_store is None:
                self._fresh_store = self._open(keep_alive=False)
            await self._put(self._fresh_store, item)

    def _open(self, *, keep_alive: bool) -> S3Store:
        # The provider, not plain arguments: obstore would complete those by AWS_* variables of
        # our environment, such as a session token that belongs to somebody else's key.
        options: ClientConfig = {
            "allow_http": is_plain_http(self._endpoint),
            "connect_timeout": timedelta(seconds=min(_CONNECT_TIMEOUT_S, self._timeout_s)),
            "timeout": timedelta(seconds=self._timeout_s),
        }
        if not keep_alive:
            options["pool_max_idle_per_host"] = "0"
        return S3Store(
            self._endpoint.bucket,
            endpoint=self._endpoint.url,
            region=self._endpoint.region,
            virtual_hosted_style_request=self._endpoint.virtual_hosted,
            credential_provider=self._credential,
            unsigned_payload=False,
            skip_signature=False,
            client_options=options,
            retry_config={"max_retries": 0},
        )

    async def _put(self, store: S3Store, item: StoredObject) -> None:
        try:
            # The path, not the content: the file is opened here and now, so that this raises
            # OSError if there is none, but read on a thread of obstore's own.
            answer = obstore.put_async(
                store,
                item.key,
                item.path,
                attributes={"Content-Type": item.content_type, **item.metadata},
                use_multipart=False,
            )
        except (BaseError, ValueError) as error:
            raise self._translate(error) from error
        try:
            etag = (await answer)["e_tag"]
        except (BaseError, OSError, ValueError, NotImplementedError) as error:
            if not is_success(error):
                raise self._translate(error) from error
            etag = None
        if etag is None or not await asyncio.to_thread(_is_md5, etag, item.path):
            await self._look_for(item)

    async def _look_for(self, item: StoredObject) -> None:
        """Whether the store has the object: a web site, too, may say so, or who was redirected."""
        try:
            url = await obstore.sign_async(self._store, "HEAD", item.key, _SIGNED_FOR)
        except (BaseError, ValueError) as error:
            raise self._translate(error) from error
        size, sha256 = item.path.stat().st_size, item.metadata.get("sha256")
        await check_object(url, size, sha256, self._timeout_s)

    def _translate(self, error: Exception) -> StorageError:
        return translate_error(error, hide=_secrets(self._bucket))

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


def _secrets(bucket: Bucket) -> tuple[str, str]:
    return bucket.secret_key, bucket.access_key


def _is_md5(etag: str, path: Path) -> bool:
    """Whether an ETag is the MD5 of a file, as that of most stores is."""
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return etag.strip('"').lower() == md5.hexdigest()


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
