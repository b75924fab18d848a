"""HTTP of WHIP: its paths, bodies of the right type, and answers that any node can give."""

from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cloudslice.config import Settings
from cloudslice.faults import Faults
from cloudslice.http_problems import RefusedError, problem_response, read_body, refusal_response

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
_BODY_LIMIT = 64 * 1024
_PATHS = "an endpoint is /whip/{SdkAppId}/{RoomIdType}/{RoomId}/{UserId}"
_PUBLISH_PATH = "/{sdk_app_id}/{room_id_type}/{room_id}/{user_id}"
_SESSION_PATH = _PUBLISH_PATH + "/{publication_id}"

Handler = Callable[[Request], Awaitable[Response]]


def make_app(at_endpoint: Handler, at_session: Handler, faults: Faults) -> Starlette:
    """The application to mount at ``/whip``.

    Args:
        at_endpoint: takes POST and OPTIONS of anchors' endpoints.
        at_session: takes DELETE, PATCH and OPTIONS of sessions.
        faults: takes what nobody foresaw.
    """
    fence = partial(_fenced, faults)
    app = Starlette(
        routes=[
            # Some clients end the URL that they are given with a slash.
            *(
                Route(path + slash, handler, methods=methods)
                for slash in ("", "/")
                for path, handler, methods in (
                    (_PUBLISH_PATH, fence(at_endpoint), ["POST", "OPTIONS"]),
                    (_SESSION_PATH, fence(at_session), ["DELETE", "PATCH", "OPTIONS"]),
                )
            )
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["POST", "PATCH", "DELETE", "OPTIONS"],
                allow_headers=["*"],
                expose_headers=["Location", "Link", "ETag", "Accept-Patch", "Retry-After"],
            )
        ],
        exception_handlers={RefusedError: refusal_response, HTTPException: _unroutable_response},
    )
    app.router.redirect_slashes = False
    return app


def options_response(settings: Settings) -> Response:
    """The answer to OPTIONS."""
    headers = {"Accept-Post": SDP, "Accept-Patch": FRAGMENT, **ice_server_links(settings)}
    return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)


def ice_server_links(settings: Settings) -> dict[str, str]:
    """The headers that tell of STUN and TURN servers (RFC 9725, 4.6)."""
    links = [f'<{url}>; rel="ice-server"' for url in settings.rtc.ice_servers]
    return {"Link": ", ".join(links)} if links else {}


def redirect_response(request: Request, base_url: str, path: str) -> Response:
    """The same request belongs to another node (RFC 9725, 4.5).

    Args:
        request: which query is kept.
        base_url: of that node.
        path: of the endpoint.
    """
    query = f"?{request.url.query}" if request.url.query else ""
    return Response(
        status_code=HTTPStatus.TEMPORARY_REDIRECT, headers={"Location": f"{base_url}{path}{query}"}
    )


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


async def _unroutable_response(_request: Request, error: Exception) -> Response:
    """The answer to a path or method that is none of ours."""
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    detail = _PATHS if status is HTTPStatus.NOT_FOUND else "see the Allow header"
    return problem_response(status, detail, error.headers)


def _fenced(faults: Faults, handler: Handler) -> Handler:
    """The same handler, with an answer to what nobody foresaw."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except RefusedError:
            raise
        except Exception as error:
            faults.caught(error, method=request.method)
            raise RefusedError(
                HTTPStatus.INTERNAL_SERVER_ERROR, "something broke here; the log says more"
            ) from error

    return handle
