"""Chromium as an anchor in a LiveKit room, by livekit-client, the client of LiveKit's makers."""

import contextlib
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from helpers.asgi_server import serving
from helpers.browser import browser_page

_NODE = Path(__file__).parents[1] / "node"
_CLIENT = _NODE / "node_modules" / "livekit-client" / "dist"


class LivekitPage:
    """A page that has joined and publishes."""

    def __init__(self, page: Page, url: str, token: str) -> None:
        self.page = page
        self._url, self._token = url, token

    async def join(self, options: dict[str, Any]) -> None:
        """Join and publish; see `join` in the page."""
        await self.page.evaluate("(given) => join(...given)", [self._url, self._token, options])

    async def switch(self, source: str, *, on: bool) -> None:
        """Mute a "Microphone" or "Camera", or unmute it."""
        await self.page.evaluate(f"(on) => room.localParticipant.set{source}Enabled(on)", on)

    async def sent(self, source: str) -> list[dict[str, Any]]:
        """WebRTC's statistics of what is sent of "microphone", "camera" or "screen_share"."""
        result: list[dict[str, Any]] = await self.page.evaluate("sent", source)
        return result

    async def sent_frames(self, *, is_audio: bool) -> list[bytes]:
        """Each frame as it was before it was encrypted, in order."""
        return [b64decode(each) for each in await self.page.evaluate("sentFrames", is_audio)]

    async def leave(self) -> None:
        """Leave the room; the page stays."""
        await self.page.evaluate("room.disconnect()")


def livekit_page_app() -> Starlette:
    """What serves the page; the test is skipped where livekit-client is not installed."""
    if not _CLIENT.exists():
        pytest.skip("livekit-client is not installed in tests/node")
    return Starlette(
        routes=[
            Mount("/livekit-client", StaticFiles(directory=_CLIENT)),
            Mount("/", StaticFiles(directory=_NODE / "livekit", html=True)),
        ]
    )


@contextlib.asynccontextmanager
async def livekit_page(url: str, token: str, **options: Any) -> AsyncIterator[LivekitPage]:
    """A page that publishes. Without options: microphone and camera, as livekit-client does it by
    itself.

    Args:
        options: those of livekit-client's Room, and those of `join` in the page.
    """
    async with serving(livekit_page_app()) as port, browser_page() as page:
        await page.goto(f"http://localhost:{port}/")
        anchor = LivekitPage(page, url, token)
        await anchor.join(options)
        yield anchor
