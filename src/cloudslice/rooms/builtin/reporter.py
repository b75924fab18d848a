"""Tells an observer who comes and goes in our rooms, and when their media begins and stops."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec

from cloudslice.clock import until_heartbeat
from cloudslice.faults import Faults
from cloudslice.ids import RoomKey
from cloudslice.media.tracks import TrackKind
from cloudslice.rooms.observer import ExitReason, RoomObserver
from cloudslice.rtp.session import CloseReason, Session

P = ParamSpec("P")

_SILENT_S = 2.0
"""Discontinuous audio comes every 0.4 s, a still screen's video every second (Chromium)."""

_EXIT_REASONS = {
    CloseReason.LEFT: ExitReason.NORMAL,
    CloseReason.LOST: ExitReason.TIMEOUT,
    CloseReason.FAILED: ExitReason.TIMEOUT,  # its DTLS broke while it was there
    CloseReason.ENDED: ExitReason.REMOVED,
}


@dataclass(eq=False, slots=True)
class _Member:
    session: Session
    sends: set[TrackKind] = field(default_factory=set)


class RoomReporter:
    """Looks after the anchors' media with every heartbeat, so that it costs a packet nothing.

    A track has stopped when its anchor was heard otherwise two seconds after its last packet, or
    said so itself (RTCP BYE). While nothing at all comes, nothing has stopped: either all goes on,
    or the anchor is lost.
    """

    def __init__(self, observer: RoomObserver, faults: Faults) -> None:
        """
        Args:
            observer: what it raises keeps no other news from it, and nobody out of a room.
            faults: counts and logs that.
        """
        self._observer = observer
        self._faults = faults
        self._rooms: dict[RoomKey, dict[str, _Member]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def entered(self, room: RoomKey, user_id: str, session: Session) -> None:
        """An anchor is in the room now; one of its UserId that was there before is out."""
        if room not in self._rooms:
            self._rooms[room] = {}
            self._tell(self._observer.on_room_created, room, user_id)
        members = self._rooms[room]
        if user_id in members:
            self._tell(self._observer.on_anchor_left, room, user_id, ExitReason.REMOVED)
        members[user_id] = _Member(session)
        self._tell(self._observer.on_anchor_entered, room, user_id)
        if self._timer is None:
            self._look_later()

    def left(self, room: RoomKey, user_id: str, session: Session, reason: CloseReason) -> None:
        """A session has ended; ignored unless it is that of the anchor who is in the room."""
        members = self._rooms.get(room, {})
        if user_id not in members or members[user_id].session is not session:
            return
        del members[user_id]
        self._tell(self._observer.on_anchor_left, room, user_id, _EXIT_REASONS[reason])
        if members:
            return
        del self._rooms[room]
        self._tell(self._observer.on_room_dismissed, room)
        if not self._rooms and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """Report the media that has begun or stopped since the last look."""
        for room, members in self._rooms.items():
            for user_id, member in members.items():
                try:
                    self._look_at(room, user_id, member)
                except Exception as error:
                    self._faults.caught(error)

    def _look_at(self, room: RoomKey, user_id: str, member: _Member) -> None:
        heard = member.session.last_authentic
        for kind, receiver in member.session.receivers.items():
            is_sent = heard - receiver.last_arrival < _SILENT_S
            if is_sent and kind not in member.sends:
                member.sends.add(kind)
                self._tell(self._observer.on_track_started, room, user_id, kind)
            elif not is_sent and kind in member.sends:
                member.sends.remove(kind)
                self._tell(self._observer.on_track_stopped, room, user_id, kind)

    def _tell(self, tell: Callable[P, None], *news: P.args, **named: P.kwargs) -> None:
        try:
            tell(*news, **named)
        except Exception as error:
            self._faults.caught(error)

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(until_heartbeat(loop.time()), self._look_and_repeat)

    def _look_and_repeat(self) -> None:
        self._look_later()
        self.look()
