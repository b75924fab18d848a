"""A RoomObserver that keeps what it hears."""

from dataclasses import dataclass, field

from cloudslice.rooms.base import RoomKey, TrackKind
from cloudslice.rooms.observer import ExitReason


@dataclass
class RecordingObserver:
    """Keeps what it hears as tuples: what, the room's id, and the rest."""

    heard: list[tuple[object, ...]] = field(default_factory=list)

    def on_room_created(self, room: RoomKey, user_id: str) -> None:
        self.heard.append(("created", room.room_id, user_id))

    def on_room_dismissed(self, room: RoomKey) -> None:
        self.heard.append(("dismissed", room.room_id))

    def on_anchor_entered(self, room: RoomKey, user_id: str) -> None:
        self.heard.append(("entered", room.room_id, user_id))

    def on_anchor_left(self, room: RoomKey, user_id: str, reason: ExitReason) -> None:
        self.heard.append(("left", room.room_id, user_id, reason))

    def on_track_started(self, room: RoomKey, user_id: str, kind: TrackKind) -> None:
        self.heard.append(("started", room.room_id, user_id, kind))

    def on_track_stopped(self, room: RoomKey, user_id: str, kind: TrackKind) -> None:
        self.heard.append(("stopped", room.room_id, user_id, kind))
