"""A listener that keeps what it hears of rooms."""

import asyncio
from typing import cast

from cloudslice.bus import Bus
from cloudslice.database import Database
from cloudslice.events import (
    AnchorJoined,
    AnchorLeft,
    MediaStarted,
    MediaStopped,
    RoomCreated,
    RoomDismissed,
)

_NAMES = {
    RoomCreated: "created",
    RoomDismissed: "dismissed",
    AnchorJoined: "entered",
    AnchorLeft: "left",
    MediaStarted: "started",
    MediaStopped: "stopped",
}

RoomEvent = RoomCreated | RoomDismissed | AnchorJoined | AnchorLeft | MediaStarted | MediaStopped


def make_bus() -> Bus:
    """A bus on which nothing is recorded."""
    return Bus(cast(Database, None))


class RecordingObserver:
    """Keeps what it hears as tuples: what, the room's id, and the rest."""

    def __init__(self) -> None:
        self.bus = make_bus()
        self.heard: list[tuple[object, ...]] = []
        self._news = asyncio.Event()
        for kind in _NAMES:
            self.bus.listen(kind, self._hear)

    async def wait_for(self, *what: object, within_s: float = 5) -> None:
        """Wait until it has heard that."""
        async with asyncio.timeout(within_s):
            while what not in self.heard:
                self._news.clear()
                await self._news.wait()

    def _hear(self, event: RoomEvent) -> None:
        rest = [
            getattr(event, name) for name in ("user_id", "reason", "kind") if hasattr(event, name)
        ]
        self.heard.append((_NAMES[type(event)], event.room.room_id, *rest))
        self._news.set()
