"""Who may come in by WHIP: the room and user that a URL names, UserSig and PrivateMapKey."""

import re
from http import HTTPStatus

from starlette.requests import Request

from cloudslice.config import AppSettings, Settings
from cloudslice.http_problems import RefusedError
from cloudslice.identity.private_map_key import Privilege, verify_private_map_key
from cloudslice.identity.user_sig import IdentityError, verify_user_sig
from cloudslice.ids import (
    ROOM_ID_RULES,
    USER_ID_RULE,
    RoomIdType,
    RoomKey,
    is_user_id,
    read_room_key,
)
from cloudslice.webrtc.negotiation import Negotiation

_APP_ID = re.compile("[0-9]{1,10}")


def find_target(request: Request, settings: Settings) -> tuple[AppSettings, RoomKey, str]:
    """The app, room and UserId that a request's path names; raises RefusedError."""
    parameters = request.path_params
    app_text, type_text = parameters["sdk_app_id"], parameters["room_id_type"]
    app = settings.app(int(app_text)) if _APP_ID.fullmatch(app_text) else None
    if app is None or app.rooms != "builtin":
        raise RefusedError(HTTPStatus.NOT_FOUND, f"SdkAppId {app_text} has no rooms here")
    if type_text not in ("0", "1"):
        raise RefusedError(HTTPStatus.NOT_FOUND, "RoomIdType must be 0 (string) or 1 (number)")
    room_id_type = RoomIdType(int(type_text))
    room = read_room_key(app.sdk_app_id, parameters["room_id"], room_id_type)
    if room is None:
        rule = ROOM_ID_RULES[room_id_type]
        raise RefusedError(
            HTTPStatus.NOT_FOUND, f"RoomId must be {rule} for RoomIdType {type_text}"
        )
    if not is_user_id(parameters["user_id"]):
        raise RefusedError(HTTPStatus.NOT_FOUND, f"UserId must be {USER_ID_RULE}")
    return app, room, parameters["user_id"]


def check_user_sig(request: Request, app: AppSettings, user_id: str, now_s: float) -> None:
    """Raises RefusedError unless the bearer token is the user's UserSig."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise RefusedError(
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
            now_s=now_s,
        )
    except IdentityError as error:
        raise RefusedError(
            HTTPStatus.UNAUTHORIZED,
            f"the UserSig is refused: {error}",
            WWW_Authenticate='Bearer error="invalid_token"',
        ) from error


def needed_privileges(negotiation: Negotiation, *, creates_room: bool) -> Privilege:
    """What a PrivateMapKey must allow to somebody who sends this into a room."""
    needed = Privilege.ENTER_ROOM
    if creates_room:
        needed |= Privilege.CREATE_ROOM
    sent = [each.kind for each in negotiation.taken if each.direction.receives]
    if "audio" in sent:
        needed |= Privilege.SEND_AUDIO
    if "video" in sent:
        needed |= Privilege.SEND_VIDEO
    if sent.count("video") > 1:
        needed |= Privilege.SEND_AUX
    return needed


def check_private_map_key(
    request: Request,
    app: AppSettings,
    room: RoomKey,
    user_id: str,
    needed: Privilege,
    now_s: float,
) -> None:
    """Raises RefusedError if there is a PrivateMapKey that does not allow this, or none where the
    app requires one."""
    token = request.headers.get("x-private-map-key")
    if token is None:
        if app.private_map_key_required:
            raise RefusedError(HTTPStatus.FORBIDDEN, "X-Private-Map-Key is missing")
        return
    try:
        verify_private_map_key(
            token,
            app.secret_key.get_secret_value(),
            room,
            user_id,
            needed,
            now_s=now_s,
        )
    except IdentityError as error:
        raise RefusedError(
            HTTPStatus.FORBIDDEN, f"the PrivateMapKey is refused: {error}"
        ) from error
