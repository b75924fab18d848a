"""What several commands share."""

from pathlib import Path
from typing import NoReturn

import click

from cloudslice.config import AppSettings, Settings, load_settings
from cloudslice.settings.mistakes import SettingsError

EXIT_UNUSABLE = 2
"""The exit status of a command that could not begin."""

settings_option = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("cloudslice.toml"),
    show_default=True,
    help="The settings file. Variables like CLOUDSLICE_RTC__UDP_PORT override its keys.",
)
nats_option = click.option(
    "--nats",
    "nats_url",
    metavar="URL",
    required=True,
    envvar="NATS_URL",
    show_envvar=True,
    help="NATS servers with JetStream, 2.11 or newer: nats://host:port, commas between several.",
)
app_option = click.option(
    "--app", "sdk_app_id", type=int, help="SdkAppId; may be left out if there is only one."
)
room_type_option = click.option(
    "--room-type",
    type=click.Choice(["number", "string"]),
    default="number",
    show_default=True,
    help="What kind of id --room is.",
)


def fail(message: str) -> NoReturn:
    """Say what is wrong and exit."""
    click.echo(f"cloudslice: {message}", err=True)
    raise SystemExit(EXIT_UNUSABLE)


def read_settings(path: Path) -> Settings:
    """The settings; exits if they cannot be used."""
    try:
        return load_settings(path)
    except SettingsError as error:
        fail(str(error))


def choose_app(settings: Settings, sdk_app_id: int | None) -> AppSettings:
    """The app of that SdkAppId, or the only one; exits if there is none."""
    served = ", ".join(str(app.sdk_app_id) for app in settings.apps) or "none"
    if sdk_app_id is None and len(settings.apps) != 1:
        fail(f"--app is needed: the settings have {served}")
    app = settings.apps[0] if sdk_app_id is None else settings.app(sdk_app_id)
    if app is None:
        fail(f"--app: {sdk_app_id} is not in the settings, which have {served}")
    return app


def base_url(settings: Settings) -> str:
    """Of the server of these settings, on the same machine."""
    host, port = settings.listen_address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
