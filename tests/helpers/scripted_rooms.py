"""A RoomServer that does what the test says, and a robot that keeps what it hears."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import Anchor, LeaveCode
from cloudslice.rooms.remote.room_server import RoomView


@dataclass
class HearingRobot:
    """A RoomListener that keeps what it hears."""

    heard: list[tuple[str, object]] = field(default_factory=list)
    was_evicted: asyncio.Event = field(default_factory=asyncio.Event)

    def on_anchor_joined(self, anchor: Anchor) -> None:
        self.heard.append(("joined", anchor.user_id))

    def on_anchor_changed(self, anchor: Anchor) -> None:
        self.heard.append(("changed", anchor.user_id))

    def on_anchor_left(self, anchor: Anchor) -> None:
        self.heard.append(("left", anchor.user_id))

    def on_evicted(self, code: LeaveCode) -> None:
        self.heard.append(("evicted", code))
        self.was_evicted.set()


@dataclass
class ScriptedVisit:
    """A Visit that ends when the test says so."""

    view: RoomView
    end: asyncio.Future[LeaveCode | None]
    catches_up: int = 0

    async def ended(self) -> LeaveCode | None:
        return await self.end

    def catch_up(self) -> None:
        self.catches_up += 1

    @property
    def media_counts(self) -> Counter[str]:
        return Counter(lost=1)


@dataclass
class ScriptedServer:
    """A RoomServer whose rooms are as the test says."""

    failures: list[Exception] = field(default_factory=list)
    """What the next tries to enter raise."""
    hangs: bool = False
    """Whether entering has no end."""
    ends_at_once: LeaveCode | None = None
    """With what a visit has ended when it begins."""
    check_failure: Exception | None = None
    lookup_failure: Exception | None = None
    rooms: set[RoomKey] = field(default_factory=set)
    dismiss_failure: Exception | None = None
    on_dismiss: Callable[[], Awaitable[None]] | None = None
    """What happens while a room is being dismissed."""
    removed: list[str] = field(default_factory=list)
    dismissed: list[RoomKey] = field(default_factory=list)
    visits: asyncio.Queue[ScriptedVisit] = field(default_factory=asyncio.Queue)
    left: asyncio.Queue[ScriptedVisit] = field(default_factory=asyncio.Queue)

    async def check(self, _room: RoomKey, _robot_user_id: str) -> None:
        if self.check_failure is not None:
            raise self.check_failure

    @asynccontextmanager
    async def visit(self, _room: RoomKey, view: RoomView) -> AsyncIterator[ScriptedVisit]:
        if self.failures:
            raise self.failures.pop(0)
        if self.hangs:
            await asyncio.Event().wait()
        visit = ScriptedVisit(view, asyncio.get_running_loop().create_future())
        if self.ends_at_once is not None:
            visit.end.set_result(self.ends_at_once)
        self.visits.put_nowait(visit)
        try:
            yield visit
        finally:
            self.left.put_nowait(visit)

    async def exists(self, room: RoomKey) -> bool:
        if self.lookup_failure is not None:
            raise self.lookup_failure
        return room in self.rooms

    async def remove_users(self, _room: RoomKey, user_ids: Sequence[str]) -> None:
        self.removed += user_ids

    async def dismiss(self, room: RoomKey) -> None:
        if self.dismiss_failure is not None:
            raise self.dismiss_failure
        self.dismissed.append(room)
        if self.on_dismiss is not None:
            await self.on_dismiss()

    async def list_rooms(
        self, _sdk_app_id: int, types: Collection[RoomIdType]
    ) -> Mapping[RoomKey, bool]:
        return {room: True for room in self.rooms if room.room_id_type in types}
