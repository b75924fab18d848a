"""WHIP (RFC 9725): how anchors come into a builtin room, and leave it, by HTTP."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cloudslice.clock import Clock
from cloudslice.config import AppSettings, Settings
from cloudslice.faults import Faults
from cloudslice.identity.private_map_key import Privilege, verify_private_map_key
from cloudslice.identity.user_sig import IdentityError, verify_user_sig
from cloudslice.ids import (
    ROOM_ID_RULES,
    USER_ID_RULE,
    RoomIdType,
    RoomKey,
    is_room_id,
    is_user_id,
    whip_path,
)
from cloudslice.media.tracks import TrackKind
from cloudslice.rooms.builtin.connecting import Scope, TooManyConnectingError
from cloudslice.rooms.builtin.rooms import BuiltinRooms, Publication, UserIdTakenError
from cloudslice.rtp.answer import candidate_lines
from cloudslice.rtp.ice import IceCredentials
from cloudslice.rtp.sdp import Offer, SdpError, UnusableOfferError, parse_offer
from cloudslice.rtp.session import CloseReason

_SDP = "application/sdp"
_FRAGMENT = "application/trickle-ice-sdpfrag"
_BODY_LIMIT = 64 * 1024
_RETRY_AFTER_S = "5"
"""Sessions connect within a second or two, unless they never do."""
_APP_ID = re.compile("[0-9]{1,10}")
_PUBLISH_PATH = "/{sdk_app_id}/{room_id_type}/{room_id}/{user_id}"
_SESSION_PATH = _PUBLISH_PATH + "/{publication_id}"
_SEND_PRIVILEGES = {
    TrackKind.AUDIO: Privilege.SEND_AUDIO,
    TrackKind.VIDEO: Privilege.SEND_VIDEO,
    TrackKind.AUX: Privilege.SEND_AUX,
}


class _RefusedError(Exception):
    """A request that is answered with an error (RFC 9457)."""

    def __init__(self, status: HTTPStatus, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def whip_app(settings: Settings, rooms: BuiltinRooms, clock: Clock) -> Starlette:
    """The application to mount at ``/whip``."""
    endpoint = _Whip(settings, rooms, clock)
    fence = partial(_fenced, rooms.faults)
    return Starlette(
        routes=[
            Route(_PUBLISH_PATH, fence(endpoint.publish), methods=["POST"]),
            Route(_PUBLISH_PATH, endpoint.options, methods=["OPTIONS"]),
            Route(_SESSION_PATH, fence(endpoint.leave), methods=["DELETE"]),
            Route(_SESSION_PATH, fence(endpoint.patch), methods=["PATCH"]),
            Route(_SESSION_PATH, endpoint.options, methods=["OPTIONS"]),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["POST", "PATCH", "DELETE", "OPTIONS"],
                allow_headers=["Authorization", "Content-Type", "If-Match", "X-Private-Map-Key"],
                expose_headers=["Location", "Link", "ETag", "Accept-Patch", "Retry-After"],
            )
        ],
        exception_handlers={_RefusedError: _problem_response},
    )


_Handler = Callable[[Request], Awaitable[Response]]


def _fenced(faults: Faults, handler: _Handler) -> _Handler:
    """The same handler, with an answer to what nobody foresaw."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except _RefusedError:
            raise
        except Exception as error:
            faults.caught(error, method=request.method)
            raise _RefusedError(
                HTTPStatus.INTERNAL_SERVER_ERROR, "something broke here; the log says more"
            ) from error

    return handle


