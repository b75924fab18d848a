"""Firefox publishes into a LiveKit room by livekit-client: see
tests/integration/livekit/test_livekit_browser.py for Chromium."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cloudslice.codecs.opus import packet_samples
from helpers.asgi_server import serving
from helpers.encoded_video import decode_keyframe
from helpers.firefox import Marionette, firefox
from helpers.livekit_browser import livekit_page_app
from helpers.livekit_process import LivekitProcess
from helpers.livekit_stage import LivekitStage, livekit_stage
from helpers.waiting import eventually

pytestmark = [pytest.mark.timeout(150), pytest.mark.interop]

_KEY = "correct horse battery staple"
_RUN = """
const done = arguments[arguments.length - 1];
Promise.resolve(eval(arguments[0])).then(() => done(null), (error) => done(String(error)));
"""


class FirefoxAnchor:
    """A page that has joined and publishes."""

    def __init__(self, marionette: Marionette) -> None:
        self._marionette = marionette

    async def run(self, script: str) -> None:
        """Run a script, and wait for the promise that it gives. Raises AssertionError with what it
        is rejected for."""
        failure = await asyncio.to_thread(self._marionette.run, _RUN, script)
        assert failure is None, failure


@contextlib.asynccontextmanager
async def dora(
    stage: LivekitStage, marionette: Marionette, **options: Any
) -> AsyncIterator[FirefoxAnchor]:
    """Firefox in the stage's room, whom the robot knows of."""
    token = stage.process.token(stage.key.room_id, "dora")
    async with serving(livekit_page_app()) as port:
        page = f"http://localhost:{port}/"
        await asyncio.to_thread(marionette.call, "WebDriver:Navigate", url=page)
        anchor = FirefoxAnchor(marionette)
        given = json.dumps([stage.process.url, token, options])
        await anchor.run(f"join(...{given})")
        await eventually(lambda: "dora" in stage.room.anchors and stage.anchor("dora").video)
        yield anchor


@pytest.mark.parametrize("key", ["", _KEY], ids=["plain", "encrypted"])
async def test_firefox_is_heard_and_pictured(tmp_path: Path, key: str) -> None:
    """Simulcast in VP8; for H.264 it would download a plugin."""
    options = {"e2eeKey": key} if key else {}
    with LivekitProcess(tmp_path) as process, firefox(script_s=40) as marionette:
        async with (
            livekit_stage(process, "room", e2ee_key=key) as stage,
            dora(stage, marionette, **options) as page,
        ):
            sink = await stage.hear("dora", 100)
            assert {packet_samples(each) for each in sink.payloads} == {960}
            assert {b - a for a, b in pairwise(sink.timestamps)} == {960}
            audio, video = stage.audio("dora"), stage.video("dora")
            for _ in range(3):
                keyframe = await stage.keyframe(video, within_s=5)
                picture = decode_keyframe(keyframe.decoding, keyframe.data)
                assert keyframe.decoding.decoder == "vp8"
                assert picture.width >= 160
            await page.run("room.localParticipant.setMicrophoneEnabled(false)")
            await eventually(lambda: stage.anchor("dora").audio is None)
            await page.run("room.localParticipant.setMicrophoneEnabled(true)")
            await eventually(lambda: stage.anchor("dora").audio is audio)
            assert len((await stage.hear("dora", 20)).packets) >= 20
            await page.run("room.disconnect()")
            await eventually(lambda: ("left", "dora") in stage.robot.heard)
