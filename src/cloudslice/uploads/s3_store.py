"""A bucket behind the S3 protocol: one PutObject for each object.

What proves that an object is stored is in docs/decisions/storage.md.
"""

import asyncio
import base64
import hashlib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import quote

import aiohttp
from yarl import URL

from cloudslice.settings.storage_settings import VendorSettings
from cloudslice.slices import Bucket
from cloudslice.uploads.endpoints import S3Endpoint, encode_key, object_url
from cloudslice.uploads.objects import Content, StoredObject
from cloudslice.uploads.sigv4 import Signer
from cloudslice.uploads.storage_errors import (
    Answer,
    StorageError,
    explain_answer,
    explain_silence,
)
from cloudslice.uploads.store_client import Request, StoreClient

_NO_CONTENT_SHA256 = hashlib.sha256().hexdigest()
_NOBODY_MAY_LOOK = frozenset({401, 403, 405, 501})
"""Answers to HEAD of a key that may only write, or of a store that has no HEAD."""
_SIGNS_OF_A_STORE = (
    "x-amz-request-id",
    "x-amz-id-2",
    "x-amz-version-id",
    "x-cos-request-id",
    "x-oss-request-id",
)


class S3Store:
    """An `ObjectStore` behind the S3 protocol."""

    def __init__(
        self,
        client: StoreClient,
        endpoint: S3Endpoint,
        bucket: Bucket,
        settings: VendorSettings,
        tls: ssl.SSLContext | bool,
        timeout_s: float,
    ) -> None:
        """
        Args:
            bucket: has the key pair.
            tls: how the store's certificate is checked; True: by the system's authorities.
            timeout_s: seconds that `put` may take.

        Raises:
            ValueError: the endpoint is no URL.
        """
        url = URL(endpoint.url)
        self._client = client
        self._endpoint = endpoint
        self._origin = str(url.origin())
        self._path = url.raw_path.rstrip("/")
        if not endpoint.virtual_hosted:
            self._path += f"/{quote(endpoint.bucket, safe='')}"
        self._signer = Signer(bucket.access_key, bucket.secret_key, endpoint.region)
        self._settings = settings
        self._tls = tls
        self._timeout_s = timeout_s
        token = settings.session_token.get_secret_value()
        self._hide = (token, bucket.secret_key, bucket.access_key)
        self._every_request = {"host": url.host_port_subcomponent or ""}
        if token:
            self._every_request["x-amz-security-token"] = token
        self._every_put = _fixed_headers(settings)

    def url(self, key: str) -> str:
        return object_url(self._endpoint, key)

    async def put(self, item: StoredObject) -> None:
        headers = {
            "content-type": item.content_type,
            **{f"x-amz-meta-{name}": value for name, value in item.metadata.items()},
            **self._every_put,
            **_CHECKSUMS[self._settings.checksum](item.content),
        }
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._ask("PUT", item.key, headers, item.content)
                if not answer.is_success:
                    raise explain_answer(answer, self._hide)
                if not _is_proven(answer, item.content):
                    await self._look_for(item)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise explain_silence(error, self._hide) from error

    async def _look_for(self, item: StoredObject) -> None:
        """Whether the store has the object: a web site, too, answers 200 to anything."""
        answer = await self._ask("HEAD", item.key, {})
        if answer.status in _NOBODY_MAY_LOOK:
            return
        if answer.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            raise StorageError(
                answer.status,
                f"Http{answer.status}",
                "The store did not say whether it has the object.",
            )
        headers, content = answer.headers, item.content
        is_same = (
            headers.get("Content-Length") == str(len(content.data))
            or headers.get("x-amz-meta-sha256") == content.sha256
        )
        if answer.status != HTTPStatus.OK or not is_same:
            raise StorageError(
                0, "NotStored", "The store answered with success, and does not have the object."
            )

    async def _ask(
        self, method: str, key: str, headers: dict[str, str], content: Content | None = None
    ) -> Answer:
        path = f"{self._path}/{encode_key(key)}"
        signed = self._signer.sign(
            method,
            path,
            self._every_request | headers,
            content_sha256=content.sha256 if content else _NO_CONTENT_SHA256,
            now=datetime.now(UTC),
        )
        url = URL(f"{self._origin}{path}", encoded=True)
        data = content.data if content else None
        return await self._client.ask(Request(method, url, signed, data, self._tls))


def _fixed_headers(settings: VendorSettings) -> dict[str, str]:
    """What the settings add to each PutObject."""
    values = {
        "x-amz-server-side-encryption": settings.encryption,
        "x-amz-server-side-encryption-aws-kms-key-id": settings.kms_key_id,
        "x-amz-acl": settings.acl,
    }
    return {name: value for name, value in values.items() if value}


def _is_proven(answer: Answer, content: Content) -> bool:
    """Whether only a store that has the object can have answered so."""
    etag = answer.headers.get("ETag", "").strip('"').lower()
    return etag == content.md5.hex() or any(name in answer.headers for name in _SIGNS_OF_A_STORE)


_CHECKSUMS: dict[str, Callable[[Content], dict[str, str]]] = {
    "none": lambda _content: {},
    "Content-MD5": lambda content: {"content-md5": base64.b64encode(content.md5).decode()},
    "x-amz-checksum-sha256": lambda content: {
        "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(content.sha256)).decode()
    },
}
