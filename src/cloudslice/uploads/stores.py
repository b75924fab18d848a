"""Opens the stores of buckets, by the settings."""

import ssl
from collections.abc import Callable
from concurrent.futures import Executor

from cloudslice.settings.storage_settings import StorageSettings
from cloudslice.slices import Bucket
from cloudslice.uploads.directory_store import DirectoryStore
from cloudslice.uploads.endpoints import DirectoryEndpoint, Endpoint, find_endpoint
from cloudslice.uploads.objects import ObjectStore
from cloudslice.uploads.s3_store import S3Store
from cloudslice.uploads.storage_errors import StorageError
from cloudslice.uploads.store_client import StoreClient

BucketOpener = Callable[[Bucket], ObjectStore]
"""Gives the store of a bucket; raises StorageError if there cannot be one."""


class Stores:
    """Opens stores, which share the connections of `client`, to be entered before."""

    def __init__(self, settings: StorageSettings, writers: Executor) -> None:
        """Takes the threads that write into directories."""
        self._settings = settings
        self._writers = writers
        self.client = StoreClient()
        self._tls: dict[str, ssl.SSLContext] = {}

    def open(self, bucket: Bucket) -> ObjectStore:
        """The store of a bucket. Nothing is asked of the network yet.

        Raises:
            StorageError: there cannot be such a bucket.
        """
        settings = self._settings
        endpoint = locate(bucket, settings)
        if isinstance(endpoint, DirectoryEndpoint):
            return DirectoryStore(endpoint, self._writers)
        vendor = settings.of(bucket.vendor)
        try:
            tls = self._find_tls(vendor.ca_file)
            return S3Store(self.client, endpoint, bucket, vendor, tls, settings.upload_timeout_s)
        except OSError as error:
            text = f"The CA file {vendor.ca_file} cannot be read: {error.strerror or error}."
            raise StorageError(0, "InvalidCaFile", text) from error
        except ValueError as error:
            raise StorageError(0, "InvalidBucket", f"{error}.") from error

    def _find_tls(self, ca_file: str) -> ssl.SSLContext | bool:
        """How certificates are checked; a CA file is read once."""
        if not ca_file:
            return True
        if ca_file not in self._tls:
            self._tls[ca_file] = ssl.create_default_context(cafile=ca_file)
        return self._tls[ca_file]


def locate(bucket: Bucket, settings: StorageSettings) -> Endpoint:
    """Where a bucket is; raises StorageError if its name or region can be no part of an address."""
    try:
        return find_endpoint(bucket, settings)
    except ValueError as error:
        raise StorageError(0, "InvalidBucket", f"{error}.") from error
