"""multipart/form-data (RFC 7578) as the official clients send it.

A general parser streams parts to files; here the whole body is in memory within its limit, and the
signature needs its bytes anyway.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(r';\s*name=(?:"([^"]*)"|([^\s;"]+))', re.IGNORECASE)
_MAX_HEADER_BYTES = 8 * 1024


class MultipartError(ValueError):
    """The body is not multipart/form-data."""


@dataclass(frozen=True, slots=True)
class Part:
    """One field of the form."""

    name: str
    media_type: str
    """The part's own Content-Type without parameters, in lower case; empty if it has none."""
    content: bytes


def parse_multipart(content_type: str, body: bytes) -> Iterator[Part]:
    """The parts of `body`, in order; none if it is empty, as clients without parameters send it.

    Raises:
        MultipartError: there is no boundary, or the body does not keep to it.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise MultipartError("the Content-Type names no boundary")
    if not body:
        return
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1")
    # The first delimiter has no line break before it where there is no preamble.
    position = (b"\r\n" + body).find(delimiter)
    if position < 0:
        raise MultipartError("the boundary is not in the body")
    position += len(delimiter) - 2
    while not body.startswith(b"--", position):
        line_end = body.find(b"\r\n", position)
        if line_end < 0 or body[position:line_end].strip(b" \t"):
            raise MultipartError("a boundary is not followed by a line break")
        end = body.find(delimiter, line_end)
        if end < 0:
            raise MultipartError("the last boundary is missing")
        yield _parse_part(body[line_end + 2 : end])
        position = end + len(delimiter)


def _parse_part(data: bytes) -> Part:
    head_end = data.find(b"\r\n\r\n", 0, _MAX_HEADER_BYTES)
    if head_end < 0:
        raise MultipartError("a part has no headers")
    try:
        lines = data[:head_end].decode("utf-8").split("\r\n")
    except UnicodeDecodeError as error:
        raise MultipartError("a part's headers are not UTF-8") from error
    headers = {name.strip().lower(): value for name, _, value in (s.partition(":") for s in lines)}
    disposition = headers.get("content-disposition", "")
    name = _NAME.search(disposition)
    if name is None or disposition.partition(";")[0].strip().lower() != "form-data":
        raise MultipartError("a part has no `Content-Disposition: form-data` with a name")
    return Part(
        name=name[1] if name[1] is not None else name[2],
        media_type=headers.get("content-type", "").partition(";")[0].strip().lower(),
        content=data[head_end + 4 :],
    )
