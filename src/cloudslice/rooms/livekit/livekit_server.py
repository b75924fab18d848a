"""One app's LiveKit server: its rooms, entered as a hidden member that only receives.

A robot's member has an identity that nobody else has, so that it puts nobody out; it begins with
`cloudslice-`, so that people who look at the server know it.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import structlog

from cloudslice.clock import Clock
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.livekit.access_token import make_access_token
from cloudslice.rooms.livekit.awaited_rooms import AwaitedRooms
from cloudslice.rooms.livekit.frame_decryption import FrameKey
from cloudslice.rooms.livekit.livekit_room_tracks import RoomTracks
from cloudslice.rooms.livekit.livekit_session import VisitPlace
from cloudslice.rooms.livekit.livekit_stay import LivekitStay
from cloudslice.rooms.livekit.livekit_visit import LivekitVisit
from cloudslice.rooms.livekit.names import LivekitNames
from cloudslice.rooms.livekit.room_api import LivekitRoomApi
from cloudslice.rooms.remote.room_server import RoomView, Tracks, user_id_taken
from cloudslice.rooms.remote.user_ids import identity_to_tell
from cloudslice.settings.room_settings import LivekitSettings
from cloudslice.tick import Tick
from cloudslice.webrtc.accepting import ReceivePolicy
from cloudslice.webrtc.connection_user import ConnectionOptions
from cloudslice.webrtc.dtls import DtlsCertificate
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.udp.media_ports import MediaPorts
from cloudslice.webrtc.udp.port import UdpPort

_IDENTITY = "cloudslice-"
_TOKEN_S = 600
"""How long a token lets us in. While we are there, the server renews it."""
_MAX_VIDEO_KBPS = 100_000
"""What is told by REMB of each video: no limit. The server would send a smaller layer for it, or
stop videos."""
_MAX_TOLD = 10_000

_log = structlog.get_logger(__name__)


class LivekitServer:
    """A RoomServer.

    Args:
        settings: where it is.
        ports: each visit has one of its own. LiveKit's ICE library tells its connections of one
            port apart by the peer's address alone (pion/ice, udp_mux.go): two visits of one server
            from one port of ours would get each other's answers, and a visit after a kill of this
            process those to the one before.
        tick: has visits do what is due.
        clock: for time-outs.
        consent_timeout_s: a media connection is lost on which nothing came for so long.
    """

    def __init__(
        self,
        settings: LivekitSettings,
        ports: MediaPorts,
        tick: Tick,
        clock: Clock,
        *,
        consent_timeout_s: float,
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._tick = tick
        self._clock = clock
        self._certificate = DtlsCertificate()
        passphrase = settings.e2ee_key.get_secret_value()
        self._frame_key = FrameKey(passphrase) if passphrase else None
        self._names = LivekitNames(settings)
        self._api = LivekitRoomApi(settings, self._clock)
        self._awaited = AwaitedRooms(self._api, self._names, self._clock)
        self._options = ConnectionOptions(
            ReceivePolicy(
                {},
                max_video_bitrate_kbps=_MAX_VIDEO_KBPS,
                we_are_ice_lite=False,
                needs_media=False,
                announced_only=True,
            ),
            consent_timeout_s=consent_timeout_s,
            is_controlling=True,
        )
        self._tracks = WeakKeyDictionary[RoomView, RoomTracks]()
        """Of each room that is visited."""
        self._entered = WeakSet[RoomView]()
        """Rooms that we have been in: we do not make them again."""
        self._told: dict[str, None] = {}
        """Names of rooms that cannot be ours, of which the log says so."""

    async def check(self, room: RoomKey, robot_user_id: str) -> None:
        """See `RoomServer`."""
        if await self._api.exists(room) and await self._api.has_user(room, robot_user_id):
            raise user_id_taken(robot_user_id)

    @asynccontextmanager
    async def visit(self, room: RoomKey, view: RoomView) -> AsyncIterator[LivekitStay]:
        """See `RoomServer`. A room that we have been in is not made again: it is waited for, as
        part of the visit."""
        async with LivekitStay(
            partial(self._enter, room, view),
            partial(self._awaited.wait_for, room),
            partial(view.show, {}),
            _log_fields(room),
        ) as stay:
            if view not in self._entered or await self._api.exists(room):
                await stay.begin()
                self._entered.add(view)
            yield stay

    @asynccontextmanager
    async def _enter(self, room: RoomKey, view: RoomView) -> AsyncIterator[LivekitVisit]:
        """Raises RoomEntryError, UnreachableError."""
        tracks = self._tracks.get(view)
        if tracks is None:
            tracks = RoomTracks(
                self._clock,
                partial(view.faults.caught, **_log_fields(room)),
                _log_fields(room),
                on_demand=self._settings.video_on_demand,
                key=self._frame_key,
            )
            self._tracks[view] = tracks

        def show(by_identity: Mapping[str, Tracks]) -> None:
            if visit.has_entered:
                view.show(dict(map(self._name, by_identity.items())))

        exists = partial(self._api.exists, room)
        place = VisitPlace(self._settings.url, self._make_token(room), exists, _log_fields(room))
        with self._ports.opened() as port:
            connect = partial(self._connect, port)
            visit = LivekitVisit(place, tracks, show, port, connect, self._clock)
            self._tick.add(visit)
            self._tick.wake()
            run = asyncio.create_task(visit.run())
            try:
                await visit.entered()
                visit.show()
                yield visit
            finally:
                self._tick.remove(visit)
                run.cancel()
                await asyncio.wait([run])
                if not run.cancelled():
                    run.result()  # raises what nobody foresaw

    async def exists(self, room: RoomKey) -> bool:
        """See `RoomServer`."""
        return await self._api.exists(room)

    async def remove_users(self, room: RoomKey, user_ids: Sequence[str]) -> None:
        """See `RoomServer`."""
        await self._api.remove_users(room, user_ids)

    async def dismiss(self, room: RoomKey) -> None:
        """See `RoomServer`."""
        await self._api.dismiss(room)

    async def list_rooms(
        self, sdk_app_id: int, types: Collection[RoomIdType]
    ) -> Mapping[RoomKey, bool]:
        """See `RoomServer`."""
        found = {}
        for each in await self._api.list_rooms():
            self._tell_odd_name(sdk_app_id, each["name"])
            for room_id_type in types:
                room = self._names.to_room(sdk_app_id, each["name"], room_id_type)
                if room is not None:
                    found[room] = bool(each.get("num_publishers"))
        return found

    def _connect(self, port: UdpPort, visit: LivekitVisit) -> PeerConnection:
        return PeerConnection(port, self._certificate, self._options, visit, self._clock)

    def _name(self, sent: tuple[str, Tracks]) -> tuple[str, Tracks]:
        identity, tracks = sent
        user_id = self._names.to_user_id(identity)
        return user_id, replace(tracks, identity=identity_to_tell(identity, user_id))

    def _tell_odd_name(self, sdk_app_id: int, name: str) -> None:
        """Log that a room can be none of ours, though it has the form of the app's rooms: once."""
        if not self._names.is_odd(name) or name in self._told:
            return
        if len(self._told) >= _MAX_TOLD:
            del self._told[next(iter(self._told))]
        self._told[name] = None
        _log.warning(
            "a LiveKit room has no task, as its name is no RoomId", name=name, sdk_app_id=sdk_app_id
        )

    def _make_token(self, room: RoomKey) -> str:
        grants = {
            "roomJoin": True,
            "roomCreate": True,
            "room": self._names.to_room_name(room),
            "canPublish": False,
            "canPublishData": False,
            "canSubscribe": True,
            "hidden": True,
            "recorder": True,
        }
        return make_access_token(
            self._settings.api_key,
            self._settings.api_secret.get_secret_value(),
            grants,
            now_s=self._clock.utc_ms() / 1000,
            lifetime_s=_TOKEN_S,
            identity=_IDENTITY + secrets.token_hex(8),
        )


def _log_fields(room: RoomKey) -> dict[str, Any]:
    return {"sdk_app_id": room.sdk_app_id, "room_id": room.wire_id}
