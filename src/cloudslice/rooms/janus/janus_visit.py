"""A visit to a Janus room: a participant who publishes nothing, and a subscriber handle.

The participant hears who publishes. Others see it in the room's list, and are told of it where the
room notifies of those who join (`notify_joining`).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import structlog

from cloudslice.clock import Clock
from cloudslice.faults import Faults
from cloudslice.ids import RoomKey, TrackKind
from cloudslice.rooms.base import LeaveCode
from cloudslice.rooms.janus.janus_channel import Message
from cloudslice.rooms.janus.janus_errors import JanusError
from cloudslice.rooms.janus.janus_subscription import Connect, Subscription, SubscriptionLostError
from cloudslice.rooms.janus.roster import Feed, Roster, Source
from cloudslice.rooms.janus.session import JanusSession
from cloudslice.rooms.remote.remote_audio_track import RemoteAudioTrack
from cloudslice.rooms.remote.remote_track import ignore_change
from cloudslice.rooms.remote.remote_tracks import RemoteTrack
from cloudslice.rooms.remote.remote_video_track import RemoteVideoTrack
from cloudslice.rooms.remote.room_server import RoomView, Tracks, UnreachableError
from cloudslice.rooms.remote.user_ids import identity_to_tell, to_user_id
from cloudslice.webrtc.udp.port import UdpPort

_CONNECT_S = 15.0

_log = structlog.get_logger(__name__)

Kept = MutableMapping[tuple[Source, bool], RemoteTrack]
"""Tracks of this visit and of those before it, by what they are of, and whether that is video."""


@dataclass(frozen=True, slots=True)
class VisitOptions:
    """How a room is visited.

    Attributes:
        key: which room it is here.
        room: its id at Janus.
        pin: of the room; none if empty.
        display: what others see of us.
        user_id_of: the name of a publisher of which its UserId is made.
        on_demand: see `RemoteVideoTrack`.
    """

    key: RoomKey
    room: int | str
    pin: str
    display: str
    user_id_of: Callable[[Feed], str]
    on_demand: bool


class JanusVisit:
    """See the module; a `Visit`.

    Args:
        session: with Janus.
        options: see there.
        view: is told of the anchors.
        kept: tracks that went on when the visit before this one was lost.
        connect: makes a media connection.
        port: on which that is.
        clock: for what flows, and what is not wanted any more.
    """

    def __init__(
        self,
        session: JanusSession,
        options: VisitOptions,
        view: RoomView,
        kept: Kept,
        connect: Connect,
        port: UdpPort,
        clock: Clock,
    ) -> None:
        self._session = session
        self._options = options
        self._view = view
        self._kept = kept
        self._connect = connect
        self._port = port
        self._clock = clock
        self._roster = Roster()
        self._handle: int | None = None
        self._subscription: Subscription | None = None
        self._tracks: dict[Source, RemoteTrack] = {}
        self._faults = Faults("visit to a Janus room")
        self._told: set[tuple[str, str]] = set()
        """Codecs that cannot be received, by user, that the log has."""
        self._ended: asyncio.Future[LeaveCode | None] = asyncio.get_running_loop().create_future()
        self._reason = ""
        """Why the visit has ended."""
        self._tasks: list[asyncio.Task[None]] = []

    async def enter(self) -> None:
        """Join the room, and receive what is wanted already.

        Raises:
            JanusError, UnreachableError: it cannot be done.
        """
        joined = await self._join()
        join: Message = {
            "request": "join",
            "ptype": "subscriber",
            "room": self._options.room,
            "private_id": joined.get("private_id"),
            "autoupdate": False,  # who has left is known by the other handle
        }
        if self._options.pin:
            join["pin"] = self._options.pin
        self._subscription = Subscription(
            self._session, join, self._connect, self._port, self._clock
        )
        self._session.on_claimed = self._rejoin
        self._tasks.append(asyncio.create_task(self._watch_session()))
        self._tasks.append(asyncio.create_task(self._receive(self._subscription)))
        self._show()
        if self._subscription.is_needed:
            await self._wait_for_media(self._subscription)

    async def leave(self) -> None:
        """Receive nothing more; harmless when nothing was received."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._subscription is not None:
            self._subscription.close()
        for track in self._tracks.values():
            track.on_change = ignore_change

    async def ended(self) -> LeaveCode | None:
        """See `Visit`."""
        return await asyncio.shield(self._ended)

    def catch_up(self) -> None:
        """See `Visit`."""
        if self._subscription is not None:
            self._subscription.catch_up()

    @property
    def media_counts(self) -> Counter[str]:
        """See `Visit`."""
        return Counter() if self._subscription is None else self._subscription.media_counts

    async def _join(self) -> Message:
        """The participant's handle, made anew; what Janus says to it."""
        handle = await self._session.attach(self._hear)
        body: Message = {
            "request": "join",
            "ptype": "publisher",
            "room": self._options.room,
            "display": self._options.display,
        }
        if self._options.pin:
            body["pin"] = self._options.pin
        joined = (await self._session.message(handle, body)).data
        self._handle = handle
        return joined

    def _rejoin(self) -> None:
        """What Janus told while the WebSocket was lost is to be had by joining once more."""
        self._tasks.append(asyncio.create_task(self._join_again()))

    async def _join_again(self) -> None:
        former = self._handle
        try:
            await self._join()
            if former is not None:
                await self._session.detach(former)
        except (JanusError, UnreachableError) as error:
            self._end(None, str(error))
            return
        self._show()
        if self._subscription is not None:
            self._subscription.resync()

    async def _watch_session(self) -> None:
        self._end(None, await self._session.lost())

    async def _receive(self, subscription: Subscription) -> None:
        try:
            await subscription.run()
        except SubscriptionLostError as error:
            self._end(None, str(error))
        except Exception as error:
            self._faults.caught(error, **self._fields)
            self._end(None, f"unforeseen error: {error!r}")

    async def _wait_for_media(self, subscription: Subscription) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                await subscription.connected()
        except TimeoutError as error:
            raise UnreachableError(
                f"no media connection to Janus was made in {_CONNECT_S:g} s"
            ) from error
        await asyncio.sleep(0)  # in which `_receive` says why, if there is none
        if self._ended.done():
            raise UnreachableError(f"no media connection to Janus was made: {self._reason}")

    def _hear(self, message: Message) -> None:
        kind = message.get("janus")
        if kind == "detached":
            self._end(None, "Janus has detached our handle")
        if kind != "event":
            return
        data: dict[str, Any] = (message.get("plugindata") or {}).get("data") or {}
        if data.get("videoroom") == "joined":
            # Not later, when we go on that have waited for it: others may have come meanwhile.
            self._roster.replace(data)
        elif data.get("videoroom") == "destroyed":
            self._end(LeaveCode.SERVER_DISMISSED, "the room was destroyed")
        elif data.get("leaving") == "ok" and data.get("reason") == "kicked":
            self._end(LeaveCode.SERVER_REMOVED, "we were kicked")
        elif data.get("videoroom") == "event" and self._roster.take(data):
            self._show()

    def _show(self) -> None:
        """Tell the view who is there, and the subscription what is sent."""
        if self._subscription is None:
            return
        tracks: dict[Source, RemoteTrack] = {}
        anchors: dict[str, Tracks] = {}
        for feed in self._roster.feeds.values():
            identity = self._options.user_id_of(feed)
            user_id = to_user_id(identity)
            of_feed = {
                kind: self._find_track(source, kind) for kind, source in feed.sources().items()
            }
            tracks |= {source: of_feed[kind] for kind, source in feed.sources().items()}
            # Of two with the same name the one that came last counts.
            if of_feed or user_id not in anchors:
                anchors[user_id] = _as_tracks(of_feed, identity_to_tell(identity, user_id))
            self._tell_unknown(feed, user_id)
        self._tracks = tracks
        self._subscription.set_tracks(tracks, self._roster.feeds)
        self._view.show(anchors)

    def _find_track(self, source: Source, kind: TrackKind) -> RemoteTrack:
        is_video = kind is not TrackKind.AUDIO
        track = self._kept.get((source, is_video))
        if track is None:
            if is_video:
                track = RemoteVideoTrack(
                    self._clock, self._faults.caught, on_demand=self._options.on_demand
                )
            else:
                track = RemoteAudioTrack(self._clock, self._faults.caught)
            self._kept[source, is_video] = track
        return track

    def _tell_unknown(self, feed: Feed, user_id: str) -> None:
        for codec in feed.unknown_codecs():
            if (user_id, codec) not in self._told:
                self._told.add((user_id, codec))
                _log.warning(
                    "an anchor sends a codec that is not sliced",
                    user_id=user_id,
                    codec=codec,
                    **self._fields,
                )

    def _end(self, code: LeaveCode | None, reason: str) -> None:
        if not self._ended.done():
            _log.info("visit to a Janus room ends", reason=reason, **self._fields)
            self._reason = reason
            self._ended.set_result(code)

    @property
    def _fields(self) -> dict[str, object]:
        key = self._options.key
        return {"sdk_app_id": key.sdk_app_id, "room_id": key.wire_id}


def _as_tracks(tracks: dict[TrackKind, RemoteTrack], identity: str) -> Tracks:
    audio, video, aux = (tracks.get(each) for each in TrackKind)
    return Tracks(
        audio=audio if isinstance(audio, RemoteAudioTrack) else None,
        video=video if isinstance(video, RemoteVideoTrack) else None,
        aux=aux if isinstance(aux, RemoteVideoTrack) else None,
        identity=identity,
    )
