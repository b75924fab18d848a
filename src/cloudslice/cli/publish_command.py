"""cloudslice publish. The publisher is loaded by the command only: the service does not need it."""

import asyncio
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import uvloop

from cloudslice.cli.common import (
    app_option,
    base_url,
    choose_app,
    fail,
    read_settings,
    room_type_option,
    settings_option,
)
from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.vp8 import VP8
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import (
    ROOM_ID_RULES,
    USER_ID_RULE,
    RoomIdType,
    is_user_id,
    read_room_key,
    whip_path,
)

if TYPE_CHECKING:
    from cloudslice_publisher.encode import VideoSpec
    from cloudslice_publisher.media import Media
    from cloudslice_publisher.publisher import PublisherState

_SIGNATURE_LIFETIME_S = 30 * 86400


_CODECS: dict[str, VideoCodec] = {"h264": H264, "vp8": VP8}


@click.command("publish")
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@settings_option
@app_option
@click.option("--room", "room_id", required=True, help="RoomId.")
@room_type_option
@click.option("--user", "user_id", required=True, help="UserId of the anchor.")
@click.option("--url", help="Base URL of the server; by default that of the settings' `listen`.")
@click.option("--codec", type=click.Choice(list(_CODECS)), default="h264", show_default=True)
@click.option("--size", default="1280x720", show_default=True, help="Width x height.")
@click.option("--fps", type=click.IntRange(1, 60), default=30, show_default=True)
@click.option("--bitrate", type=int, default=1500, show_default=True, help="Of video, in kbit/s.")
@click.option("--no-video", is_flag=True, help="Send audio only.")
@click.option("--no-audio", is_flag=True, help="Send video only.")
def publish_command(
    file: Path | None,
    path: Path,
    sdk_app_id: int | None,
    room_id: str,
    room_type: str,
    user_id: str,
    url: str | None,
    codec: str,
    size: str,
    fps: int,
    bitrate: int,
    no_video: bool,
    no_audio: bool,
) -> None:
    """Publish FILE into a room as an anchor, in a loop, until Ctrl-C; a real WebRTC sender.

    Without FILE, colour bars with a clock and a tone are sent. When the server goes away, the
    anchor comes back by itself.
    """
    from cloudslice_publisher.publisher import PublishConfig, PublishError, publish

    settings = read_settings(path)
    app = choose_app(settings, sdk_app_id)
    room_id_type = RoomIdType[room_type.upper()]
    room = read_room_key(app.sdk_app_id, room_id, room_id_type)
    if room is None:
        fail(f"--room: expected {ROOM_ID_RULES[room_id_type]}")
    if not is_user_id(user_id):
        fail(f"--user: expected {USER_ID_RULE}")
    if no_video and no_audio:
        fail("--no-video and --no-audio leave nothing to send")
    video = None if no_video else _video_spec(codec, size, fps, bitrate)
    media = _encode(file, user_id, video, has_audio=not no_audio)
    config = PublishConfig(
        url=(url or base_url(settings)).rstrip("/") + whip_path(room, user_id),
        bearer=make_user_sig(
            app.secret_key.get_secret_value(),
            app.sdk_app_id,
            user_id,
            now_s=time.time(),
            lifetime_s=_SIGNATURE_LIFETIME_S,
        ),
    )
    try:
        uvloop.run(_until_terminated(publish(config, media, _say_state)))
    except PublishError as error:
        fail(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("left the room", err=True)


async def _until_terminated(publishing: Coroutine[Any, Any, None]) -> None:
    """Cancel it on SIGTERM, so that it says goodbye, as on Ctrl-C."""
    task = asyncio.ensure_future(publishing)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


def _video_spec(codec: str, size: str, fps: int, bitrate: int) -> "VideoSpec":
    from cloudslice_publisher.encode import VideoSpec

    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        fail(f"--size: expected WIDTHxHEIGHT such as 1280x720, got {size}")
    try:
        return VideoSpec(_CODECS[codec], int(width), int(height), fps, bitrate)
    except ValueError as error:
        fail(f"--size, --fps: {error}")


def _encode(
    file: Path | None, user_id: str, video: "VideoSpec | None", *, has_audio: bool
) -> "Media":
    from cloudslice_publisher.encode import AudioSpec
    from cloudslice_publisher.media import Look, MediaError, file_media, synthetic_media

    with click.progressbar(length=100, label="Encoding", show_eta=False) as bar:

        def show(done: float) -> None:
            bar.update(round(done * 100) - bar.pos)

        audio = AudioSpec() if has_audio else None
        try:
            if file is not None:
                return file_media(file, video=video, audio=audio, on_progress=show)
            return synthetic_media(Look(user_id), video=video, audio=audio, on_progress=show)
        except MediaError as error:
            fail(str(error))


def _say_state(state: "PublisherState", detail: str) -> None:
    click.echo(f"{state.value}{f': {detail}' if detail else ''}", err=True)
