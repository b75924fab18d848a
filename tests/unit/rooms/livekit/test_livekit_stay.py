"""A stay goes on while the room has ended, and asks nothing of a visit that is over."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cloudslice.rooms.base import LeaveCode
from cloudslice.rooms.livekit.livekit_stay import LivekitStay


class ManualVisit:
    """Has ended because LiveKit has closed the room; it is left when the test says so."""

    is_room_closed = True

    def __init__(self) -> None:
        self.is_being_left = asyncio.Event()
        self.may_be_left = asyncio.Event()
        self.is_left = False

    async def ended(self) -> LeaveCode | None:
        return None

    def catch_up(self) -> None:
        assert not self.is_left

    @property
    def media_counts(self) -> Counter[str]:
        return Counter(audio_lost=7)


async def test_a_stay_that_is_cancelled_while_a_visit_ends_catches_up_with_nothing() -> None:
    """The room's end is told by a webhook, too, and the last robot leaves in the same moment."""
    visit = ManualVisit()

    @asynccontextmanager
    async def enter() -> AsyncIterator[ManualVisit]:
        try:
            yield visit
        finally:
            visit.is_being_left.set()
            try:
                await visit.may_be_left.wait()
            finally:
                visit.is_left = True

    async def wait_for_room() -> None:
        raise AssertionError

    async with LivekitStay(enter, wait_for_room, lambda: None, {}) as stay:  # type: ignore[arg-type]
        await stay.begin()
        ended = asyncio.create_task(stay.ended())
        await visit.is_being_left.wait()
        stay.catch_up()
        ended.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ended
        assert visit.is_left
        stay.catch_up()
        assert stay.media_counts == Counter(audio_lost=7)
