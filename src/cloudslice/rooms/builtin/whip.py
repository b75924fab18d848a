"""WHIP (RFC 9725): how anchors come into a builtin room, and leave it, by HTTP."""

import asyncio
import re
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from cloudslice.clock import Clock
from cloudslice.config import AppSettings, Settings
from cloudslice.http_problems import RefusedError
from cloudslice.ids import RoomKey, whip_path
from cloudslice.rooms.builtin.connecting import Scope, TooManyConnectingError
from cloudslice.rooms.builtin.publication import Publication
from cloudslice.rooms.builtin.rooms import BuiltinRooms, UserIdTakenError
from cloudslice.rooms.builtin.whip_admission import (
    check_private_map_key,
    check_user_sig,
    find_target,
    needed_privileges,
)
from cloudslice.rooms.builtin.whip_http import (
    FRAGMENT,
    SDP,
    ice_server_links,
    make_app,
    options_response,
    read_text,
    redirect_response,
)
from cloudslice.rooms.builtin.whip_places import NoPlaceError, OnePlace, RoomPlaces
from cloudslice.webrtc.accepting import ReceivePolicy, accept_offer
from cloudslice.webrtc.candidates import IceCredentials
from cloudslice.webrtc.connection_user import CloseReason
from cloudslice.webrtc.ice_fragment import parse_fragment, write_fragment
from cloudslice.webrtc.negotiation import Negotiation, UnusableOfferError
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.remote_description import RemoteDescription, parse_remote_description
from cloudslice.webrtc.sdp import SdpError

_RETRY_AFTER_S = "5"
"""Sessions connect within a second or two, unless they never do."""
_PLACE_RETRY_S = "1"
_PREFIX = re.compile("(/[A-Za-z0-9._~-]+)*")


def whip_app(
    settings: Settings, rooms: BuiltinRooms, clock: Clock, places: RoomPlaces | None = None
) -> Starlette:
    """The application to mount at ``/whip``.

    Args:
        settings: the apps.
        rooms: of this node.
        clock: for UserSigs.
        places: says which rooms are another node's; None: none is.
    """
    endpoint = _Whip(settings, rooms, clock, places or OnePlace())
    return make_app(endpoint.at_endpoint, endpoint.at_session, rooms.faults)


