"""Small requests over HTTP that are no calls of the API: bodies read within limits, and refusals as
problems (RFC 9457)."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response


class RefusedError(Exception):
    """A request that is answered with a problem; the text says which.

    Args:
        status: of the answer.
        detail: what was wrong.
        headers: of the answer, with ``_`` for each ``-`` of their names.
    """

    def __init__(self, status: HTTPStatus, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


async def read_body(request: Request, limit: int, timeout_s: float) -> bytes:
    """The body of a request.

    Raises:
        RefusedError: it has more than `limit` bytes, takes longer than `timeout_s`, or is cut off.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise RefusedError(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {limit} bytes"
                    )
    except TimeoutError:
        raise RefusedError(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not arrive within {timeout_s:g} s",
            Connection="close",
        ) from None
    except ClientDisconnect:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the request was cut off") from None
    return bytes(body)


async def refusal_response(_request: Request, error: Exception) -> Response:
    """The answer to a RefusedError; for Starlette's `exception_handlers`."""
    if not isinstance(error, RefusedError):
        raise error
    return problem_response(error.status, str(error), error.headers)


def problem_response(
    status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that says what was wrong."""
    return JSONResponse(
        {"title": status.phrase, "status": int(status), "detail": detail},
        status,
        headers,
        "application/problem+json",
    )
