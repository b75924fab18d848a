"""cloudslice usersig."""

import time
from pathlib import Path

import click

from cloudslice.cli.common import (
    app_option,
    choose_app,
    fail,
    read_settings,
    room_type_option,
    settings_option,
)
from cloudslice.identity.private_map_key import Privilege, make_private_map_key
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import ROOM_ID_RULES, USER_ID_RULE, RoomIdType, is_user_id, read_room_key


@click.command("usersig")
@settings_option
@app_option
@click.option("--user", "user_id", required=True, help="UserId: an anchor's or a robot's.")
@click.option("--hours", type=click.IntRange(min=1), default=24, show_default=True)
@click.option("--room", "room_id", help="Make a PrivateMapKey for this RoomId instead.")
@room_type_option
def usersig_command(
    path: Path,
    sdk_app_id: int | None,
    user_id: str,
    hours: int,
    room_id: str | None,
    room_type: str,
) -> None:
    """Print a UserSig, with which a user may enter the app's rooms.

    It goes into a WHIP request as `Authorization: Bearer <UserSig>`, or into CreateCloudSliceTask
    as the robot's UserSig. With --room it is a PrivateMapKey, which apps with advanced permission
    control ask for besides; it grants everything in that room.
    """
    app = choose_app(read_settings(path), sdk_app_id)
    if not is_user_id(user_id):
        fail(f"--user: expected {USER_ID_RULE}")
    secret_key, now_s = app.secret_key.get_secret_value(), time.time()
    if room_id is None:
        token = make_user_sig(
            secret_key, app.sdk_app_id, user_id, now_s=now_s, lifetime_s=hours * 3600
        )
    else:
        room_id_type = RoomIdType[room_type.upper()]
        room = read_room_key(app.sdk_app_id, room_id, room_id_type)
        if room is None:
            fail(f"--room: expected {ROOM_ID_RULES[room_id_type]}")
        token = make_private_map_key(
            secret_key, room, user_id, Privilege.ALL, now_s=now_s, lifetime_s=hours * 3600
        )
    click.echo(token)
