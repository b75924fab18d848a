"""Runs the demo: a server, two anchors, a task made by the official SDK, a webhook receiver."""

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import RoomIdType, RoomKey, whip_path
from cloudslice_publisher.demo.display import Display, describe_tree
from cloudslice_publisher.demo.scene import ROBOT, ROOM_ID, SDK_APP_ID, Scene, set_scene
from cloudslice_publisher.demo.sdk import OfficialSdk, SdkMissingError
from cloudslice_publisher.demo.webhooks import WebhookReceiver
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import Look, Media, synthetic_media
from cloudslice_publisher.publisher import PublishConfig, publisher_group

_ANCHORS = (
    Look("alice", accent=(32, 64, 160), tone_hz=440),
    Look("bob", accent=(160, 64, 32), tone_hz=330),
)
# Pictures every 5 s of a loop of 12 s, with key frames in it to jump to, are all different.
_LOOP_S = 12
_VIDEO = VideoSpec(keyframe_interval_s=1)
_START_TIMEOUT_S = 20
_STOP_TIMEOUT_S = 10
_DELIVERY_TIMEOUT_S = 30
_POLL_S = 0.05


class DemoError(Exception):
    """The demo cannot be shown; the text says why."""


class _CancelledError(Exception):
    """Ends the encoding, which runs on a thread that cannot be cancelled otherwise."""


async def run_demo(directory: Path, seconds: int) -> None:
    """Show everything, for `seconds` of slicing, with its files in `directory`.

    Raises:
        DemoError: something that the demo needs is not there, or failed.
        asyncio.CancelledError: a signal has ended it (Ctrl-C, a closed terminal, SIGTERM).
    """
    _end_by_signals()
    display = Display()
    finished = asyncio.Event()

    def on_event(event: dict[str, Any], is_signed: bool) -> None:
        display.event(event, is_signed=is_signed)
        if event["EventType"] == 1005:
            finished.set()

    receiver = WebhookReceiver(on_event)
    try:
        scene = set_scene(directory, receiver.port)
    except OSError as error:
        raise DemoError(f"--dir {directory}: {error}") from error
    receiver.callback_key = scene.callback_key
    sdk = _make_sdk(scene)
    display.step("Encoding what two anchors will send: 720p colour bars with a clock, and a tone")
    media = [await _encode(look, display) for look in _ANCHORS]
    async with _running(receiver), _server(scene, display):
        await _slice_room(scene, sdk, media, display, seconds, finished)
    display.step(f"In the bucket, {scene.bucket_path}:")
    for line in describe_tree(scene.bucket_path):
        display.say(line)
    display.step("Run it for real: see README.md. The demo's settings and log are in")
    display.say(f"  {scene.directory}")


def _end_by_signals() -> None:
    """Let the first signal cancel the current task, so that it stops the server, and let later ones
    change nothing: who presses Ctrl-C twice would else leave the server behind."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def end() -> None:
        if task is not None and not task.cancelling():
            task.cancel()

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:  # as nohup sets it
            loop.add_signal_handler(each, end)


async def _slice_room(
    scene: Scene,
    sdk: OfficialSdk,
    media: list[Media],
    display: Display,
    seconds: int,
    finished: asyncio.Event,
) -> None:
    async with publisher_group() as anchors:
        for look, each in zip(_ANCHORS, media, strict=True):
            publisher = anchors.start(_publish_config(scene, look.name), each)
            async with _deadline(_START_TIMEOUT_S, f"{look.name} could not publish"):
                await publisher.wait_live()
            display.say(f"{look.name} publishes into room {ROOM_ID} (WHIP, DTLS, SRTP)")
        task_id = await asyncio.to_thread(sdk.create_task, _user_sig(scene, ROBOT))
        display.step("CreateCloudSliceTask by the official SDK: audio of 15 s, a picture every 5 s")
        await asyncio.sleep(seconds)
        status = await asyncio.to_thread(sdk.describe_task, task_id)
        display.step(f"DescribeCloudSliceTask: {status}; DeleteCloudSliceTask")
        await asyncio.to_thread(sdk.delete_task, task_id)
        async with _deadline(_DELIVERY_TIMEOUT_S, "the uploads did not end"):
            await finished.wait()


def _make_sdk(scene: Scene) -> OfficialSdk:
    try:
        return OfficialSdk(scene)
    except SdkMissingError as error:
        raise DemoError(str(error)) from error


async def _encode(look: Look, display: Display) -> Media:
    is_cancelled = threading.Event()

    def on_progress(done: float) -> None:
        if is_cancelled.is_set():
            raise _CancelledError
        display.progress(look.name, done)

    try:
        return await asyncio.to_thread(
            synthetic_media, look, video=_VIDEO, seconds=_LOOP_S, on_progress=on_progress
        )
    finally:
        is_cancelled.set()


def _publish_config(scene: Scene, user_id: str) -> PublishConfig:
    room = RoomKey(SDK_APP_ID, ROOM_ID, RoomIdType.NUMBER)
    base_url = f"http://127.0.0.1:{scene.http_port}"
    return PublishConfig(base_url + whip_path(room, user_id), _user_sig(scene, user_id))


def _user_sig(scene: Scene, user_id: str) -> str:
    return make_user_sig(scene.app_key, SDK_APP_ID, user_id, now_s=time.time(), lifetime_s=86400)


@contextlib.asynccontextmanager
async def _running(receiver: WebhookReceiver) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(receiver.run())
        try:
            yield
        finally:
            receiver.stop()


@contextlib.asynccontextmanager
async def _server(scene: Scene, display: Display) -> AsyncIterator[None]:
    """A `cloudslice serve` of its own process, ready; stopped gently on leaving."""
    with scene.log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cloudslice", "serve", "--config", scene.settings_path),
            stdout=log,
            stderr=log,
            # Ctrl-C is for the demo, which stops the server in its turn.
            start_new_session=True,
        )
    try:
        await _wait_ready(scene, process)
        display.step(f"cloudslice serve is ready on http://127.0.0.1:{scene.http_port}")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _wait_ready(scene: Scene, process: asyncio.subprocess.Process) -> None:
    async with (
        _deadline(_START_TIMEOUT_S, f"the server did not start; see {scene.log_path}"),
        httpx.AsyncClient() as client,
    ):
        while process.returncode is None:
            with contextlib.suppress(httpx.TransportError):
                response = await client.get(f"http://127.0.0.1:{scene.http_port}/healthz")
                if response.status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(_POLL_S)
    raise DemoError(f"the server has ended: {scene.log_path.read_text(errors='replace').strip()}")


@contextlib.asynccontextmanager
async def _deadline(seconds: float, failure: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DemoError(f"{failure} within {seconds:.0f} s") from None
