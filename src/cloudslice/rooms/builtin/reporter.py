"""Publishes who comes and goes in our rooms, and when their media begins and stops."""

from dataclasses import dataclass, field
from math import inf

from cloudslice.bus import Bus
from cloudslice.events import (
    AnchorJoined,
    AnchorLeft,
    ExitReason,
    MediaStarted,
    MediaStopped,
    RoomCreated,
    RoomDismissed,
)
from cloudslice.faults import Faults
from cloudslice.ids import RoomKey, TrackKind
from cloudslice.rooms.builtin.publication import Publication
from cloudslice.webrtc.connection_user import CloseReason

_INTERVAL_S = 0.4
_SILENT_S = {TrackKind.AUDIO: 2.0, TrackKind.VIDEO: 6.0, TrackKind.AUX: 6.0}
"""Seconds after the last packet. Discontinuous audio comes every 0.4 s; the video of a still screen
every second or every five, as its sender has it."""

_EXIT_REASONS = {
    CloseReason.LEFT: ExitReason.NORMAL,
    CloseReason.LOST: ExitReason.TIMEOUT,
    CloseReason.FAILED: ExitReason.TIMEOUT,  # its DTLS broke while it was there
    CloseReason.ENDED: ExitReason.REMOVED,
}


@dataclass(eq=False, slots=True)
class _Member:
    publication: Publication
    sends: set[TrackKind] = field(default_factory=set)


class RoomReporter:
    """Looks after the anchors' media now and then; a TickPart.

    A track has stopped when its anchor was heard otherwise some seconds after its last packet, or
    said so itself (RTCP BYE). While nothing at all comes, nothing has stopped: either all goes on,
    or the anchor is lost.
    """

    def __init__(self, bus: Bus, faults: Faults) -> None:
        """
        Args:
            bus: is told.
            faults: counts and logs what looking at a track raises.
        """
        self._bus = bus
        self._faults = faults
        self._rooms: dict[RoomKey, dict[str, _Member]] = {}
        self._next_look = -inf

    @property
    def is_active(self) -> bool:
        return bool(self._rooms)

    def tick(self, now: float) -> None:
        """Look after the media, if it is time to at monotonic second `now`."""
        if now >= self._next_look:
            self._next_look = now + _INTERVAL_S
            self.look()

    def entered(self, publication: Publication) -> None:
        """An anchor is in its room now; one of its UserId that was there before is out."""
        room, user_id = publication.room, publication.user_id
        if room not in self._rooms:
            self._rooms[room] = {}
            self._bus.publish(RoomCreated(room, user_id))
        members = self._rooms[room]
        if user_id in members:
            self._bus.publish(AnchorLeft(room, user_id, ExitReason.REMOVED))
        members[user_id] = _Member(publication)
        self._bus.publish(AnchorJoined(room, user_id))

    def left(self, publication: Publication, reason: CloseReason) -> None:
        """A publication has ended; ignored unless it is that of the anchor who is in the room."""
        room, user_id = publication.room, publication.user_id
        members = self._rooms.get(room, {})
        if user_id not in members or members[user_id].publication is not publication:
            return
        del members[user_id]
        self._bus.publish(AnchorLeft(room, user_id, _EXIT_REASONS[reason]))
        if members:
            return
        del self._rooms[room]
        self._bus.publish(RoomDismissed(room))

    def look(self) -> None:
        """Report the media that has begun or stopped since the last look."""
        for room, members in self._rooms.items():
            for user_id, member in members.items():
                try:
                    self._look_at(room, user_id, member)
                except Exception as error:
                    self._faults.caught(error)

    def _look_at(self, room: RoomKey, user_id: str, member: _Member) -> None:
        heard = member.publication.connection.last_authentic
        for kind, receiver in member.publication.tracks:
            is_sent = heard - receiver.last_arrival < _SILENT_S[kind]
            if is_sent and kind not in member.sends:
                member.sends.add(kind)
                self._bus.publish(MediaStarted(room, user_id, kind))
            elif not is_sent and kind in member.sends:
                member.sends.remove(kind)
                self._bus.publish(MediaStopped(room, user_id, kind))
