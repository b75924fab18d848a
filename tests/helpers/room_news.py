"""Somebody who hears of rooms."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudslice.ids import RoomKey


@dataclass
class News:
    """A RoomNews that keeps what it is told."""

    heard: list[tuple[str, object]] = field(default_factory=list)
    lists: asyncio.Queue[Mapping[RoomKey, bool]] = field(default_factory=asyncio.Queue)

    def on_room_active(self, room: RoomKey) -> None:
        self.heard.append(("active", room))

    def on_room_ended(self, room: RoomKey) -> None:
        self.heard.append(("ended", room))

    def on_rooms_listed(self, _sdk_app_id: int, rooms: Mapping[RoomKey, bool]) -> None:
        self.lists.put_nowait(dict(rooms))
