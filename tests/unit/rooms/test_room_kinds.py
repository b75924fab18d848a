"""Which servers of rooms an app's settings lead to."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from cloudslice.clock import SystemClock
from cloudslice.config import Settings
from cloudslice.rooms.room_kinds import open_remote_rooms
from cloudslice.webrtc.udp.media_ports import MediaPorts
from helpers.media_port import media_port
from helpers.room_observer import make_bus

JANUS = {"url": "ws://127.0.0.1:1"}
LIVEKIT = JANUS | {"api_key": "k", "api_secret": "s"}


async def open_rooms(**app: Any) -> tuple[list[str], list[Any]]:
    """The kinds that are opened for the second of two apps, and what is logged."""
    first = {"sdk_app_id": 1, "secret_key": "key"}
    second = {"sdk_app_id": 2, "secret_key": "key"} | app
    settings = Settings.model_validate({"apps": [first, second]})
    clock = SystemClock()
    with media_port(clock, "127.0.0.1") as (port, tick), capture_logs() as logs:
        async with AsyncExitStack() as stack:
            ports = MediaPorts(port, lambda: port, tick)
            kinds = await open_remote_rooms(stack, settings, ports, tick, clock, make_bus())
    return list(kinds), logs


@pytest.mark.parametrize(("kind", "server"), [("livekit", LIVEKIT), ("janus", JANUS)])
async def test_a_server_of_rooms_that_is_not_used_is_told(kind: str, server: Any) -> None:
    """The setting `rooms` was forgotten: the app's rooms are our own."""
    assert await open_rooms(**{kind: server}) == (
        [],
        [
            {
                "event": f'apps[1].{kind}.url has no effect: apps[1].rooms is "builtin", '
                f'not "{kind}"',
                "log_level": "warning",
                "sdk_app_id": 2,
            }
        ],
    )


@pytest.mark.parametrize(("kind", "server"), [("livekit", LIVEKIT), ("janus", JANUS)])
async def test_a_server_of_rooms_that_is_used(kind: str, server: Any) -> None:
    assert await open_rooms(**{"rooms": kind, kind: server}) == ([kind], [])
