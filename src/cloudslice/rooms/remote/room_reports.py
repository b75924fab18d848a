"""Publishes who comes and goes in a room of another server, and when their media begins and stops.

That is known while a robot is there. Who is in the room when it enters is told as one who comes.
"""

from collections.abc import Iterable

from cloudslice.bus import Bus
from cloudslice.events import AnchorJoined, AnchorLeft, ExitReason, MediaStarted, MediaStopped
from cloudslice.ids import RoomKey, TrackKind
from cloudslice.rooms.remote.room_server import Tracks


class RoomReports:
    """The reports of one room.

    Args:
        room: which one.
        bus: is told.
    """

    def __init__(self, room: RoomKey, bus: Bus) -> None:
        self._room = room
        self._bus = bus

    def joined(self, user_id: str, tracks: Tracks) -> None:
        """An anchor is there, and sends these."""
        self._bus.publish(AnchorJoined(self._room, user_id))
        self.changed(user_id, Tracks(), tracks)

    def changed(self, user_id: str, before: Tracks, now: Tracks) -> None:
        """An anchor sends something else than before."""
        sent, sends = set(_kinds(before)), set(_kinds(now))
        for kind in TrackKind:
            if kind in sends - sent:
                self._bus.publish(MediaStarted(self._room, user_id, kind))
            elif kind in sent - sends:
                self._bus.publish(MediaStopped(self._room, user_id, kind))

    def left(self, user_id: str) -> None:
        """An anchor is gone."""
        self._bus.publish(AnchorLeft(self._room, user_id, ExitReason.NORMAL))


def _kinds(tracks: Tracks) -> Iterable[TrackKind]:
    named = zip(TrackKind, (tracks.audio, tracks.video, tracks.aux), strict=True)
    return (kind for kind, track in named if track is not None)
