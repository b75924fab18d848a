"""HTTP of WHIP: bodies of the right type, and paths that are none."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cloudslice.http_problems import RefusedError, problem_response, read_body

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
_BODY_LIMIT = 64 * 1024
_PATHS = "an endpoint is /whip/{SdkAppId}/{RoomIdType}/{RoomId}/{UserId}"


async def read_text(request: Request, media_type: str, timeout_s: float) -> str:
    """The body of a request, which must be of that media type; raises RefusedError."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type must be {media_type}",
            Accept_Post=SDP,
            Accept_Patch=FRAGMENT,
        )
    try:
        return (await read_body(request, _BODY_LIMIT, timeout_s)).decode()
    except UnicodeDecodeError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is not UTF-8") from None


async def unroutable_response(_request: Request, error: Exception) -> Response:
    """The answer to a path or method that is none of ours."""
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    detail = _PATHS if status is HTTPStatus.NOT_FOUND else "see the Allow header"
    return problem_response(status, detail, error.headers)
