"""One app's Janus: a `RoomServer`."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from cloudslice.clock import Clock
from cloudslice.ids import RoomIdType, RoomKey, read_room_key
from cloudslice.rooms.base import RoomEntryError
from cloudslice.rooms.janus.janus_channel import JanusAddress, Message
from cloudslice.rooms.janus.janus_errors import (
    NO_SUCH_ROOM,
    UNAUTHORIZED,
    WRONG_SECRET,
    JanusError,
    entry_error,
)
from cloudslice.rooms.janus.janus_visit import JanusVisit, VisitOptions
from cloudslice.rooms.janus.room_requests import (
    RoomId,
    RoomRequests,
    begin_requests,
    room_requests,
)
from cloudslice.rooms.janus.roster import Feed, FeedId, Source
from cloudslice.rooms.janus.session import open_session
from cloudslice.rooms.remote.remote_tracks import RemoteTrack
from cloudslice.rooms.remote.room_server import RoomView, UnreachableError, user_id_taken
from cloudslice.rooms.remote.user_ids import to_user_id
from cloudslice.settings.room_settings import JanusSettings
from cloudslice.tick import Tick
from cloudslice.webrtc.accepting import ReceivePolicy
from cloudslice.webrtc.connection_user import ConnectionOptions, ConnectionUser
from cloudslice.webrtc.dtls import DtlsCertificate
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.udp.port import UdpPort

_FIRST_VERSION = 1000
"""1.0.0: the first one with several publishers' streams in one connection."""
_MAX_SECTIONS = 1000
_REMEMBERED_S = 300.0
"""For so long a room that we were in is waited for when it is gone."""


