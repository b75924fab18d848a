"""The examples do what they say."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from cloudslice_publisher.media import Media
from cloudslice_publisher.publisher import PublishConfig, publisher_group
from helpers.livekit_process import API_KEY, API_SECRET, LivekitProcess, free_port
from helpers.node import CALLBACK_KEY, SECRET_KEY, Node
from helpers.webhooks import WebhookReceiver
from helpers.whip_bridges import LivekitPublishing, bridging

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.timeout(60)


async def test_the_python_sdk_example_slices_a_room(tmp_path: Path, h264_media: Media) -> None:
    """It tells the task's state until it is interrupted, and there is a picture by then."""
    buckets = tmp_path / "buckets"
    more = f'[storage.endpoints]\ncos = "{buckets.as_uri()}"'
    async with WebhookReceiver(CALLBACK_KEY) as receiver, publisher_group() as anchors:
        with Node(tmp_path / "node", receiver.url, more_settings=more) as node:
            await asyncio.to_thread(node.start)
            await anchors.start(node.anchor("150", "alice"), h264_media).wait_live()
            example = await asyncio.create_subprocess_exec(
                *(sys.executable, EXAMPLES / "python-sdk" / "slice_room.py"),
                *("--config", node.settings_path, "--room", "150"),
                stdout=asyncio.subprocess.PIPE,
            )
            await receiver.wait_for(lambda r: any(each.type == 1004 for each in r.requests), 20)
            example.send_signal(signal.SIGINT)
            output, _ = await example.communicate()
            await receiver.wait_for(lambda r: any(each.type == 1005 for each in r.requests), 20)
    first, *states, last = output.decode().splitlines()
    assert first.endswith("; Ctrl-C ends it")
    assert set(states) <= {"Idle", "InProgress"}
    assert last == "deleted"
    assert example.returncode == 0
    assert list(buckets.rglob("*.png"))


async def test_the_python_sdk_example_says_what_the_server_refuses(tmp_path: Path) -> None:
    """One line with the error's code and its RequestId, to be found in the server's log."""
    with Node(tmp_path / "node", "http://127.0.0.1:9/hook") as node:
        await asyncio.to_thread(node.start)
        settings = tmp_path / "wrong.toml"
        text = node.settings_path.read_text()
        settings.write_text(text.replace(SECRET_KEY, "another"))
        example = await asyncio.create_subprocess_exec(
            *(sys.executable, EXAMPLES / "python-sdk" / "slice_room.py", "--config", settings),
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await example.communicate()
    (line,) = errors.decode().splitlines()
    assert line.startswith("AuthFailure.SignatureFailure: ")
    assert "(RequestId " in line
    assert example.returncode == 1


async def test_the_livekit_example_slices_whoever_is_in_a_room(
    tmp_path: Path, h264_media: Media
) -> None:
    """With its own settings, but for the places and keys of this test's server."""
    config = EXAMPLES / "livekit" / "cloudslice.toml"
    buckets = tmp_path / "buckets"
    with LivekitProcess(tmp_path / "livekit") as livekit:
        environment = {
            "CLOUDSLICE_LISTEN": "127.0.0.1:0",
            "CLOUDSLICE_DATA_DIR": str(tmp_path / "data"),
            "CLOUDSLICE_RTC__UDP_PORT": str(free_port(socket.SOCK_DGRAM)),
            "CLOUDSLICE_APPS__0__LIVEKIT__URL": livekit.url,
            "CLOUDSLICE_APPS__0__LIVEKIT__API_KEY": API_KEY,
            "CLOUDSLICE_APPS__0__LIVEKIT__API_SECRET": API_SECRET,
            "CLOUDSLICE_STORAGE__ENDPOINTS__COS": buckets.as_uri(),
        }
        publishing = LivekitPublishing(livekit.url, API_KEY, API_SECRET)
        async with bridging(publishing) as bridge, publisher_group() as anchors:
            anchors.start(PublishConfig(bridge.url("my-room", "alice"), "-"), h264_media)
            server = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cloudslice", "serve", "--config", config),
                env=os.environ | environment,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                for kind in ("*.png", "*.ogg"):
                    pattern = f"slices-1250000000/*/alice/*/*_my-room_alice_{kind}"
                    await _wait_for_file(buckets, pattern)
            finally:
                server.send_signal(signal.SIGTERM)
                assert await server.wait() == 0


async def _wait_for_file(directory: Path, pattern: str) -> None:
    """Files can only be looked for."""
    async with asyncio.timeout(40):
        while not await asyncio.to_thread(lambda: [*directory.glob(pattern)]):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
