"""A real Janus, publishers in its rooms, and our rooms that visit them."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import SecretStr

from cloudslice.clock import SystemClock
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.media.tracks import Keyframe, KeyframeRequest
from cloudslice.rooms.base import Anchor
from cloudslice.rooms.janus.janus_channel import JanusAddress
from cloudslice.rooms.janus.janus_server import JanusServer
from cloudslice.rooms.janus.session import open_session
from cloudslice.rooms.remote.remote_rooms import RemoteRooms
from cloudslice.settings.room_settings import JanusSettings
from cloudslice.tick import Tick
from cloudslice.webrtc.udp.addresses import AddressRules
from cloudslice_publisher.media import Media
from cloudslice_publisher.publisher import PublishConfig, Publisher, PublisherGroup, publisher_group
from helpers import janus_server
from helpers.cut_port import CutPort
from helpers.janus_server import ADMIN_KEY, API_SECRET, NUMBER_ROOM, PIN, ROOM_SECRET, running_janus
from helpers.numbered_media import spoken
from helpers.room_observer import make_bus
from helpers.rtp import RecordingSink
from helpers.scripted_rooms import HearingRobot
from helpers.slow_proxy import SlowProxy, slow_proxy
from helpers.waiting import eventually
from helpers.whip_bridges import JanusPublishing, WhipBridge, bridging

APP_ID = 1400000001
ROOM = RoomKey(APP_ID, str(NUMBER_ROOM), RoomIdType.NUMBER)


def speakers(sink: RecordingSink) -> set[str]:
    """Who was heard, of those that `speaker` makes."""
    return {said[0] for payload in sink.payloads if (said := spoken(payload)) is not None}


@dataclass
class Listener(HearingRobot):
    """A robot that listens to every anchor's audio, and keeps what it hears by UserId."""

    anchors: dict[str, Anchor] = field(default_factory=dict)
    sinks: dict[str, list[RecordingSink]] = field(default_factory=dict)
    listens: bool = True
    _attached: dict[str, tuple[Any, RecordingSink]] = field(default_factory=dict)

    def on_anchor_joined(self, anchor: Anchor) -> None:
        super().on_anchor_joined(anchor)
        self.anchors[anchor.user_id] = anchor
        self._listen(anchor)

    def on_anchor_changed(self, anchor: Anchor) -> None:
        super().on_anchor_changed(anchor)
        self._listen(anchor)

    def on_anchor_left(self, anchor: Anchor) -> None:
        super().on_anchor_left(anchor)
        del self.anchors[anchor.user_id]
        self._stop(anchor.user_id)

    def stop(self) -> None:
        for user_id in list(self._attached):
            self._stop(user_id)

    def packets(self, user_id: str) -> int:
        """How many were heard of an anchor."""
        return sum(len(sink.packets) for sink in self.sinks.get(user_id, ()))

    def _listen(self, anchor: Anchor) -> None:
        track, _ = self._attached.get(anchor.user_id, (None, None))
        if track is anchor.audio or not self.listens:
            return
        self._stop(anchor.user_id)
        if anchor.audio is not None:
            sink = RecordingSink()
            self.sinks.setdefault(anchor.user_id, []).append(sink)
            self._attached[anchor.user_id] = anchor.audio, sink
            anchor.audio.add_sink(sink)

    def _stop(self, user_id: str) -> None:
        track, sink = self._attached.pop(user_id, (None, None))
        if track is not None:
            track.remove_sink(sink)


