"""WHIP at a node that has no rooms: offers are sent to the node that has the room."""

from collections.abc import Callable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from cloudslice.clock import Clock
from cloudslice.config import Settings
from cloudslice.faults import Faults
from cloudslice.http_problems import RefusedError
from cloudslice.ids import RoomKey, whip_path
from cloudslice.rooms.builtin.whip_admission import check_user_sig, find_target
from cloudslice.rooms.builtin.whip_http import make_app, options_response, redirect_response
from cloudslice.rooms.builtin.whip_places import NoPlaceError

_RETRY_AFTER_S = "1"


def whip_redirects_app(
    settings: Settings, find_url: Callable[[RoomKey], str], clock: Clock, faults: Faults
) -> Starlette:
    """The application to mount at ``/whip``.

    Args:
        settings: the apps.
        find_url: the base URL of the node that has a room, or is to have it; raises NoPlaceError.
        clock: for UserSigs.
        faults: takes what nobody foresaw.
    """

    async def at_endpoint(request: Request) -> Response:
        if request.method == "OPTIONS":
            return options_response(settings)
        app, room, user_id = find_target(request, settings)
        # Whoever may not come in is not told where the room is.
        check_user_sig(request, app, user_id, clock.utc_ms() / 1000)
        try:
            url = find_url(room)
        except NoPlaceError as error:
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, str(error), Retry_After=_RETRY_AFTER_S
            ) from error
        return redirect_response(request, url, whip_path(room, user_id))

    async def at_session(request: Request) -> Response:
        if request.method == "OPTIONS":
            return options_response(settings)
        raise RefusedError(
            HTTPStatus.NOT_FOUND, "no sessions are here: they are at the URL that `Location` gave"
        )

    return make_app(at_endpoint, at_session, faults)
