"""Stores over some endpoint, and objects to be put into them."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from cloudslice.settings.storage_settings import StorageSettings
from cloudslice.slices import Bucket, Vendor
from cloudslice.uploads.objects import Content, ObjectStore, StoredObject
from cloudslice.uploads.stores import Stores


def make_settings(endpoint: str, *, timeout_s: float = 10, **vendor: object) -> StorageSettings:
    """All vendors' buckets at one endpoint; `vendor` are keys of each vendor's table."""
    names = [each.name.lower() for each in Vendor]
    values: dict[str, Any] = dict.fromkeys(names, vendor)
    values["endpoints"] = dict.fromkeys(names, endpoint)
    values["upload_timeout_s"] = timeout_s
    return StorageSettings.model_validate(values)


@asynccontextmanager
async def opened(bucket: Bucket, settings: StorageSettings) -> AsyncIterator[ObjectStore]:
    """The store of a bucket."""
    with ThreadPoolExecutor(1) as writers:
        stores = Stores(settings, writers)
        async with stores.client:
            yield stores.open(bucket)


def make_object(
    key: str, data: bytes = b"content", metadata: dict[str, str] | None = None
) -> StoredObject:
    """An audio slice."""
    return StoredObject(key, Content.of(data), "audio/ogg", metadata or {"start-ms": "5"})