class _Whip:
    def __init__(self, settings: Settings, rooms: BuiltinRooms, clock: Clock) -> None:
        self._settings = settings
        self._rooms = rooms
        self._clock = clock
        self._turn = asyncio.Lock()
        """Held while an offer is read and answered, which takes milliseconds."""

    async def publish(self, request: Request) -> Response:
        app, room, user_id = self._target(request)
        self._check_user_sig(request, app, user_id)
        text = await _body(request, _SDP)
        async with self._turn:
            await asyncio.sleep(0)  # between two offers, what else is due is done: media is read
            publication, answer = self._take(request, app, room, user_id, text)
        return Response(
            answer,
            HTTPStatus.CREATED,
            {
                "Location": _location(publication),
                "ETag": _etag(publication),
                "Accept-Patch": _FRAGMENT,
                **self._ice_server_links(),
            },
            _SDP,
        )

    def _take(
        self, request: Request, app: AppSettings, room: RoomKey, user_id: str, text: str
    ) -> tuple[Publication, str]:
        try:
            self._rooms.check_offer(room, user_id)
            offer = _parse(text)
            self._check_private_map_key(request, app, room, user_id, offer)
            return self._rooms.publish(room, user_id, offer)
        except UserIdTakenError:
            raise _RefusedError(
                HTTPStatus.CONFLICT, f"a robot of UserId {user_id} is in the room"
            ) from None
        except TooManyConnectingError as error:
            is_ours = error.scope is Scope.NODE
            status = HTTPStatus.SERVICE_UNAVAILABLE if is_ours else HTTPStatus.TOO_MANY_REQUESTS
            raise _RefusedError(status, str(error), Retry_After=_RETRY_AFTER_S) from None

    async def leave(self, request: Request) -> Response:
        self._rooms.end([self._publication(request)], CloseReason.LEFT)
        return Response()

    async def patch(self, request: Request) -> Response:
        """Trickle ICE and ICE restarts (RFC 9725, 4.3).

        An ICE-lite side needs nobody's candidates, so that only a restart has an effect. New
        credentials make one: some clients send all their candidates with `If-Match: *`.
        """
        publication = self._publication(request)
        fragment = await _body(request, _FRAGMENT)
        condition = request.headers.get("if-match")
        if condition is None:
            raise _RefusedError(HTTPStatus.PRECONDITION_REQUIRED, "If-Match is missing")
        if not {each.strip() for each in condition.split(",")} & {"*", _etag(publication)}:
            raise _RefusedError(
                HTTPStatus.PRECONDITION_FAILED, "the ICE session is another one now"
            )
        if condition.strip() != "*":
            return Response(status_code=HTTPStatus.NO_CONTENT)
        credentials = _fragment_credentials(fragment)
        if credentials == publication.session.remote_ice:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        publication.session.restart_ice(credentials)
        self._rooms.restart_ice(publication)
        return Response(
            _restart_fragment(publication, self._rooms.candidates),
            headers={"ETag": _etag(publication)},
            media_type=_FRAGMENT,
        )

    async def options(self, _request: Request) -> Response:
        return Response(
            status_code=HTTPStatus.NO_CONTENT,
            headers={"Accept-Post": _SDP, "Accept-Patch": _FRAGMENT, **self._ice_server_links()},
        )

    def _target(self, request: Request) -> tuple[AppSettings, RoomKey, str]:
        parameters = request.path_params
        app_text, type_text = parameters["sdk_app_id"], parameters["room_id_type"]
        app = self._settings.app(int(app_text)) if _APP_ID.fullmatch(app_text) else None
        if app is None or app.rooms != "builtin":
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"SdkAppId {app_text} has no rooms here")
        if type_text not in ("0", "1"):
            raise _RefusedError(HTTPStatus.NOT_FOUND, "RoomIdType must be 0 (string) or 1 (number)")
        room = RoomKey(app.sdk_app_id, parameters["room_id"], RoomIdType(int(type_text)))
        if not is_room_id(room):
            rule = ROOM_ID_RULES[room.room_id_type]
            raise _RefusedError(
                HTTPStatus.NOT_FOUND, f"RoomId must be {rule} for RoomIdType {type_text}"
            )
        if not is_user_id(parameters["user_id"]):
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"UserId must be {USER_ID_RULE}")
        return app, room, parameters["user_id"]

    def _check_user_sig(self, request: Request, app: AppSettings, user_id: str) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "Authorization must be `Bearer <UserSig>`",
                WWW_Authenticate="Bearer",
            )
        try:
            verify_user_sig(
                token.strip(),
                app.secret_key.get_secret_value(),
                app.sdk_app_id,
                user_id,
                now_s=self._clock.utc_ms() / 1000,
            )
        except IdentityError as error:
            raise _RefusedError(
                HTTPStatus.UNAUTHORIZED,
                f"the UserSig is refused: {error}",
                WWW_Authenticate='Bearer error="invalid_token"',
            ) from error

    def _check_private_map_key(
        self, request: Request, app: AppSettings, room: RoomKey, user_id: str, offer: Offer
    ) -> None:
        token = request.headers.get("x-private-map-key")
        if token is None:
            if app.private_map_key_required:
                raise _RefusedError(HTTPStatus.FORBIDDEN, "X-Private-Map-Key is missing")
            return
        needed = Privilege.ENTER_ROOM
        if not self._rooms.exists(room):
            needed |= Privilege.CREATE_ROOM
        for plan in offer.media:
            needed |= _SEND_PRIVILEGES[plan.kind]
        try:
            verify_private_map_key(
                token,
                app.secret_key.get_secret_value(),
                room,
                user_id,
                needed,
                now_s=self._clock.utc_ms() / 1000,
            )
        except IdentityError as error:
            raise _RefusedError(
                HTTPStatus.FORBIDDEN, f"the PrivateMapKey is refused: {error}"
            ) from error

    def _publication(self, request: Request) -> Publication:
        publication = self._rooms.publication(request.path_params["publication_id"])
        if publication is None:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "no such session, or it has ended")
        return publication

    def _ice_server_links(self) -> dict[str, str]:
        links = [f'<{url}>; rel="ice-server"' for url in self._settings.rtc.ice_servers]
        return {"Link": ", ".join(links)} if links else {}


