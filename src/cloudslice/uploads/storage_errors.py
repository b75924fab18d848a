"""Why an object was not stored, read from what the store answered or from its silence."""

import errno
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from http import HTTPStatus
from math import ceil

import aiohttp
from yarl import URL

_REFUSALS = frozenset({400, 401, 403, 404, 405, 411, 412, 501})
"""Besides redirects: answers that repeating at once will not change. The others may pass."""
_PASSING_CODES = frozenset({"RequestTimeout", "IncompleteBody"})
"""S3's words, with status 400, for what befell the connection."""
ANOTHER_NODES = "AnotherNodes"
"""Our word for a slice that is not this node's to store (`cluster.fence`)."""
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_RETRY_AFTER_MAX_S = 3600
_TEXT_LIMIT = 500


class StorageError(Exception):
    """An object was not stored.

    Attributes:
        status: HTTP status of the store's answer, 0 if there was none.
        code: the store's error code (``AccessDenied``), or ours where there is none.
        text: what the store said, or what we say; never a credential.
        retry_after_s: seconds that the store asks to wait, an hour at most. None: it did not say.
    """

    def __init__(
        self, status: int, code: str, text: str, *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(f"{code}: {text}")
        self.status = status
        self.code = code
        self.text = text
        self.retry_after_s = retry_after_s

    @property
    def refused(self) -> bool:
        """Whether the store was reached and said no: somebody has to put something right."""
        is_refusal = 300 <= self.status < 400 or self.status in _REFUSALS
        return is_refusal and self.code not in _PASSING_CODES


@dataclass(frozen=True, slots=True)
class Answer:
    """A store's answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    """The beginning of what explains a failure; of a success, nothing."""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def gave_up_waiting(self) -> bool:
        """Whether the store says that the connection was idle for too long."""
        return self.status == HTTPStatus.REQUEST_TIMEOUT or (
            self.status == HTTPStatus.BAD_REQUEST and _element("Code", self) == "RequestTimeout"
        )


def explain_answer(answer: Answer, hide: tuple[str, ...]) -> StorageError:
    """The error that an answer tells of, in the store's own words.

    Args:
        answer: other than a success.
        hide: texts that must not be shown.
    """
    code = _show(_element("Code", answer), hide) or f"Http{answer.status}"
    text = _show(_element("Message", answer), hide) or "The store gave no reason."
    place = _show(_place(answer), hide)
    return StorageError(
        answer.status,
        code,
        f"{text} ({place})" if place else text,
        retry_after_s=_retry_after_s(answer),
    )


def explain_silence(error: Exception, hide: tuple[str, ...]) -> StorageError:
    """The error that there was no answer, or none that can be read.

    Args:
        error: what aiohttp raised.
        hide: texts that must not be shown.
    """
    if isinstance(error, TimeoutError):
        return StorageError(0, "Timeout", "The store did not answer in time.")
    reason = _show(_reason(error), hide).rstrip(".")
    if not isinstance(error, aiohttp.ClientError | OSError):
        # As of a key with a line break in it, which no header can carry.
        return StorageError(0, "InvalidRequest", f"The request cannot be made: {reason}.")
    return StorageError(0, "ConnectionFailed", f"The store cannot be reached: {reason}.")


def _element(name: str, answer: Answer) -> str:
    """The text of an XML element, by pattern: the body may be cut off, and is a stranger's."""
    found = re.search(rf"<{name}>([^<]+)</{name}>", answer.body.decode(errors="replace"))
    return unescape(found[1]) if found else ""


def _place(answer: Answer) -> str:
    """Where the store says that the bucket is: what to put right after a redirect."""
    headers = answer.headers
    region = headers.get("x-amz-bucket-region") or _element("Region", answer)
    endpoint = _element("Endpoint", answer) or _origin(headers.get("Location", ""))
    parts = [("region", region), ("endpoint", endpoint)]
    return ", ".join(f"{what} {text}" for what, text in parts if text)


def _origin(location: str) -> str:
    """Where a redirect leads, without its query, which may hold anything."""
    try:
        url = URL(location)
        return str(url.origin()) if url.absolute else ""
    except ValueError:
        return ""


def _retry_after_s(answer: Answer) -> int | None:
    """Seconds or a date (RFC 9110, 10.2.3)."""
    text = answer.headers.get("Retry-After", "") if answer.status in _BUSY else ""
    if re.fullmatch("[0-9]{1,9}", text):
        return min(int(text), _RETRY_AFTER_MAX_S)
    try:
        date = parsedate_to_datetime(text).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    wait_s = ceil((date - datetime.now(UTC)).total_seconds())
    return min(max(wait_s, 0), _RETRY_AFTER_MAX_S)


def _reason(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return _reason(error.certificate_error)
        case ssl.SSLCertVerificationError():
            return f"certificate verify failed: {error.verify_message}"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ssl.SSLError):
            return _reason(error.os_error)
        case ssl.SSLError():
            return f"TLS: {(error.reason or 'failed').lower().replace('_', ' ')}"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered {error.status}"
        case aiohttp.ClientResponseError():
            # Its own text has the URL.
            return f"not HTTP: {error.message}" if error.message else "not HTTP"
        case OSError(errno=int(number)) if number in errno.errorcode:
            return os.strerror(number)
        case OSError() if error.strerror:
            return error.strerror
    return str(error) or type(error).__name__


def _show(text: str, hide: tuple[str, ...]) -> str:
    """A stranger's text as one line that can be shown and encoded."""
    for secret in hide:
        if secret:
            text = text.replace(secret, "***")
    printable = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(printable.split())[:_TEXT_LIMIT]
