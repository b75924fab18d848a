"""The command line: what an operator types."""

import sys
import time
from pathlib import Path
from typing import NoReturn

import click
import uvloop

from cloudslice import __version__
from cloudslice.config import Settings, SettingsError, load_settings
from cloudslice.database import DatabaseError
from cloudslice.identity.private_map_key import Privilege, make_private_map_key
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.logs import set_up_logging
from cloudslice.rooms.base import RoomIdType, RoomKey
from cloudslice.rooms.names import ROOM_ID_RULES, is_room_id
from cloudslice.rtp.port import PortInUseError
from cloudslice.secrets import SecretKeyError
from cloudslice.service import ListenError, serve

_EXPECTED = (SettingsError, DatabaseError, SecretKeyError, PortInUseError, ListenError)

_settings_option = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("cloudslice.toml"),
    show_default=True,
    help="The settings file. Variables like CLOUDSLICE_RTC__UDP_PORT override its keys.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """cloudslice cuts every anchor of a live room into short Ogg Opus files and pictures, puts them
    into your bucket and tells you by signed webhooks. It speaks Tencent Cloud API 3.0, so that the
    official SDKs work with it by changing their endpoint.

    \b
    See it at work:       cloudslice demo
    Run it:               cloudslice serve --config cloudslice.toml
    Let somebody in:      cloudslice usersig --app 1400000001 --user anchor_1
    """


@main.command("serve")
@_settings_option
def serve_command(path: Path) -> None:
    """Run the service: API, WHIP and media in one process, until Ctrl-C or SIGTERM.

    On a stop, open slices are closed and kept. Tasks go on, and what was not delivered is
    delivered, when it is started again with the same data_dir.
    """
    settings = _load(path)
    set_up_logging(settings.log)
    try:
        uvloop.run(serve(settings))
    except _EXPECTED as error:
        _fail(str(error))


@main.command("usersig")
@_settings_option
@click.option("--app", "sdk_app_id", type=int, help="SdkAppId; may be left out if there is one.")
@click.option("--user", "user_id", required=True, help="UserId: an anchor's or a robot's.")
@click.option("--hours", type=click.IntRange(min=1), default=24, show_default=True)
@click.option("--room", "room_id", help="Make a PrivateMapKey for this RoomId instead.")
@click.option(
    "--room-type",
    type=click.Choice(["number", "string"]),
    default="number",
    show_default=True,
    help="What kind of id --room is.",
)
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
    settings = _load(path)
    app = settings.app(_choose_app(settings, sdk_app_id))
    if app is None:
        _fail(f"{path}: has no app {sdk_app_id}")
    secret_key, now_s = app.secret_key.get_secret_value(), time.time()
    try:
        if room_id is None:
            token = make_user_sig(
                secret_key, app.sdk_app_id, user_id, now_s=now_s, lifetime_s=hours * 3600
            )
        else:
            room = RoomKey(app.sdk_app_id, room_id, RoomIdType[room_type.upper()])
            if not is_room_id(room):
                _fail(f"--room: expected {ROOM_ID_RULES[room.room_id_type]}")
            token = make_private_map_key(
                secret_key, room, user_id, Privilege.ALL, now_s=now_s, lifetime_s=hours * 3600
            )
    except ValueError as error:
        _fail(f"--user: {error}")
    click.echo(token)


@main.command("version")
def version_command() -> None:
    """Print the version."""
    click.echo(f"cloudslice {__version__}")


def _load(path: Path) -> Settings:
    try:
        return load_settings(path)
    except SettingsError as error:
        _fail(str(error))


def _choose_app(settings: Settings, sdk_app_id: int | None) -> int:
    if sdk_app_id is not None:
        return sdk_app_id
    if len(settings.apps) != 1:
        _fail(f"--app: the settings have {len(settings.apps)} apps; say which")
    return settings.apps[0].sdk_app_id


def _fail(message: str) -> NoReturn:
    click.echo(f"cloudslice: {message}", err=True)
    sys.exit(2)