@dataclass
class JanusStage:
    """What a test has."""

    server: janus_server.JanusServer
    rooms: RemoteRooms
    port: CutPort
    clock: SystemClock
    bridge: WhipBridge
    group: PublisherGroup
    proxy: SlowProxy
    """On the way of our signalling."""

    async def publish(self, user_id: str, media: Media, room: int | str = NUMBER_ROOM) -> Publisher:
        """A publisher whose media flows."""
        publisher = self.start(user_id, media, room)
        await publisher.wait_live()
        return publisher

    def start(self, user_id: str, media: Media, room: int | str = NUMBER_ROOM) -> Publisher:
        """A publisher on its way, which comes back whenever it is thrown out."""
        return self.group.start(PublishConfig(self.bridge.url(str(room), user_id), "-"), media)

    async def server_side(self, request: str, **more: Any) -> dict[str, Any]:
        """What the room's owner asks Janus for, straight."""
        address = JanusAddress(self.server.url, API_SECRET)
        async with open_session(address) as session:
            handle = await session.attach(lambda _message: None)
            body = {"request": request, "room": NUMBER_ROOM, "secret": ROOM_SECRET} | more
            return (await session.message(handle, body)).data

    async def janus_kick(self, display: str) -> None:
        """Put a participant out by its name."""
        listed = await self.server_side("listparticipants")
        (found,) = (each for each in listed["participants"] if each.get("display") == display)
        await self.server_side("kick", id=found["id"])

    async def moderate(self, display: str, mid: str, *, mute: bool) -> None:
        """Mute a publisher's stream, or unmute it."""
        listed = await self.server_side("listparticipants")
        (found,) = (each for each in listed["participants"] if each.get("display") == display)
        await self.server_side("moderate", id=found["id"], mid=mid, mute=mute)

    async def make_room(self, number: int) -> RoomKey:
        """A room without pin and secret."""
        await self.server_side(
            "create", room=number, admin_key=ADMIN_KEY, secret="", publishers=100
        )
        return RoomKey(APP_ID, str(number), RoomIdType.NUMBER)

    async def keyframe(self, anchor: Anchor, *, within_s: float = 10) -> tuple[Keyframe, float]:
        """The next key frame of an anchor's video, and how many seconds it took."""
        assert anchor.video is not None
        got: list[Keyframe] = []
        asked = self.clock.monotonic()
        request: KeyframeRequest = anchor.video.request_keyframe(got.append, asked)
        try:
            await eventually(lambda: got, within_s)
        finally:
            request.cancel()
        return got[0], got[0].arrival - asked


def settings(url: str, **more: Any) -> JanusSettings:
    """Of an app, for a server of `running_janus`."""
    secrets = {"api_secret": API_SECRET, "pin": PIN, "room_secret": ROOM_SECRET}
    given = {name: SecretStr(text) for name, text in secrets.items()} | {"user_id": "display"}
    return JanusSettings(url=url, **(given | more))


@contextlib.asynccontextmanager
async def janus_stage(
    directory: Path,
    *,
    string_ids: bool = False,
    options: Mapping[str, Any] = MappingProxyType({}),
    grace_s: float = 20.0,
    over_http: bool = False,
    **more: Any,
) -> AsyncIterator[JanusStage]:
    """All of it, which is ended with the context.

    Args:
        options: of the `JanusServer`.
        over_http: whether our signalling goes by Janus's HTTP transport.
        more: settings of the app.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        server = stack.enter_context(running_janus(directory, string_ids=string_ids, **options))
        tick = Tick(clock)
        port = CutPort(0, AddressRules(("127.0.0.1",)), clock)
        tick.add(port)
        stack.callback(port.close)
        stack.callback(tick.close)
        proxy = await stack.enter_async_context(
            slow_proxy(server.http_port if over_http else server.port)
        )
        publishing = JanusPublishing(server.url, API_SECRET, {"pin": PIN}, has_text_ids=string_ids)
        way = f"127.0.0.1:{proxy.port}"
        url = f"http://{way}/janus" if over_http else f"ws://{way}"
        chosen = settings(url, string_ids=string_ids, **more)
        ours = JanusServer(
            chosen, port, tick, clock, consent_timeout_s=15, max_video_bitrate_kbps=2500
        )
        async with (
            bridging(publishing) as bridge,
            publisher_group() as group,
            RemoteRooms("janus", {APP_ID: ours}, grace_s, clock, make_bus()) as rooms,
        ):
            yield JanusStage(server, rooms, port, clock, bridge, group, proxy)


def owner_of(keyframe: Keyframe, looks: Mapping[str, Media]) -> str:
    """Who of those that send `looks` has made a key frame."""
    for name, media in looks.items():
        assert media.video is not None
        for frame in media.video.frames:
            if frame.is_keyframe and frame.payloads[-1][-100:] in keyframe.data:
                return name
    raise AssertionError("nobody's key frame")
