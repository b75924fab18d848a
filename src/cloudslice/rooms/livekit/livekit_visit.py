"""A stay in a LiveKit room: signalling, one peer connection, and the tracks that somebody wants.

1. What tracks want (`remote_tracks`) is told the server at once, or on the next tick.
2. Signalling that is lost is resumed while media goes on. Lost media, or what cannot be resumed,
   ends the visit.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping

import structlog
from livekit.protocol import models, rtc

from cloudslice.clock import Clock
from cloudslice.rooms.base import LeaveCode, RoomEntryError
from cloudslice.rooms.livekit.livekit_members import LivekitMembers
from cloudslice.rooms.livekit.livekit_room_tracks import RoomTracks
from cloudslice.rooms.livekit.livekit_sections import OfferedSections
from cloudslice.rooms.livekit.livekit_session import LivekitSession, VisitPlace
from cloudslice.rooms.livekit.livekit_subscriptions import Subscriptions
from cloudslice.rooms.remote.remote_track import ignore_change
from cloudslice.rooms.remote.room_server import Tracks, UnreachableError
from cloudslice.webrtc.connection_user import CloseReason
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.sdp import SdpError
from cloudslice.webrtc.transport_parameters import parse_candidate
from cloudslice.webrtc.udp.port import UdpPort

_SILENT_S = 7.0
"""Consent is asked for every 4 to 6 s (RFC 7675, 5.1): a path that works is not silent so long."""
_GOODBYE_S = 1.0
"""The server ends media and says by signalling why, in this or the other order."""

_END_CODES = {
    models.DisconnectReason.PARTICIPANT_REMOVED: LeaveCode.SERVER_REMOVED,
    models.DisconnectReason.ROOM_DELETED: LeaveCode.SERVER_DISMISSED,
}
"""For all other reasons the room may be entered again; one that LiveKit has closed because it was
empty, when it is there again."""

_log = structlog.get_logger(__name__)


class _EndedError(Exception):
    """The visit is over."""

    def __init__(self, code: LeaveCode | None, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class LivekitVisit:
    """A Visit, a ConnectionUser and a TickPart.

    Attributes:
        is_room_closed: whether it has ended because LiveKit has closed the room: it was empty.

    Args:
        place: where.
        tracks: of the room.
        show: is told, by identity, what members send.
        port: where media comes in.
        connect: makes the connection, of which this is the user.
        clock: for time-outs.
    """

    def __init__(
        self,
        place: VisitPlace,
        tracks: RoomTracks,
        show: Callable[[Mapping[str, Tracks]], None],
        port: UdpPort,
        connect: Callable[["LivekitVisit"], PeerConnection],
        clock: Clock,
    ) -> None:
        self.is_room_closed = False
        self._log_fields = place.log_fields
        self._tracks = tracks
        self._not_decrypted_before = tracks.not_decrypted
        self._show = show
        self._port = port
        self._clock = clock
        self._members = LivekitMembers()
        self._connection = connect(self)
        self._session = LivekitSession(place, self._take, clock)
        self._sections = OfferedSections(self._connection, self._session.send, tracks.bind)
        self._subscriptions = Subscriptions(self._session.send)
        loop = asyncio.get_running_loop()
        self._entered: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[LeaveCode | None] = loop.create_future()
        self._media_ended_at: float | None = None
        tracks.wake = self._request_tracks

    async def entered(self) -> None:
        """Wait until media can come.

        Raises:
            RoomEntryError, UnreachableError: it never will.
        """
        await asyncio.shield(self._entered)

    async def ended(self) -> LeaveCode | None:
        """See `Visit`."""
        return await asyncio.shield(self._ended)

    @property
    def has_entered(self) -> bool:
        """Whether media can come, or could."""
        return self._entered.done() and not self._entered.exception()

    def catch_up(self) -> None:
        """See `Visit`."""
        self._port.catch_up([self._connection.peer])

    @property
    def media_counts(self) -> Counter[str]:
        """See `Visit`."""
        total = self._connection.counts
        total["not_decrypted"] = self._tracks.not_decrypted - self._not_decrypted_before
        return total

    @property
    def is_active(self) -> bool:
        """See `TickPart`."""
        return not self._ended.done()

    def tick(self, now: float) -> None:
        """See `TickPart`."""
        self._tracks.tick(now)
        self._request_tracks()
        if self._media_ended_at is not None and now - self._media_ended_at > _GOODBYE_S:
            self._end(None)

    def on_connected(self) -> None:
        """See `ConnectionUser`."""
        if not self._entered.done():
            self._entered.set_result(None)

    def on_closed(self, reason: CloseReason, failure: str) -> None:
        """See `ConnectionUser`."""
        self._media_ended_at = self._clock.monotonic()
        why = failure or reason.value
        self._fail_entry(UnreachableError(f"no media comes from the LiveKit server: {why}"))
        if reason is not CloseReason.ENDED:
            log = _log.info if reason is CloseReason.LEFT else _log.warning
            log("media of a LiveKit room has ended", reason=why, **self._log_fields)

    def show(self) -> None:
        """Tell what members send now."""
        self._show(self._tracks.update(self._members.published))

    async def run(self) -> None:
        """Be in the room until the visit is over; to be cancelled in order to leave."""
        try:
            await self._session.run(self._sections.make_offer(), self._is_media_there)
        except _EndedError as ended:
            _log.info("a LiveKit room is left", reason=str(ended), **self._log_fields)
            self._fail_entry(UnreachableError(str(ended)))
            self._end(ended.code)
        except (RoomEntryError, UnreachableError) as error:
            self._fail_entry(error)
        finally:
            self._fail_entry(UnreachableError("signalling of the LiveKit server is lost"))
            self._end(None)
            self._tracks.wake = ignore_change
            self._connection.close()
            self._tracks.bind({})

    def _take(self, response: rtc.SignalResponse) -> None:
        """Raises _EndedError."""
        match response.WhichOneof("message"):
            case "join":
                self._tracks.server_trailer = response.join.sif_trailer
                self._members.replace(response.join.other_participants)
                self.show()
            case "reconnect":
                self._resume()
            case "answer":
                self._accept(response.answer)
            case "media_sections_requirement":
                self._sections.require(response.media_sections_requirement)
            case "trickle":
                self._add_candidate(response.trickle)
            case "update":
                self._members.update(response.update.participants)
                self.show()
            case "subscription_response":
                error = models.SubscriptionError.Name(response.subscription_response.err)
                self._tracks.refuse(response.subscription_response.track_sid, error)
                self.show()
            case "leave":
                self._leave(response.leave)

    def _resume(self) -> None:
        """The server knows us still, but not what we had told it last. ICE is restarted only if
        the path may be lost: it costs some packets."""
        self._subscriptions.forget()
        self._request_tracks()
        silent_s = self._clock.monotonic() - self._connection.last_authentic
        offer = self._sections.make_offer(restarts_ice=silent_s > _SILENT_S)
        self._session.send(rtc.SignalRequest(offer=offer))

    def _accept(self, answer: rtc.SessionDescription) -> None:
        try:
            self._sections.accept(answer)
        except SdpError as error:
            raise _EndedError(
                None, f"the LiveKit server's answer cannot be used: {error}"
            ) from error

    def _add_candidate(self, trickle: rtc.TrickleRequest) -> None:
        try:
            text = json.loads(trickle.candidateInit)["candidate"]
        except (ValueError, TypeError, KeyError):
            return
        candidate = parse_candidate(str(text).removeprefix("candidate:"))
        if candidate is not None:
            self._connection.add_candidate(candidate)

    def _leave(self, leave: rtc.LeaveRequest) -> None:
        """Raises _EndedError."""
        if leave.action == rtc.LeaveRequest.Action.RESUME:
            return  # the server closes the WebSocket then
        self.is_room_closed = leave.reason == models.DisconnectReason.ROOM_CLOSED
        reason = models.DisconnectReason.Name(leave.reason)
        raise _EndedError(
            _END_CODES.get(leave.reason), f"the LiveKit server ended the connection ({reason})"
        )

    def _request_tracks(self) -> None:
        if self._session.is_connected and not self._ended.done():
            self._subscriptions.update(self._tracks.all, self._clock.monotonic())

    def _is_media_there(self) -> bool:
        return self._media_ended_at is None

    def _fail_entry(self, error: Exception) -> None:
        if not self._entered.done():
            self._entered.set_exception(error)
            self._entered.exception()  # there may be nobody who waits for it

    def _end(self, code: LeaveCode | None) -> None:
        if not self._ended.done():
            self._ended.set_result(code)
