"""The slices of one task that wait for an upload, and which is next: decisions without input or
output.

1. Those that have not failed, and those whose failure may have been the bucket's, are ready: the
   oldest is next.
2. One that has failed is tried again from a time of its own on, after those that are ready.
"""

import heapq
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import inf

from cloudslice.slices import WaitingSlice


@dataclass(slots=True, eq=False)
class Pending:
    """A slice that is not stored yet."""

    name: str
    """See `Slice`."""
    size: int
    """Bytes of its file."""
    attempts: int = 0
    """That have failed."""


class Backlog:
    """Holds them; in memory only."""

    def __init__(self, waiting: Iterable[WaitingSlice]) -> None:
        """Takes those that wait already, the oldest first."""
        self._ready: deque[Pending] = deque()
        self._failed: list[tuple[float, str, Pending]] = []
        """A heap: monotonic second of the next try, and name."""
        for each in waiting:
            self.add(each)

    def __len__(self) -> int:
        return len(self._ready) + len(self._failed)

    def add(self, new: WaitingSlice) -> None:
        """There is a new slice."""
        self._ready.append(Pending(new.name, new.size))

    def all(self) -> list[Pending]:
        """Those that are ready, then the others."""
        return [*self._ready, *(each for _, _, each in self._failed)]

    def next_at(self) -> float:
        """The monotonic second from which one may be tried; in the past if one is ready."""
        if self._ready:
            return -inf
        return self._failed[0][0] if self._failed else inf

    def take(self, now: float) -> Pending | None:
        """Take out the next one, if one may be tried at monotonic second `now`."""
        if self._ready:
            return self._ready.popleft()
        return heapq.heappop(self._failed)[2] if self.next_at() <= now else None

    def remove(self, names: Collection[str]) -> list[Pending]:
        """Take out those of these that are here."""
        gone = [each for each in self.all() if each.name in names]
        self._ready = deque(each for each in self._ready if each.name not in names)
        self._failed = [each for each in self._failed if each[1] not in names]
        heapq.heapify(self._failed)
        return gone

    def put_back(self, taken: Iterable[Pending]) -> None:
        """These were taken out, and are next again, in this order."""
        self._ready.extendleft(reversed(list(taken)))

    def postpone(self, failed: Pending, due_at: float) -> None:
        """This was taken out and has failed: try it again from monotonic second `due_at` on."""
        heapq.heappush(self._failed, (due_at, failed.name, failed))

    def retry_all(self) -> None:
        """The bucket is well again: all are ready, in the order of their age."""
        if self._failed:
            self._ready = deque(sorted(self.all(), key=lambda each: each.name))
            self._failed.clear()
