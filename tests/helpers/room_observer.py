"""A RoomObserver that keeps what it hears."""

import asyncio

from cloudslice.ids import RoomKey, TrackKind
from cloudslice.rooms.observer import ExitReason


class RecordingObserver:
    """Keeps what it hears as tuples: what, the room's id, and the rest."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []
        self._news = asyncio.Event()

    def on_room_created(self, room: RoomKey, user_id: str) -> None:
        self._hear("created", room.room_id, user_id)

    def on_room_dismissed(self, room: RoomKey) -> None:
        self._hear("dismissed", room.room_id)

    def on_anchor_entered(self, room: RoomKey, user_id: str) -> None:
        self._hear("entered", room.room_id, user_id)

    def on_anchor_left(self, room: RoomKey, user_id: str, reason: ExitReason) -> None:
        self._hear("left", room.room_id, user_id, reason)

    def on_track_started(self, room: RoomKey, user_id: str, kind: TrackKind) -> None:
        self._hear("started", room.room_id, user_id, kind)

    def on_track_stopped(self, room: RoomKey, user_id: str, kind: TrackKind) -> None:
        self._hear("stopped", room.room_id, user_id, kind)

    async def wait_for(self, *what: object, within_s: float = 5) -> None:
        """Wait until it has heard that."""
        async with asyncio.timeout(within_s):
            while what not in self.heard:
                self._news.clear()
                await self._news.wait()

    def _hear(self, *what: object) -> None:
        self.heard.append(what)
        self._news.set()
