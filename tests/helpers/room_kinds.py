"""The kinds of rooms that tests and benchmarks run against: our own, or those of another server
with WHIP in front of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers.janus_server import ADMIN_KEY, API_SECRET, running_janus
from helpers.livekit_process import API_KEY, LivekitProcess
from helpers.livekit_process import API_SECRET as LIVEKIT_SECRET
from helpers.node import Node
from helpers.whip_bridges import JanusPublishing, LivekitPublishing, WhipBridge, bridging

KINDS = ("builtin", "livekit", "livekit-always", "janus", "janus-always")
"""The ones with "always" are sent video all the time, not only when a picture is due."""

Anchor = Callable[[Node, str, str], tuple[str, str]]
"""WHIP URL and token of an anchor, by node, room and UserId."""


@dataclass(frozen=True, slots=True)
class RoomsSite:
    """What is needed of a kind of rooms."""

    app_settings: str
    anchor: Anchor


@asynccontextmanager
async def open_rooms(kind: str, directory: Path) -> AsyncIterator[RoomsSite]:
    """Start what the rooms need: a server of them, and WHIP in front of it."""
    name, _, is_always = kind.partition("-")
    settings = "video_on_demand = false\n" if is_always else ""
    if name == "livekit":
        with LivekitProcess(directory / "livekit", log_level="error") as livekit:
            publishing = LivekitPublishing(livekit.url, API_KEY, LIVEKIT_SECRET)
            async with bridging(publishing) as bridge:
                yield RoomsSite(livekit.settings + settings, _through(bridge))
    elif name == "janus":
        with running_janus(directory / "janus") as janus:
            settings += (
                f'url = "{janus.url}"\napi_secret = "{API_SECRET}"\nuser_id = "display"\n'
                f'create_rooms = true\nadmin_key = "{ADMIN_KEY}"\n'
            )
            async with bridging(JanusPublishing(janus.url, API_SECRET)) as bridge:
                yield RoomsSite(f'rooms = "janus"\n[apps.janus]\n{settings}', _through(bridge))
    else:
        yield RoomsSite("", _directly)


def _through(bridge: WhipBridge) -> Anchor:
    return lambda _node, room, user_id: (bridge.url(room, user_id), "none is needed")


def _directly(node: Node, room: str, user_id: str) -> tuple[str, str]:
    config = node.anchor(room, user_id)
    return config.url, config.bearer
