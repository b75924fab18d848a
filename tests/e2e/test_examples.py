"""The examples do what they say."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from cloudslice_publisher.media import Media
from cloudslice_publisher.publisher import publisher_group
from helpers.node import CALLBACK_KEY, SECRET_KEY, Node
from helpers.webhooks import WebhookReceiver

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
