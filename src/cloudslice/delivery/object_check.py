"""Asks a store whether it has an object: HEAD by a signed URL, and no redirect is followed.

Not by obstore: its client follows redirects, and what another page answers says nothing of the
object. It also fails where a header is odd that nobody needs.
"""

import asyncio
from http import HTTPStatus

import aiohttp
from yarl import URL

from cloudslice.delivery.storage_errors import StorageError
from cloudslice.http_client import HeadFirstConnector, find_proxy

_NOBODY_MAY_LOOK = frozenset({401, 403, 405, 501})
"""Answers to HEAD of a key that may only write, or of a store that has no HEAD."""


async def check_object(url: str, size: int, sha256: str | None, timeout_s: float) -> None:
    """Make sure that an object is there, as far as the key may look.

    Args:
        url: of the object, signed for HEAD.
        size: its size in bytes.
        sha256: its metadata of that name; proves it where the store shows no size.
        timeout_s: the store has so long to answer.

    Raises:
        StorageError: it is not there, or the store does not say.
    """
    target = URL(url, encoded=True)
    try:
        async with (
            asyncio.timeout(timeout_s),
            aiohttp.ClientSession(
                connector=HeadFirstConnector(), cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            session.head(
                target,
                # Who compresses an answer need not tell its size.
                headers={"Accept-Encoding": "identity"},
                proxy=find_proxy(target),
                allow_redirects=False,
            ) as response,
        ):
            status = response.status
            found_size = response.content_length
            found_sha256 = response.headers.get("x-amz-meta-sha256")
    except TimeoutError as error:
        raise StorageError(0, "Timeout", "The store did not answer in time.") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # Not its text, which may hold the signed URL.
        reason = f"The store cannot be reached: {type(error).__name__}."
        raise StorageError(0, "ConnectionFailed", reason) from error
    if status in _NOBODY_MAY_LOOK:
        return
    if status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
        raise StorageError(
            status, f"Http{status}", "The store did not say whether it has the object."
        )
    is_same = found_size == size or (sha256 is not None and found_sha256 == sha256)
    if status != HTTPStatus.OK or not is_same:
        raise StorageError(
            0, "NotStored", "The store answered with success, and does not have the object."
        )
