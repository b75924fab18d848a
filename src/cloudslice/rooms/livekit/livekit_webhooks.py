"""LiveKit's webhooks: what a server tells of its rooms (https://docs.livekit.io/home/server/webhooks/).

Each is signed: the header Authorization has a token of the app's key, with the SHA-256 of the body.
A token is good for some minutes; within them, an event that comes again has no effect.
"""

import hmac
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cloudslice.clock import Clock
from cloudslice.http_problems import RefusedError, read_body, refusal_response
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.livekit.access_token import TokenError, body_hash, verify_access_token
from cloudslice.rooms.livekit.names import LivekitNames
from cloudslice.rooms.remote.room_watch import RoomWatch
from cloudslice.settings.room_settings import LivekitSettings

_log = structlog.get_logger(__name__)

_ACTIVE = ("participant_joined", "track_published")
_BODY_LIMIT = 1024 * 1024
"""A member and a room with all the metadata that a server takes are less."""
_REMEMBERED_S = 900.0
"""An event's id, which is longer than its token is good for."""
_MAX_SIDS = 100_000


class LivekitWebhooks:
    """Takes the webhooks of one app's server.

    Args:
        sdk_app_id: which app.
        settings: its server.
        types: as which types of rooms its rooms are told.
        watch: is told of them.
        clock: for tokens.
    """

    def __init__(
        self,
        sdk_app_id: int,
        settings: LivekitSettings,
        types: frozenset[RoomIdType],
        watch: RoomWatch,
        clock: Clock,
    ) -> None:
        self._sdk_app_id = sdk_app_id
        self._settings = settings
        self._names = LivekitNames(settings)
        self._types = types
        self._watch = watch
        self._clock = clock
        self._seen: dict[str, float] = {}
        """Ids of events, by the monotonic second at which they came; the oldest first."""
        self._sids: dict[str, str] = {}
        """By room name, what LiveKit calls its present life."""

    def check(self, token: str) -> Mapping[str, Any]:
        """The claims of a webhook's token: nobody else is to send us a body.

        Args:
            token: of the header Authorization.

        Raises:
            TokenError: it is not this server's, or too old.
        """
        return verify_access_token(
            token,
            self._settings.api_key,
            self._settings.api_secret.get_secret_value(),
            now_s=self._clock.utc_ms() / 1000,
        )

    def take(self, claims: Mapping[str, Any], body: bytes) -> None:
        """Take a webhook.

        Args:
            claims: of its token, which is checked.
            body: as it came.

        Raises:
            TokenError: the token is not for this body.
            ValueError: it cannot be understood.
        """
        given = claims.get("sha256")
        if not isinstance(given, str) or not hmac.compare_digest(
            given.encode(), body_hash(body).encode()
        ):
            raise TokenError("it was made for another body")
        event = from_json(body)
        if not isinstance(event, dict):
            raise ValueError("the body is no JSON object")  # noqa: TRY004 - as of all bad bodies
        if not self._is_repeated(str(event.get("id", ""))):
            self._hear(event)

    def _is_repeated(self, event_id: str) -> bool:
        now = self._clock.monotonic()
        while self._seen and next(iter(self._seen.values())) < now - _REMEMBERED_S:
            del self._seen[next(iter(self._seen))]
        if event_id in self._seen:
            return True
        if event_id:
            self._seen[event_id] = now
        return False

    def _hear(self, event: Mapping[str, Any]) -> None:
        kind, room = event.get("event"), _table(event, "room")
        name, sid = str(room.get("name", "")), str(room.get("sid", ""))
        if kind in _ACTIVE and not _is_hidden(_table(event, "participant")):
            if len(self._sids) >= _MAX_SIDS:
                self._sids.clear()
            self._sids[name] = sid
            for key in self._find_rooms(name):
                self._watch.note_active(key)
        elif kind == "room_finished" and self._sids.pop(name, sid) == sid:
            # An end that comes late is not that of a room which has begun again.
            for key in self._find_rooms(name):
                self._watch.note_ended(key)

    def _find_rooms(self, name: str) -> list[RoomKey]:
        rooms = (self._names.to_room(self._sdk_app_id, name, each) for each in self._types)
        return [room for room in rooms if room is not None]


def livekit_webhooks_app(receivers: Mapping[int, LivekitWebhooks], timeout_s: float) -> Starlette:
    """The application to mount at ``/livekit``.

    Args:
        receivers: by SdkAppId.
        timeout_s: how long a body may take.
    """

    async def receive(request: Request) -> Response:
        sdk_app_id = request.path_params["sdk_app_id"]
        try:
            receiver = _find_receiver(receivers, sdk_app_id)
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            claims = receiver.check(token)
            receiver.take(claims, await read_body(request, _BODY_LIMIT, timeout_s))
        except TokenError as error:
            _log.warning("LiveKit webhook refused", reason=str(error), sdk_app_id=sdk_app_id)
            detail = f"the token in Authorization: {error}"
            raise RefusedError(HTTPStatus.UNAUTHORIZED, detail) from error
        except ValueError as error:
            detail = "the body cannot be understood"
            raise RefusedError(HTTPStatus.BAD_REQUEST, detail) from error
        return PlainTextResponse("ok\n")

    app = Starlette(
        routes=[Route("/{sdk_app_id}", receive, methods=["POST"])],
        exception_handlers={RefusedError: refusal_response},
    )
    app.router.redirect_slashes = False
    return app


def _find_receiver(receivers: Mapping[int, LivekitWebhooks], sdk_app_id: str) -> LivekitWebhooks:
    for key, receiver in receivers.items():
        if str(key) == sdk_app_id:
            return receiver
    detail = f"app {sdk_app_id} has no auto_tasks for rooms of a LiveKit server"
    raise RefusedError(HTTPStatus.NOT_FOUND, detail)


def _table(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = event.get(name)
    return value if isinstance(value, dict) else {}


def _is_hidden(member: Mapping[str, Any]) -> bool:
    permission = _table(member, "permission")
    return permission.get("hidden") is True or permission.get("recorder") is True
