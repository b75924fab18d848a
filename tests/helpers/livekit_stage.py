"""A robot in a LiveKit room, without a node around it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import av
import numpy as np
from pydantic import SecretStr

from cloudslice.clock import SystemClock
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.media.tracks import AudioTrack, Keyframe, VideoTrack
from cloudslice.rooms.base import Anchor, Attendance
from cloudslice.rooms.livekit.livekit_server import LivekitServer
from cloudslice.rooms.remote.remote_room import RemoteRoom
from cloudslice.rooms.remote.remote_rooms import RemoteRooms
from cloudslice.rooms.remote.user_ids import to_user_id
from cloudslice.settings.room_settings import LivekitSettings
from cloudslice.tick import Tick
from cloudslice.webrtc.udp.addresses import AddressRules
from cloudslice.webrtc.udp.media_ports import MediaPorts
from helpers.cut_port import CutPort
from helpers.livekit_anchor import AnchorSpec, LivekitAnchor, livekit_anchor
from helpers.livekit_process import API_KEY, API_SECRET, LivekitProcess
from helpers.room_observer import make_bus
from helpers.rtp import RecordingSink
from helpers.scripted_rooms import HearingRobot
from helpers.waiting import eventually

APP_ID = 1400000001
_SPEC = AnchorSpec()


class Cable:
    """What all ports of a stage send through; it can be cut."""

    def __init__(self) -> None:
        self._ports: list[CutPort] = []
        self._is_cut = False

    def open_port(self) -> CutPort:
        """One more."""
        port = CutPort(0, AddressRules(("127.0.0.1",)), SystemClock())
        port.is_cut = self._is_cut
        self._ports.append(port)
        return port

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    @is_cut.setter
    def is_cut(self, is_cut: bool) -> None:
        self._is_cut = is_cut
        for port in self._ports:
            port.is_cut = is_cut

    @property
    def datagrams(self) -> int:
        """Read so far, of all ports."""
        return sum(port.datagrams for port in self._ports)

    @property
    def errors(self) -> int:
        return sum(port.errors for port in self._ports)


@dataclass
class LivekitStage:
    """A robot in a room, and the way for anchors into it."""

    process: LivekitProcess
    rooms: RemoteRooms
    port: Cable
    key: RoomKey
    stack: contextlib.AsyncExitStack
    robot: HearingRobot = field(default_factory=HearingRobot)
    attendance: Attendance | None = None
    performers: dict[str, contextlib.AsyncExitStack] = field(default_factory=dict)

    async def enter(self) -> None:
        """Have the robot in the room."""
        self.attendance = await self.rooms.enter(self.key, "robot", self.robot)

    async def join(self, identity: str, spec: AnchorSpec = _SPEC) -> LivekitAnchor:
        """Have an anchor in the room, whom the robot knows of."""
        stack = contextlib.AsyncExitStack()
        token = self.process.token(self.key.room_id, identity)
        performer = await stack.enter_async_context(
            livekit_anchor(self.process.url, token, identity, spec)
        )
        self.performers[identity] = stack
        self.stack.push_async_callback(self.leave, identity)
        await eventually(lambda: self._is_whole(identity, spec))
        return performer

    async def leave(self, identity: str) -> None:
        """Have an anchor out of the room; harmless when it is."""
        stack = self.performers.pop(identity, None)
        if stack is not None:
            await stack.aclose()

    @property
    def room(self) -> RemoteRoom:
        room = self.rooms.find(self.key)
        assert room is not None
        return room

    def anchor(self, identity: str) -> Anchor:
        """As the robot sees it."""
        return self.room.anchors[identity]

    def audio(self, identity: str) -> AudioTrack:
        track = self.anchor(identity).audio
        assert track is not None
        return track

    def video(self, identity: str) -> VideoTrack:
        track = self.anchor(identity).video
        assert track is not None
        return track

    async def hear(self, identity: str, packets: int, within_s: float = 10) -> RecordingSink:
        """So many packets of somebody, from now on."""
        sink, track = RecordingSink(), self.audio(identity)
        track.add_sink(sink)
        try:
            await eventually(lambda: len(sink.packets) >= packets, within_s)
        finally:
            track.remove_sink(sink)
        return sink

    async def keyframe(self, track: VideoTrack, within_s: float = 3) -> Keyframe:
        """The next key frame, asked for now."""
        found: asyncio.Future[Keyframe] = asyncio.get_running_loop().create_future()
        request = track.request_keyframe(found.set_result, SystemClock().monotonic())
        try:
            async with asyncio.timeout(within_s):
                return await found
        finally:
            request.cancel()

    def _is_whole(self, identity: str, spec: AnchorSpec) -> bool:
        anchor = self.room.anchors.get(to_user_id(identity))
        return (
            anchor is not None
            and (anchor.audio is not None) == (spec.tone_hz is not None)
            and (anchor.video is not None) == (spec.video is not None)
            and (anchor.aux is not None) == spec.screen
        )


@contextlib.asynccontextmanager
async def livekit_stage(
    process: LivekitProcess,
    room_id: str,
    *,
    url: str = "",
    api_key: str = API_KEY,
    api_secret: str = API_SECRET,
    grace_s: float = 30,
    consent_timeout_s: float = 15,
    video_on_demand: bool = True,
    e2ee_key: str = "",
    enters: bool = True,
) -> AsyncIterator[LivekitStage]:
    """A stage; the robot has entered, unless it is not to yet.

    Args:
        room_id: of a room that nobody else uses.
        url: of what stands before the server.
    """
    clock = SystemClock()
    settings = LivekitSettings(
        url=url or process.url,
        api_key=api_key,
        api_secret=SecretStr(api_secret),
        video_on_demand=video_on_demand,
        e2ee_key=SecretStr(e2ee_key),
    )
    tick = Tick(clock)
    port = Cable()
    ports = MediaPorts(port.open_port(), port.open_port, tick)
    server = LivekitServer(settings, ports, tick, clock, consent_timeout_s=consent_timeout_s)
    key = RoomKey(APP_ID, room_id, RoomIdType.STRING)
    with contextlib.closing(ports.shared), contextlib.closing(tick):
        async with (
            RemoteRooms("livekit", {APP_ID: server}, grace_s, clock, make_bus()) as rooms,
            contextlib.AsyncExitStack() as stack,
        ):
            stage = LivekitStage(process, rooms, port, key, stack)
            if enters:
                await stage.enter()
            yield stage
            assert rooms.faults.errors == port.errors == tick.faults.errors == 0


def pitch_hz(sink: RecordingSink) -> float:
    """The loudest frequency of what a sink has heard; of libwebrtc, which sends 48 kHz."""
    decoder = av.CodecContext.create("libopus", "r")
    blocks = [
        np.atleast_2d(frame.to_ndarray()).astype(np.float32)
        for payload in sink.payloads
        for frame in decoder.decode(av.Packet(payload))
    ]
    assert isinstance(decoder, av.AudioCodecContext)
    channels = decoder.layout.nb_channels
    samples = np.concatenate([each.reshape(-1, channels)[:, 0] for each in blocks])[9600:]
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(np.argmax(spectrum) * 48_000 / samples.size)
