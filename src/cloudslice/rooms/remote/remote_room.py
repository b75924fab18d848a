"""A room of another server while robots are in it: one visit at a time, made again when it is lost.

1. Robots share the visit. The first one opens it; it ends when the last one has left.
2. While the connection is lost, the anchors stay as they were: what they send meanwhile is a gap.
   The next visit shows who is still there.
3. After `grace_s` without a visit, or when the server ends it, all robots are out.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from enum import Enum
from operator import methodcaller

import structlog

from cloudslice.clock import Clock
from cloudslice.faults import Faults
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import Anchor, LeaveCode, RoomEntryError, RoomListener
from cloudslice.rooms.remote.remote_anchor import RemoteAnchor
from cloudslice.rooms.remote.room_reports import RoomReports
from cloudslice.rooms.remote.room_server import RoomServer, Tracks, UnreachableError, Visit

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
_SHORTEST_TRY_S = 10.0
"""Servers give up, and say why, sooner."""


class RoomState(Enum):
    """How a room's connection is."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "lost"
    """It was there, and is tried again."""


class RemoteRoom:
    """See the module. A `RoomView` of its visits.

    Args:
        key: which room.
        server: where it is.
        grace_s: seconds without a connection after which the robots leave.
        clock: for the grace.
        reports: are told of the anchors.
        faults: counts and logs what a robot raises, and unforeseen errors of a visit.
    """

    def __init__(
        self,
        key: RoomKey,
        server: RoomServer,
        grace_s: float,
        clock: Clock,
        reports: RoomReports,
        faults: Faults,
    ) -> None:
        self.state = RoomState.CONNECTING
        self.is_being_dismissed = False
        """Whether it is by us that the server ends the room now."""
        self._key = key
        self._server = server
        self._grace_s = grace_s
        self._clock = clock
        self._reports = reports
        self._faults = faults
        self._robots: dict[str, RoomListener] = {}
        self._anchors: dict[str, RemoteAnchor] = {}
        self._visit: Visit | None = None
        self._entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._counts_of_ended = Counter[str]()

    @property
    def anchors(self) -> Mapping[str, Anchor]:
        """Who sends media, by UserId."""
        return self._anchors

    @property
    def robots(self) -> Mapping[str, RoomListener]:
        """Who hears it, by UserId."""
        return self._robots

    @property
    def faults(self) -> Faults:
        """See `RoomView`."""
        return self._faults

    @property
    def media_counts(self) -> Counter[str]:
        """What all visits have received and dropped."""
        total = self._counts_of_ended.copy()
        if self._visit is not None:
            total.update(self._visit.media_counts)
        return total

    async def entered(self) -> None:
        """Wait for the first visit's beginning.

        Raises:
            RoomEntryError: there will be none.
        """
        await asyncio.shield(self._entered)

    def add_robot(self, user_id: str, robot: RoomListener) -> None:
        """Have `robot` hear from now on; an older one of this UserId leaves."""
        self.catch_up()  # what came before this robot is not for it
        former = self._robots.get(user_id)
        if former is not None and former is not robot:
            self._tell([former], methodcaller("on_evicted", LeaveCode.REPLACED))
        self._robots[user_id] = robot
        for anchor in list(self._anchors.values()):
            self._join(robot, anchor)

    def remove_robot(self, user_id: str, robot: RoomListener) -> None:
        """Have `robot` hear no more, once it has heard all that has come; harmless when it is not
        there."""
        if self._robots.get(user_id) is robot:
            self.catch_up()
            del self._robots[user_id]

    def evict_robot(self, user_id: str, code: LeaveCode) -> None:
        """Put a robot out; harmless when it is not there."""
        if user_id in self._robots:
            self.catch_up()
            self._tell([self._robots.pop(user_id)], methodcaller("on_evicted", code))

    def catch_up(self) -> None:
        """Have the robots hear all that has come."""
        if self._visit is not None:
            try:
                self._visit.catch_up()
            except Exception as error:
                self._faults.caught(error, **self._fields)

    def show(self, anchors: Mapping[str, Tracks]) -> None:
        """See `RoomView`."""
        shown = {user_id: tracks for user_id, tracks in anchors.items() if tracks}
        for user_id in [each for each in self._anchors if each not in shown]:
            left = self._anchors.pop(user_id)
            self._tell(self._robots.values(), methodcaller("on_anchor_left", left))
            self._reports.left(user_id)
            _log.info("anchor left", user_id=user_id, **self._fields)
        for user_id, tracks in shown.items():
            anchor = self._anchors.get(user_id)
            if anchor is None:
                self._anchors[user_id] = anchor = RemoteAnchor(user_id, tracks)
                _log.info("anchor joined", user_id=user_id, **self._fields)
                for robot in list(self._robots.values()):
                    self._join(robot, anchor)
                self._reports.joined(user_id, tracks)
            elif anchor.tracks != tracks:
                self._reports.changed(user_id, anchor.tracks, tracks)
                anchor.tracks = tracks
                self._tell(self._robots.values(), methodcaller("on_anchor_changed", anchor))

    async def run(self) -> None:
        """Visit the room until the server ends it, or it cannot be entered any more; to be
        cancelled when the last robot has left. Then no robot is in it."""
        code, reason = LeaveCode.CONNECTION_LOST, "unforeseen error"
        try:
            code, reason = await self._visit_again_and_again()
        except asyncio.CancelledError:
            reason = "the room is not needed any more"
            raise
        finally:
            self._end(code, reason)

    async def _visit_again_and_again(self) -> tuple[LeaveCode, str]:
        """The code with which the robots leave, and why."""
        lost_at, pause_s, told = self._clock.monotonic(), _FIRST_PAUSE_S, ""
        while True:
            try:
                async with AsyncExitStack() as stack:
                    left_s = lost_at + self._grace_s - self._clock.monotonic()
                    async with asyncio.timeout(max(left_s, _SHORTEST_TRY_S)):
                        visit = self._server.visit(self._key, self)
                        self._visit = await stack.enter_async_context(visit)
                    pause_s, told = _FIRST_PAUSE_S, ""
                    code = await self._stay(self._visit)
                if code is not None:
                    is_ours = code is LeaveCode.SERVER_DISMISSED and self.is_being_dismissed
                    return LeaveCode.ROOM_DISMISSED if is_ours else code, "the server has ended it"
                lost_at, reason = self._clock.monotonic(), "the connection is lost"
            except RoomEntryError as error:
                has_been_in = self._entered.done()
                code = LeaveCode.SERVER_REMOVED if has_been_in else LeaveCode.CONNECTION_LOST
                return code, str(error)
            except UnreachableError as error:
                reason = str(error)
            except TimeoutError:
                reason = "the server gave no answer"
            except Exception as error:
                self._faults.caught(error, **self._fields)
                reason = f"unforeseen error: {error!r}"
            finally:
                self._leave()
            left_s = lost_at + self._grace_s - self._clock.monotonic()
            if left_s <= 0:
                return LeaveCode.CONNECTION_LOST, reason
            if reason != told:
                _log.warning("room is not connected, will try again", reason=reason, **self._fields)
                told = reason
            await asyncio.sleep(min(left_s, pause_s * random.uniform(0.75, 1.25)))  # noqa: S311
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _stay(self, visit: Visit) -> LeaveCode | None:
        self.state = RoomState.CONNECTED
        if not self._entered.done():
            self._entered.set_result(None)
        _log.info("room is connected", **self._fields)
        try:
            return await visit.ended()
        finally:
            self.catch_up()

    def _leave(self) -> None:
        """The visit, if there was one, is over."""
        if self._visit is not None:
            self._counts_of_ended.update(self._visit.media_counts)
            self._visit, self.state = None, RoomState.LOST

    def _end(self, code: LeaveCode, reason: str) -> None:
        if self._robots:
            _log.warning(
                "robots are out of the room", reason=reason, leave_code=int(code), **self._fields
            )
        if not self._entered.done():
            self._entered.set_exception(RoomEntryError(reason))
            self._entered.exception()  # there may be nobody who waits for it
        self._tell(self._robots.values(), methodcaller("on_evicted", code))
        self._robots.clear()
        self._anchors.clear()

    def _join(self, robot: RoomListener, anchor: Anchor) -> None:
        self._tell([robot], methodcaller("on_anchor_joined", anchor))

    def _tell(self, robots: Iterable[RoomListener], tell: Callable[[RoomListener], None]) -> None:
        for robot in list(robots):
            try:
                tell(robot)
            except Exception as error:
                # One robot's failure is not to keep the news from the others.
                self._faults.caught(error, **self._fields)

    @property
    def _fields(self) -> dict[str, object]:
        return {"sdk_app_id": self._key.sdk_app_id, "room_id": self._key.wire_id}
