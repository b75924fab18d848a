"""A real browser as an anchor: headless Chromium with a fake camera and microphone.

It opens the page of examples/whip-publish, so that the example is tested, too.
"""

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright, expect
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from helpers.asgi_server import serving

_FILES = Path(__file__).parents[2] / "examples" / "whip-publish"
_ARGUMENTS = (
    "--use-fake-device-for-media-stream",  # a picture that moves, and beeps
    "--use-fake-ui-for-media-stream",  # nobody is there to allow the camera
    # Without these, Chromium looks for updates and the like at every start.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)
_TIMEOUT_MS = 10_000


class BrowserAnchor:
    """The page, where "Publish" was pressed."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def shows(self, state: str) -> None:
        """Wait until the page shows `state`: a connection state of WebRTC, or what went wrong.

        Raises:
            AssertionError: it shows something else for ten seconds.
        """
        output = self.page.locator("output[name=state]")
        await expect(output).to_have_text(state, timeout=_TIMEOUT_MS)

    async def connected(self) -> None:
        """Wait until media flows. Raises AssertionError with what the page shows instead."""
        await self.shows("connected")

    async def stats(self) -> dict[str, Any]:
        """What is sent: see `WhipPublisher.stats` in whip-publisher.js."""
        result: dict[str, Any] = await self.page.evaluate("publisher.stats()")
        return result

    async def until(self, condition: str) -> None:
        """Wait until a JavaScript `condition` of `stats` holds: ``stats.video.pliCount > 2``.

        Raises:
            playwright.async_api.TimeoutError: it does not for ten seconds.
        """
        await self.page.wait_for_function(
            f"publisher.stats().then((stats) => {condition})", polling=100, timeout=_TIMEOUT_MS
        )

    async def stop(self) -> None:
        """Press "Stop": the browser leaves the room."""
        await self.page.get_by_role("button", name="Stop").click()

    async def leave_page(self) -> None:
        """Go somewhere else without pressing "Stop". (To close the only tab would end the browser's
        last process before it has said goodbye, now and then.)"""
        await self.page.goto("about:blank")


@contextlib.asynccontextmanager
async def browser_page() -> AsyncIterator[Page]:
    """An empty page; the test is skipped where there is no Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=_ARGUMENTS, chromium_sandbox=False
        )
        try:
            yield await browser.new_page()
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def browser_anchor(
    whip_url: str, bearer: str, *, codec: str = "", layers: str = "", script: str = ""
) -> AsyncIterator[BrowserAnchor]:
    """A browser that publishes; the test is skipped where there is no Chromium.

    Args:
        codec: "H264", "VP8", "VP9", "AV1", or "" for what Chromium likes best.
        layers: a scalability mode, or "" for one layer.
        script: JavaScript that runs before the page's own.
    """
    page_app = Starlette(routes=[Mount("/", StaticFiles(directory=_FILES))])
    async with serving(page_app) as port, browser_page() as page:
        if script:
            await page.add_init_script(script)
        await page.goto(f"http://localhost:{port}/index.html")
        await page.get_by_label("WHIP address").fill(whip_url)
        await page.get_by_label("UserSig").fill(bearer)
        await page.get_by_label("Video codec").select_option(codec)
        await page.get_by_label("Layers").select_option(layers)
        await page.get_by_role("button", name="Publish").click()
        yield BrowserAnchor(page)