class _Whip:
    def __init__(
        self, settings: Settings, rooms: BuiltinRooms, clock: Clock, places: RoomPlaces
    ) -> None:
        self._settings = settings
        self._places = places
        self._body_timeout_s = settings.http.body_timeout_s
        self._rooms = rooms
        self._clock = clock
        self._turn = asyncio.Lock()
        """Held while an offer is read and answered, which takes milliseconds."""

    async def at_endpoint(self, request: Request) -> Response:
        """A request to an anchor's WHIP endpoint."""
        if request.method == "OPTIONS":
            return options_response(self._settings)
        return await self._publish(request)

    async def at_session(self, request: Request) -> Response:
        """A request to a WHIP session."""
        if request.method == "OPTIONS":
            return options_response(self._settings)
        return await (self._leave(request) if request.method == "DELETE" else self._patch(request))

    async def _publish(self, request: Request) -> Response:
        app, room, user_id = find_target(request, self._settings)
        check_user_sig(request, app, user_id, self._now_s())
        text = await read_text(request, SDP, self._body_timeout_s)
        try:
            async with self._places.holding(room) as url:
                if url:
                    return redirect_response(request, url, whip_path(room, user_id))
                async with self._turn:
                    await asyncio.sleep(0)  # between two offers, what else is due is done
                    publication, answer = self._take(request, app, room, user_id, text)
        except NoPlaceError as error:
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, str(error), Retry_After=_PLACE_RETRY_S
            ) from error
        return Response(
            answer,
            HTTPStatus.CREATED,
            {
                # Of this node, whatever stands before it: nobody else has the session.
                "Location": f"{self._places.url or _prefix(request)}{_path(publication)}",
                "ETag": _etag(publication),
                "Accept-Patch": FRAGMENT,
                **ice_server_links(self._settings),
            },
            SDP,
        )

    def _take(
        self, request: Request, app: AppSettings, room: RoomKey, user_id: str, text: str
    ) -> tuple[Publication, str]:
        try:
            self._rooms.check_offer(room, user_id)
            offer, negotiation = _read(text, self._rooms.receive_policy)
            needed = needed_privileges(negotiation, creates_room=not self._rooms.is_occupied(room))
            check_private_map_key(request, app, room, user_id, needed, self._now_s())
            return self._rooms.publish(room, user_id, offer)
        except UserIdTakenError:
            raise RefusedError(
                HTTPStatus.CONFLICT, f"a robot of UserId {user_id} is in the room"
            ) from None
        except TooManyConnectingError as error:
            is_ours = error.scope is Scope.NODE
            status = HTTPStatus.SERVICE_UNAVAILABLE if is_ours else HTTPStatus.TOO_MANY_REQUESTS
            raise RefusedError(status, str(error), Retry_After=_RETRY_AFTER_S) from None

    async def _leave(self, request: Request) -> Response:
        self._rooms.end([self._publication(request)], CloseReason.LEFT)
        return Response()

    async def _patch(self, request: Request) -> Response:
        """Trickle ICE and ICE restarts (RFC 9725, 4.3).

        An ICE-lite side needs nobody's candidates, so that only a restart has an effect. New
        credentials make one: some clients send all their candidates with `If-Match: *`.
        """
        publication = self._publication(request)
        fragment = await read_text(request, FRAGMENT, self._body_timeout_s)
        condition = request.headers.get("if-match")
        if condition is None:
            raise RefusedError(HTTPStatus.PRECONDITION_REQUIRED, "If-Match is missing")
        if not {each.strip() for each in condition.split(",")} & {"*", _etag(publication)}:
            raise RefusedError(HTTPStatus.PRECONDITION_FAILED, "the ICE session is another one now")
        if condition.strip() != "*":
            return Response(status_code=HTTPStatus.NO_CONTENT)
        connection = publication.connection
        credentials = _credentials(fragment)
        if credentials == connection.transport.ice.remote:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        connection.restart_ice(credentials)
        return Response(
            _restart_fragment(connection),
            headers={"ETag": _etag(publication)},
            media_type=FRAGMENT,
        )

    def _now_s(self) -> float:
        return self._clock.utc_ms() / 1000

    def _publication(self, request: Request) -> Publication:
        publication = self._rooms.publication(request.path_params["publication_id"])
        if publication is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "no such session, or it has ended")
        return publication


def _read(text: str, policy: ReceivePolicy) -> tuple[RemoteDescription, Negotiation]:
    """An offer, and what we take of it."""
    try:
        offer = parse_remote_description(text)
        return offer, accept_offer(offer, policy)
    except UnusableOfferError as error:
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    except SdpError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error


def _credentials(text: str) -> IceCredentials:
    """Those of a fragment (RFC 8840)."""
    try:
        credentials = parse_fragment(text).ice
    except SdpError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
    if credentials is None:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, "the fragment has no a=ice-ufrag or no a=ice-pwd"
        )
    return credentials


def _restart_fragment(connection: PeerConnection) -> str:
    negotiation = connection.negotiation
    assert negotiation is not None  # noqa: S101 - its offer was answered
    first = next(each for each in negotiation.taken)
    return write_fragment(
        first, connection.transport.ice.local, connection.candidates, is_ice_lite=True
    )


def _prefix(request: Request) -> str:
    """The path under which a proxy serves us, from the root of the host that the client sees."""
    prefix = request.headers.get("x-forwarded-prefix", "").rstrip("/")
    return prefix if _PREFIX.fullmatch(prefix) else ""


def _path(publication: Publication) -> str:
    """The session's."""
    return f"{whip_path(publication.room, publication.user_id)}/{publication.publication_id}"


def _etag(publication: Publication) -> str:
    return f'"{publication.connection.transport.ice.local.ufrag}"'
