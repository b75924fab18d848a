"""A robot's stay in a LiveKit room, also while the room has ended, until it is there again.

LiveKit ends a room that only hidden members are in, and makes it again for whoever joins. Were we
to join at once, the room would never end for those who look at the server's rooms or hear of them
by webhooks. So we make a room only when we come into it for the first time; later we wait until
others have made it.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType

import structlog

from cloudslice.rooms.base import LeaveCode, RoomEntryError
from cloudslice.rooms.livekit.livekit_visit import LivekitVisit
from cloudslice.rooms.remote.room_server import UnreachableError

_log = structlog.get_logger(__name__)


class LivekitStay(AbstractAsyncContextManager["LivekitStay"]):
    """A Visit, made of one visit after the other; a context at whose end the room is left.

    Args:
        enter: enters the room, and makes it if it is not there.
        wait_for_room: returns when it is there; raises UnreachableError.
        show_nobody: is called when the room is not there.
        log_fields: the room's, in each line of the log.
    """

    def __init__(
        self,
        enter: Callable[[], AbstractAsyncContextManager[LivekitVisit]],
        wait_for_room: Callable[[], Awaitable[None]],
        show_nobody: Callable[[], None],
        log_fields: Mapping[str, object],
    ) -> None:
        self._enter = enter
        self._wait_for_room = wait_for_room
        self._show_nobody = show_nobody
        self._log_fields = log_fields
        self._stack = AsyncExitStack()
        self._visit: LivekitVisit | None = None
        self._counts_of_ended = Counter[str]()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._leave()

    async def begin(self) -> LivekitVisit:
        """Enter the room.

        Raises:
            RoomEntryError, UnreachableError: it was not entered.
        """
        self._visit = await self._stack.enter_async_context(self._enter())
        return self._visit

    async def ended(self) -> LeaveCode | None:
        """See `Visit`. The room is waited for, and entered again, while this is awaited."""
        try:
            while True:
                visit = self._visit or await self._begin_again()
                code = await visit.ended()
                if not visit.is_room_closed:
                    return code
                await self._leave()
        except (RoomEntryError, UnreachableError) as error:
            # Who tries again hears of it, if it is so still.
            _log.info("a LiveKit room is not entered again", reason=str(error), **self._log_fields)
            return None

    def catch_up(self) -> None:
        """See `Visit`."""
        if self._visit is not None:
            self._visit.catch_up()

    @property
    def media_counts(self) -> Counter[str]:
        """See `Visit`."""
        total = self._counts_of_ended.copy()
        if self._visit is not None:
            total.update(self._visit.media_counts)
        return total

    async def _leave(self) -> None:
        """End the visit, if there is one."""
        try:
            await self._stack.aclose()
        finally:  # also when cancelled: a visit that is over has nothing to catch up with
            if self._visit is not None:
                self._counts_of_ended.update(self._visit.media_counts)
                self._visit = None

    async def _begin_again(self) -> LivekitVisit:
        """Raises RoomEntryError, UnreachableError."""
        self._show_nobody()
        _log.info("a LiveKit room has ended, robots wait until it begins again", **self._log_fields)
        await self._wait_for_room()
        visit = await self.begin()
        _log.info("a LiveKit room has begun again", **self._log_fields)
        return visit