class JanusServer:
    """See the module.

    Args:
        settings: the app's.
        port: where media comes in.
        tick: reads it.
        clock: for time-outs.
        consent_timeout_s: a media connection is lost on which nothing came for so long.
        max_video_bitrate_kbps: what the gateway is told.
    """

    def __init__(
        self,
        settings: JanusSettings,
        port: UdpPort,
        tick: Tick,
        clock: Clock,
        *,
        consent_timeout_s: float,
        max_video_bitrate_kbps: int,
    ) -> None:
        self._settings = settings
        self._address = JanusAddress(settings.url, settings.api_secret.get_secret_value())
        self._port = port
        self._tick = tick
        self._clock = clock
        self._certificate = DtlsCertificate()
        self._connection_options = ConnectionOptions(
            ReceivePolicy(
                {"audio": _MAX_SECTIONS, "video": _MAX_SECTIONS},
                max_video_bitrate_kbps=max_video_bitrate_kbps,
                we_are_ice_lite=False,
                needs_media=False,
                announced_only=True,
            ),
            consent_timeout_s=consent_timeout_s,
        )
        self._kept: dict[RoomKey, WeakValueDictionary[tuple[Source, bool], RemoteTrack]] = {}
        """Tracks that somebody still has, by room."""
        self._left_at: dict[RoomKey, float] = {}
        """When rooms were left, or lost, lately."""

    async def check(self, room: RoomKey, robot_user_id: str) -> None:
        """See `RoomServer`."""
        janus_id = self._janus_id(room)
        try:
            async with room_requests(self._address, self._settings) as requests:
                self._check_version(await requests.session.info())
                self._check_encryption(janus_id, await requests.rooms())
                if not self._settings.create_rooms or await requests.exists(janus_id):
                    await requests.check_pin(janus_id)
                    if await self._find_users(requests, janus_id, [robot_user_id]):
                        raise user_id_taken(robot_user_id)
        except JanusError as error:
            raise entry_error(error, self._address.url, janus_id) from error

    @asynccontextmanager
    async def visit(self, room: RoomKey, view: RoomView) -> AsyncIterator[JanusVisit]:
        """See `RoomServer`."""
        janus_id = self._janus_id(room)
        try:
            async with self._visiting(room, janus_id, view) as visit:
                yield visit
        except JanusError as error:
            left_at = self._left_at.get(room, -_REMEMBERED_S)
            if error.code == NO_SUCH_ROOM and self._clock.monotonic() - left_at < _REMEMBERED_S:
                # Janus may have been started again, and whoever makes its rooms be about to.
                raise UnreachableError(
                    f"Janus at {self._address.url} has no room {janus_id!r} any more"
                ) from error
            raise entry_error(error, self._address.url, janus_id) from error

    async def exists(self, room: RoomKey) -> bool:
        """See `RoomServer`."""
        try:
            janus_id = self._janus_id(room)
        except RoomEntryError:
            return False
        async with self._managing() as requests:
            return await requests.exists(janus_id)

    async def remove_users(self, room: RoomKey, user_ids: Sequence[str]) -> None:
        """See `RoomServer`."""
        janus_id = self._janus_id(room)
        async with self._managing() as requests:
            for each in await self._find_users(requests, janus_id, user_ids):
                await requests.kick(janus_id, each)

    async def dismiss(self, room: RoomKey) -> None:
        """See `RoomServer`."""
        async with self._managing() as requests:
            await requests.destroy(self._janus_id(room))

    async def list_rooms(
        self, sdk_app_id: int, types: Collection[RoomIdType]
    ) -> Mapping[RoomKey, bool]:
        """See `RoomServer`. Private rooms are among them where the settings have an admin_key."""
        found = {}
        async with self._managing() as requests:
            for each in await requests.rooms():
                # We are a participant ourselves, and others may only look on.
                is_active = bool(each.get("num_participants")) and await requests.has_publisher(
                    each["room"]
                )
                for room_id_type in types:
                    room = read_room_key(sdk_app_id, str(each["room"]), room_id_type)
                    if room is not None and room.room_id == str(each["room"]):
                        found[room] = is_active
        return found

    async def _find_users(
        self, requests: RoomRequests, janus_id: RoomId, user_ids: Collection[str]
    ) -> list[FeedId]:
        """Who of these is in a room. A robot may be called as we are in the room, where we are all
        robots: that is not who is meant."""
        return [
            feed.feed_id
            for feed, publishes in await requests.participants(janus_id)
            if (publishes or feed.display != self._settings.display)
            and to_user_id(self._name(feed)) in user_ids
        ]

    @asynccontextmanager
    async def _visiting(
        self, room: RoomKey, janus_id: RoomId, view: RoomView
    ) -> AsyncIterator[JanusVisit]:
        options = VisitOptions(
            room,
            janus_id,
            self._settings.pin.get_secret_value(),
            self._settings.display,
            self._name,
            self._settings.video_on_demand,
        )
        kept = self._kept.setdefault(room, WeakValueDictionary())
        async with open_session(self._address) as session:
            visit = JanusVisit(session, options, view, kept, self._connect, self._port, self._clock)
            try:
                try:
                    await visit.enter()
                except JanusError as error:
                    if error.code != NO_SUCH_ROOM or not self._settings.create_rooms:
                        raise
                    await (await begin_requests(session, self._settings)).create(janus_id)
                    await visit.enter()
                try:
                    yield visit
                finally:
                    self._remember(room)
            finally:
                await visit.leave()

    def _connect(self, user: ConnectionUser) -> PeerConnection:
        connection = PeerConnection(
            self._port, self._certificate, self._connection_options, user, self._clock
        )
        self._tick.wake()
        return connection

    def _remember(self, room: RoomKey) -> None:
        now = self._clock.monotonic()
        self._left_at = {
            each: at for each, at in self._left_at.items() if now - at < _REMEMBERED_S
        } | {room: now}
        if not self._kept.get(room):
            self._kept.pop(room, None)

    def _check_version(self, info: Message) -> None:
        version = info.get("version")
        if isinstance(version, int) and version < _FIRST_VERSION:
            raise RoomEntryError(
                f"Janus at {self._address.url} is {info.get('version_string', version)}: "
                "1.0 or newer is needed"
            )

    def _check_encryption(self, janus_id: RoomId, rooms: Iterable[Message]) -> None:
        """As far as Janus tells, of the rooms that it lists."""
        for room in rooms:
            if room["room"] == janus_id and room.get("require_e2ee"):
                raise RoomEntryError(
                    f"room {janus_id!r} of Janus at {self._address.url} is encrypted from end to "
                    "end: nothing of it can be sliced"
                )

    @asynccontextmanager
    async def _managing(self) -> AsyncIterator[RoomRequests]:
        """Raises UnreachableError; RoomEntryError: Janus refuses what is asked in the context."""
        try:
            async with room_requests(self._address, self._settings) as requests:
                yield requests
        except JanusError as error:
            reason = f"refuses the request: {error}"
            if error.code == UNAUTHORIZED:
                reason = "refuses the secret in apps.janus.api_secret"
            elif error.code == WRONG_SECRET or "secret" in error.reason:
                reason = "refuses the secret in apps.janus.room_secret"
            raise RoomEntryError(f"Janus at {self._address.url} {reason}") from error

    def _janus_id(self, room: RoomKey) -> RoomId:
        """Raises RoomEntryError: Janus cannot have such a room."""
        if self._settings.string_ids:
            return room.room_id
        if room.room_id_type is RoomIdType.NUMBER or (
            room.room_id.isascii() and room.room_id.isdecimal()
        ):
            return int(room.room_id)
        raise RoomEntryError(
            f"RoomId {room.room_id!r} is no number, and the rooms of this Janus have numbers "
            "(the setting apps.janus.string_ids)"
        )

    def _name(self, feed: Feed) -> str:
        by_display = self._settings.user_id == "display" and feed.display
        return feed.display if by_display else str(feed.feed_id)
