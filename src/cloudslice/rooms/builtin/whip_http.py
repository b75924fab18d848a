"""HTTP of WHIP: bodies that are read, and requests that are refused."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
_BODY_LIMIT = 64 * 1024
_PATHS = "an endpoint is /whip/{SdkAppId}/{RoomIdType}/{RoomId}/{UserId}"


class RefusedError(Exception):
    """A request that is answered with an error (RFC 9457)."""

    def __init__(self, status: HTTPStatus, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


async def read_body(request: Request, media_type: str, timeout_s: float) -> str:
    """The body of a request, which must be of that media type; raises RefusedError."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type must be {media_type}",
            Accept_Post=SDP,
            Accept_Patch=FRAGMENT,
        )
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _BODY_LIMIT:
                    raise RefusedError(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {_BODY_LIMIT} bytes"
                    )
        return body.decode()
    except TimeoutError:
        raise RefusedError(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not arrive within {timeout_s:g} s",
            Connection="close",
        ) from None
    except ClientDisconnect:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the request was cut off") from None
    except UnicodeDecodeError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is not UTF-8") from None


async def problem_response(_request: Request, error: Exception) -> Response:
    """The answer to a refused request (RFC 9457)."""
    if not isinstance(error, RefusedError):
        raise error
    return _problem(error.status, str(error), error.headers)


async def unroutable_response(_request: Request, error: Exception) -> Response:
    """The answer to a path or method that is none of ours."""
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    detail = _PATHS if status is HTTPStatus.NOT_FOUND else "see the Allow header"
    return _problem(status, detail, error.headers)


def _problem(status: HTTPStatus, detail: str, headers: Mapping[str, str] | None) -> Response:
    return JSONResponse(
        {"title": status.phrase, "status": int(status), "detail": detail},
        status,
        headers,
        "application/problem+json",
    )
