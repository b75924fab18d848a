"""`cloudslice publish` as a program."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from helpers.whip_receiver import whip_receiver

pytestmark = pytest.mark.timeout(60)

SETTINGS = """\
[[apps]]
sdk_app_id = 1400000001
secret_key = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
"""
COMMAND = "from cloudslice.cli.publish_command import publish_command; publish_command()"


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
async def test_it_says_goodbye_when_it_is_ended(
    signal_number: signal.Signals, tmp_path: Path
) -> None:
    """By a DELETE and by DTLS, so that the anchor is not in the room for a timeout more."""
    settings = tmp_path / "cloudslice.toml"
    settings.write_text(SETTINGS)
    async with whip_receiver() as receiver:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", COMMAND, "--config", settings),
            *("--room", "150", "--user", "alice", "--no-video"),
            *("--url", receiver.url.removesuffix("/whip")),
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            env=os.environ,
        )
        assert process.stderr is not None
        await process.stderr.readuntil(b"live\n")
        process.send_signal(signal_number)
        said = await process.stderr.read()
        assert await process.wait() == 0
        assert said.endswith(b"left the room\n")
        assert receiver.goodbyes == 1
        assert receiver.peers[0].connectionState == "closed"
