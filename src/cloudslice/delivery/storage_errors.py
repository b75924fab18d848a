"""Why an object was not stored, read from the errors of obstore."""

import re
from html import unescape
from http import HTTPStatus

_REFUSALS = frozenset({301, 307, 400, 401, 403, 404, 405, 411, 412, 501})
"""Answers that repeating at once will not change; what others there are may pass."""


_HANG_UP = re.compile(
    r"\blegacy::Error\(\s*(?:SendRequest|Canceled|ChannelClosed),"
    r"[^\"]*\b(?:IncompleteMessage|ConnectionReset|ConnectionAborted|BrokenPipe|UnexpectedEof|Canceled)\b"
)
"""In obstore's debug text: sending had begun, and the connection ended without an answer."""


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


class HangUpError(StorageError):
    """The store closed the connection before it answered, or answered with 408 to say so.

    As a rule an idle connection that the store had given up: a new one is worth a try at once.
    """


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
    failure = HangUpError if status == HTTPStatus.REQUEST_TIMEOUT else StorageError
    return failure(
        status,
        unescape(code[1]) if code else f"Http{status}",
        _conceal(unescape(text[1]), hide) if text else "The store gave no reason.",
    )


def is_success(error: Exception) -> bool:
    """Whether obstore raised `error` for an answer 2xx that says too little, as without an ETag.

    For any other answer its text begins with the request that failed, so that nothing that a
    server sends can look like this.
    """
    return str(error).startswith("Generic S3 error: Unable to extract metadata from headers: ")


def _unanswered(summary: str, detail: str, hide: tuple[str, ...]) -> StorageError:
    kind = re.search(r"\bkind: (Timeout|Connect|Request|Decode|Interrupted)\b", detail)
    if kind is None:
        return StorageError(0, "InvalidRequest", _conceal(summary.strip(), hide))
    if kind[1] == "Timeout" or "TimedOut" in detail:
        return StorageError(0, "Timeout", "The store did not answer in time.")
    reason = re.search(r'\b(?:message|error): "([^"]+)"', detail)
    said = f": {_conceal(reason[1], hide)}" if reason else ""
    failure = HangUpError if _HANG_UP.search(detail) else StorageError
    return failure(0, "ConnectionFailed", f"The store cannot be reached{said}.")


def _conceal(text: str, hide: tuple[str, ...]) -> str:
    for secret in hide:
        if secret:
            text = text.replace(secret, "***")
    return text
