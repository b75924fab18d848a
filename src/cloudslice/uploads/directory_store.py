"""Buckets that are directories of this machine."""

import asyncio
import os
from concurrent.futures import Executor
from pathlib import Path

from cloudslice.uploads.endpoints import DirectoryEndpoint, object_url
from cloudslice.uploads.objects import StoredObject
from cloudslice.uploads.storage_errors import StorageError


class DirectoryStore:
    """An `ObjectStore` that is a directory: an object is a file named by its key, raw.

    A file has no place for content type and metadata; both are dropped.
    """

    def __init__(self, endpoint: DirectoryEndpoint, writers: Executor) -> None:
        self._endpoint = endpoint
        self._root = endpoint.path
        self._writers = writers

    def url(self, key: str) -> str:
        return object_url(self._endpoint, key)

    async def put(self, item: StoredObject) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._writers, _write_durably, self._root, item.key, item.content.data
            )
        except OSError as error:
            raise StorageError(0, type(error).__name__, f"{self._explain(error)}.") from error

    def _explain(self, error: OSError) -> str:
        if error.strerror is None:
            return str(error)
        return f"{error.filename or self._root} cannot be written: {error.strerror}"


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