async def _body(request: Request, media_type: str) -> str:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise _RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type must be {media_type}",
            Accept_Post=_SDP,
            Accept_Patch=_FRAGMENT,
        )
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _BODY_LIMIT:
                raise _RefusedError(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {_BODY_LIMIT} bytes"
                )
        return body.decode()
    except ClientDisconnect:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "the request was cut off") from None
    except UnicodeDecodeError:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "the body is not UTF-8") from None


def _parse(text: str) -> Offer:
    try:
        return parse_offer(text)
    except UnusableOfferError as error:
        raise _RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    except SdpError as error:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error


def _fragment_credentials(fragment: str) -> IceCredentials:
    values = {
        name: value
        for name, separator, value in (
            line.strip().partition(":") for line in fragment.splitlines()
        )
        if separator
    }
    ufrag, password = values.get("a=ice-ufrag"), values.get("a=ice-pwd")
    if not ufrag or not password:
        raise _RefusedError(
            HTTPStatus.BAD_REQUEST, "the fragment has no a=ice-ufrag or no a=ice-pwd"
        )
    return IceCredentials(ufrag, password)


def _restart_fragment(publication: Publication, candidates: list[tuple[str, int]]) -> str:
    session = publication.session
    first = session.offer.media[0]
    lines = [
        "a=ice-lite",
        f"a=ice-ufrag:{session.ice.ufrag}",
        f"a=ice-pwd:{session.ice.password}",
        f"m={'audio' if first.kind is TrackKind.AUDIO else 'video'} 9 UDP/TLS/RTP/SAVPF 0",
        f"a=mid:{first.mid}",
        *candidate_lines(candidates),
    ]
    return "\r\n".join(lines) + "\r\n"


def _location(publication: Publication) -> str:
    endpoint = whip_path(publication.room, publication.user_id)
    return f"{endpoint}/{publication.publication_id}"


def _etag(publication: Publication) -> str:
    return f'"{publication.session.ice.ufrag}"'


async def _problem_response(_request: Request, error: Exception) -> Response:
    if not isinstance(error, _RefusedError):
        raise error
    return JSONResponse(
        {"title": error.status.phrase, "status": int(error.status), "detail": str(error)},
        error.status,
        error.headers,
        "application/problem+json",
    )
