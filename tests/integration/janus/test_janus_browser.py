"""Chromium publishes by janus.js, the client of Janus's makers."""

import contextlib
import statistics
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from cloudslice.codecs.opus import packet_samples
from helpers.asgi_server import serving
from helpers.browser import browser_page
from helpers.encoded_video import decode_keyframe
from helpers.janus_server import API_SECRET, NUMBER_ROOM, PIN
from helpers.janus_stage import ROOM, JanusStage, Listener, janus_stage
from helpers.waiting import eventually

NODE = Path(__file__).parents[2] / "node"
MODULES = NODE / "node_modules"


@contextlib.asynccontextmanager
async def browser_publisher(
    stage: JanusStage, name: str, *, codec: str = "vp8", simulcast: bool = False
) -> AsyncIterator[Page]:
    """A page that publishes; skips where Chromium or janus.js is missing."""
    if not (MODULES / "janus-gateway").exists():
        pytest.skip("janus-gateway is not installed in tests/node")
    app = Starlette(
        routes=[
            Mount("/janus", StaticFiles(directory=MODULES / "janus-gateway" / "npm" / "dist")),
            Mount("/adapter", StaticFiles(directory=MODULES / "webrtc-adapter" / "out")),
            Mount("/", StaticFiles(directory=NODE / "janus", html=True)),
        ]
    )
    wanted = {
        "url": stage.server.url,
        "secret": API_SECRET,
        "pin": PIN,
        "room": NUMBER_ROOM,
        "name": name,
        "codec": codec,
        "simulcast": str(simulcast).lower(),
    }
    async with serving(app) as port, browser_page() as page:
        await page.goto(f"http://localhost:{port}/?{urlencode(wanted)}")
        await expect(page.locator("output")).to_have_text("connected", timeout=15_000)
        yield page


@pytest.mark.parametrize(
    ("codec", "simulcast"),
    [("vp8", False), ("h264", False), ("vp9", False), ("av1", False), ("vp8", True)],
    ids=["vp8", "h264", "vp9", "av1", "vp8 simulcast"],
)
async def test_a_browser_is_heard_and_pictured_at_its_best(
    tmp_path: Path, codec: str, simulcast: bool
) -> None:
    """Each picture comes soon after it is wanted, also after seconds without any video."""
    async with janus_stage(tmp_path) as stage:
        robot = Listener()
        stay = await stage.rooms.enter(ROOM, "robot", robot)
        async with browser_publisher(stage, "dora", codec=codec, simulcast=simulcast) as page:
            await eventually(lambda: robot.packets("dora") >= 50)
            await page.wait_for_timeout(3000)  # until the browser's encoder has sped up
            seconds, sizes = [], []
            for _ in range(6):
                keyframe, took = await stage.keyframe(robot.anchors["dora"])
                picture = decode_keyframe(keyframe.decoding, keyframe.data)
                seconds.append(took)
                sizes.append((picture.width, picture.height))
                await page.wait_for_timeout(1500)  # in which no video comes
            sink = robot.sinks["dora"][0]
            await page.evaluate("stop()")
            await eventually(lambda: ("left", "dora") in robot.heard)
        stay.leave()
    assert all(packet_samples(payload) == 960 for payload in sink.payloads)
    name = f"{codec} simulcast" if simulcast else codec
    print(name, "key frames after", [f"{each * 1000:.0f} ms" for each in seconds], sizes)
    assert max(seconds) < 1, seconds
    if simulcast:  # else the browser itself chooses, by how busy the machine is
        assert statistics.mode(sizes) == (1280, 720), sizes
    assert all(width * 9 == height * 16 for width, height in sizes)
