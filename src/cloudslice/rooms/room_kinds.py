"""The kinds of rooms that are on other servers, by the names that the setting `rooms` has.

A new kind is a folder in `rooms/` with a RoomServer, and a function here that makes one.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

import structlog
from starlette.applications import Starlette

from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.config import AppSettings, Settings
from cloudslice.ids import RoomIdType
from cloudslice.rooms.janus.janus_server import JanusServer
from cloudslice.rooms.livekit.livekit_webhooks import LivekitWebhooks, livekit_webhooks_app
from cloudslice.rooms.remote.remote_rooms import RemoteRooms
from cloudslice.rooms.remote.room_server import RoomServer
from cloudslice.rooms.remote.room_watch import RoomWatch
from cloudslice.rooms.room_news import RoomNews
from cloudslice.tick import Tick
from cloudslice.webrtc.udp.media_ports import MediaPorts
from cloudslice.webrtc.udp.port import PortOptions

_log = structlog.get_logger(__name__)

VISIT_PORT = PortOptions(slots=1024, receive_buffer=16 << 20)
"""For the media of one room."""

MakeServer = Callable[[AppSettings, Settings, MediaPorts, Tick, Clock], RoomServer]


def _make_livekit(
    app: AppSettings, settings: Settings, ports: MediaPorts, tick: Tick, clock: Clock
) -> RoomServer:
    # Its messages take half a second and 20 MB: nobody is to pay for them who has no LiveKit.
    from cloudslice.rooms.livekit.livekit_server import LivekitServer

    timeout_s = settings.rtc.consent_timeout_s
    return LivekitServer(app.livekit, ports, tick, clock, consent_timeout_s=timeout_s)


def _make_janus(
    app: AppSettings, settings: Settings, ports: MediaPorts, tick: Tick, clock: Clock
) -> RoomServer:
    rtc = settings.rtc
    return JanusServer(
        app.janus,
        ports.shared,
        tick,
        clock,
        consent_timeout_s=rtc.consent_timeout_s,
        max_video_bitrate_kbps=rtc.max_video_bitrate_kbps,
    )


REMOTE_KINDS: Mapping[str, MakeServer] = {"livekit": _make_livekit, "janus": _make_janus}


async def open_remote_rooms(
    stack: AsyncExitStack, settings: Settings, ports: MediaPorts, tick: Tick, clock: Clock, bus: Bus
) -> dict[str, RemoteRooms]:
    """By kind, the rooms of all apps of each kind that an app has, until `stack` is left."""
    servers: dict[str, dict[int, RoomServer]] = {}
    for at, app in enumerate(settings.apps):
        for kind in app.unused_servers:
            _log.warning(
                f'apps[{at}].{kind}.url has no effect: apps[{at}].rooms is "{app.rooms}", '
                f'not "{kind}"',
                sdk_app_id=app.sdk_app_id,
            )
        if app.rooms in REMOTE_KINDS:
            server = REMOTE_KINDS[app.rooms](app, settings, ports, tick, clock)
            servers.setdefault(app.rooms, {})[app.sdk_app_id] = server
    grace_s = settings.rtc.room_grace_s
    return {
        kind: await stack.enter_async_context(RemoteRooms(kind, each, grace_s, clock, bus))
        for kind, each in servers.items()
    }


async def watch_rooms(
    stack: AsyncExitStack,
    settings: Settings,
    rooms: Mapping[str, RemoteRooms],
    types_of: Callable[[int], frozenset[RoomIdType]],
    news: RoomNews,
    clock: Clock,
) -> Starlette:
    """Have `news` told of the rooms of other servers, until `stack` is left.

    Args:
        rooms: by kind.
        types_of: by SdkAppId, as which types the rooms of an app are to be told; none: not at all.

    Returns:
        What takes the webhooks of LiveKit servers, to be mounted at ``/livekit``.
    """
    group = await stack.enter_async_context(asyncio.TaskGroup())
    receivers = {}
    for app in settings.apps:
        app_id, types, kind = app.sdk_app_id, types_of(app.sdk_app_id), rooms.get(app.rooms)
        if kind is None or not types:
            continue
        watch = RoomWatch(app_id, partial(kind.list_rooms, app_id, types), news, kind.faults)
        stack.callback(group.create_task(watch.run()).cancel)
        if app.rooms == "livekit":
            receivers[app_id] = LivekitWebhooks(app_id, app.livekit, types, watch, clock)
    return livekit_webhooks_app(receivers, settings.http.body_timeout_s)
