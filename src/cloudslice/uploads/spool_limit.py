"""Keeps the spool within its limit: when it is passed, the oldest slices that wait are dropped."""

import asyncio
import heapq
from collections.abc import Collection
from operator import itemgetter

from cloudslice.uploads.backlog import Pending
from cloudslice.uploads.shared import Shared
from cloudslice.uploads.storage_errors import StorageError
from cloudslice.uploads.task_queue import TaskQueue

_FULL_AT = 0.95
"""Of the limit: below it, so that a spool kept at its limit by dropping is full."""
_SPARE = 0.01
"""Of the limit: so much more room is made than is needed, so that it is not made for each new slice
anew."""
_DROPPED_AT_ONCE = 1000


class SpoolLimit:
    """What the slices of all queues may take."""

    def __init__(self, limit_bytes: float, shared: Shared, queues: Collection[TaskQueue]) -> None:
        """
        Args:
            limit_bytes: so much.
            shared: has the spool.
            queues: those that there are, at any time.
        """
        self._limit_bytes = limit_bytes
        self._shared = shared
        self._queues = queues
        self._is_passed = asyncio.Event()

    @property
    def is_near(self) -> bool:
        """Whether the spool is as good as full."""
        return self._shared.spool.used_bytes >= self._limit_bytes * _FULL_AT

    @property
    def room_bytes(self) -> float:
        """What the spool may take until it is as good as full."""
        return max(self._limit_bytes * _FULL_AT - self._shared.spool.used_bytes, 0)

    def look(self) -> None:
        """The spool holds more now."""
        if self._shared.spool.used_bytes > self._limit_bytes:
            self._is_passed.set()

    async def run(self) -> None:
        """Drop the oldest whenever the limit is passed, until cancelled."""
        while True:
            await self._is_passed.wait()
            self._is_passed.clear()
            try:
                await self._make_room()
            except Exception as error:
                self._shared.faults.caught(error)
                await asyncio.sleep(self._shared.pace.first_s)
                self._is_passed.set()

    async def _make_room(self) -> None:
        spool = self._shared.spool
        error = StorageError(
            0, "SpoolFull", "The oldest waiting slices were dropped to make room for new ones."
        )
        while (used := spool.used_bytes) > self._limit_bytes:
            excess = round(used - self._limit_bytes * (1 - _SPARE))
            waiting = [(queue, queue.droppable()) for queue in self._queues]
            # On another thread: with 100,000 slices it takes longer than a tick.
            oldest = await asyncio.to_thread(_find_oldest, waiting, excess)
            for queue, names in oldest.items():
                self._shared.counters.dropped += await queue.drop(names, error)
            await spool.flush()  # until its file is gone what is dropped counts as used
            if spool.used_bytes >= used:
                return  # nothing may be dropped, or files cannot be removed


def _find_oldest(
    waiting: list[tuple[TaskQueue, list[Pending]]], size: int
) -> dict[TaskQueue, set[str]]:
    """The names of the oldest slices that take so many bytes together, or the first of these."""
    slices = ((each.name, each.size, queue) for queue, some in waiting for each in some)
    found: dict[TaskQueue, set[str]] = {}
    for name, each_size, queue in heapq.nsmallest(_DROPPED_AT_ONCE, slices, key=itemgetter(0)):
        if size <= 0:
            break
        found.setdefault(queue, set()).add(name)
        size -= each_size
    return found
