"""Decides which of an app's webhooks is sent next: first attempts in order, retries on the side.

Each app has a dispatcher of its own with a bounded number of requests under way, so that a dead
receiver delays nobody but itself, and itself no more than it must: within a task or a room an
event waits for the answers to those before it, but for a second at most. A retry comes when it is
due, after events that happened later.

New events are handed over when they are on record. The database is asked for those of a former
process, for more of them than are held in memory, and for retries.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from cloudslice.clock import Clock
from cloudslice.database import Database, Operation
from cloudslice.gathering import Gatherer
from cloudslice.webhooks import outbox
from cloudslice.webhooks.outbox import OutboxEvent

_MAX_REQUESTS = 64
"""Under way at a time."""
_MAX_RETRIES = 32
"""Of these, so that a backlog of retries does not keep new events waiting."""
_WINDOW = 256
"""New events held in memory; the others stay in the database."""
_RECORD_WITHIN_S = 1.0
"""That an event was delivered is on record so much later at most. A crash before that has it sent
again, which receivers have to bear; meanwhile it goes along with something that is in a hurry."""
_FAULT_PAUSE_S = 5.0
"""After an exception that nobody foresaw."""
_ORDER_PATIENCE_S = 1.0
_ORDER_GAP_S = 0.05
"""Between events that no longer wait for answers: side by side, one could overtake the other."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """What came of an attempt."""

    record: Operation[object]
    """Puts it on record."""
    retry_at: float | None = None
    """Monotonic second of the next attempt; None if there is to be none."""


Attempt = Callable[[int, OutboxEvent], Awaitable[Attempted]]
T = TypeVar("T")


class Dispatcher:
    """Sends the events of one app, until cancelled."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        sdk_app_id: int,
        attempt: Attempt,
        *,
        caught: Callable[[Exception], object],
        is_behind: bool,
    ) -> None:
        """
        Args:
            database: holds the outbox.
            clock: paces the attempts.
            sdk_app_id: the app.
            attempt: sends an event.
            caught: is passed exceptions that nobody foresaw.
            is_behind: whether there are events on record that it will not be handed.
        """
        self._database = database
        self._clock = clock
        self._sdk_app_id = sdk_app_id
        self._attempt = attempt
        self._caught = caught
        self._wake = asyncio.Event()
        self._is_behind = is_behind  # whether the database holds new events behind `_last_id`
        self._is_asking = False
        self._last_id = 0
        self._new: deque[OutboxEvent] = deque()
        self._retry_at: float | None = 0.0  # when to look for retries; None: there are none
        self._under_way: dict[int, OutboxEvent] = {}
        self._done: Gatherer[Operation[object]] = Gatherer(
            database,
            lambda connection, record: record(connection),
            lambda _records: None,
            within_s=_RECORD_WITHIN_S,
            what="record delivered webhooks",
            caught=caught,
        )
        self._first_attempts: Counter[str] = Counter()  # under way, by subject
        self._last_start: dict[str, float] = {}  # of these

    def take(self, event: OutboxEvent) -> None:
        """There is a new event, on record."""
        if self._is_behind or self._is_asking or len(self._new) >= _WINDOW:
            self._is_behind = True
        else:
            self._last_id = event.id
            self._new.append(event)
        self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as attempts:
            attempts.create_task(self._done.run())
            while True:
                self._wake.clear()
                try:
                    await self._fetch_new()
                    self._start_new(attempts)
                    await self._start_retries(attempts)
                    await self._sleep()
                except Exception as error:
                    self._caught(error)
                    # What was asked for and not answered is asked for again.
                    self._is_behind, self._retry_at = True, 0.0
                    await asyncio.sleep(_FAULT_PAUSE_S)

    async def _fetch_new(self) -> None:
        room = _WINDOW - len(self._new)
        if not self._is_behind or room == 0:
            return
        # Reset first: what comes while we ask may not be in the answer.
        self._is_behind, self._is_asking = False, True
        try:
            found = await self._database.persist(
                lambda c: outbox.find_new(c, self._sdk_app_id, self._last_id, room)
            )
        finally:
            self._is_asking = False
        if found:
            self._last_id = found[-1].id
            self._new.extend(found)
        if len(found) == room:
            self._is_behind = True

    def _start_new(self, attempts: asyncio.TaskGroup) -> None:
        waiting: deque[OutboxEvent] = deque()
        held: set[str] = set()
        now = self._clock.monotonic()
        for event in self._new:
            if (
                len(self._under_way) >= _MAX_REQUESTS
                or event.subject in held
                or now < self._hold_until(event)
            ):
                held.add(event.subject)
                waiting.append(event)
            else:
                self._start(attempts, event)
        self._new = waiting

    def _hold_until(self, event: OutboxEvent) -> float:
        """When a new event may be sent, for the sake of order, if no answer comes before."""
        last_start = self._last_start.get(event.subject)
        if last_start is None:
            return event.due_at
        return max(event.due_at + _ORDER_PATIENCE_S, last_start + _ORDER_GAP_S)

    async def _start_retries(self, attempts: asyncio.TaskGroup) -> None:
        now, room = self._clock.monotonic(), self._room_for_retries()
        if self._retry_at is None or now < self._retry_at or room <= 0:
            return
        known = tuple(self._under_way)
        due = await self._database.persist(
            lambda c: outbox.find_retries(c, self._sdk_app_id, now, room, known)
        )
        for event in due:
            self._start(attempts, event)
        # Reset first: what fails while we look is not seen by the query, but adds its own time.
        self._retry_at = None
        known = tuple(self._under_way)
        self._look_at(
            await self._database.persist(
                lambda c: outbox.find_next_retry(c, self._sdk_app_id, known)
            )
        )

    def _look_at(self, time: float | None) -> None:
        """Look for retries at `time`, or when it was to be done anyway, if that is earlier."""
        if time is not None and (self._retry_at is None or time < self._retry_at):
            self._retry_at = time

    def _room_for_retries(self) -> int:
        retries = sum(event.attempts > 0 for event in self._under_way.values())
        return min(_MAX_RETRIES - retries, _MAX_REQUESTS - len(self._under_way))

    def _start(self, attempts: asyncio.TaskGroup, event: OutboxEvent) -> None:
        self._under_way[event.id] = event
        if event.attempts == 0:
            self._first_attempts[event.subject] += 1
            self._last_start[event.subject] = self._clock.monotonic()
        attempts.create_task(self._send(event))

    async def _send(self, event: OutboxEvent) -> None:
        attempted = await self._insist(lambda: self._attempt(self._sdk_app_id, event))
        if event.attempts == 0:
            self._first_attempts[event.subject] -= 1
            if not self._first_attempts[event.subject]:
                del self._first_attempts[event.subject], self._last_start[event.subject]
        if event.attempts == 0 and attempted.retry_at is None:
            # On record as new it is in nobody's way: only retries are asked for again.
            self._done.add(attempted.record)
        else:
            self._wake.set()
            await self._insist(lambda: self._database.persist(attempted.record))
            self._look_at(attempted.retry_at)
        del self._under_way[event.id]
        if self._new or self._retry_at is not None:
            self._wake.set()

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`, repeated until it raises nothing."""
        while True:
            try:
                return await call()
            except Exception as error:
                self._caught(error)
                await asyncio.sleep(_FAULT_PAUSE_S)

    async def _sleep(self) -> None:
        """Until there may be something to do."""
        if self._is_behind and len(self._new) < _WINDOW:
            return
        times = []
        if self._new and len(self._under_way) < _MAX_REQUESTS:
            times.append(min(self._hold_until(event) for event in self._new))
        if self._retry_at is not None and self._room_for_retries() > 0:
            times.append(self._retry_at)
        delay = max(min(times) - self._clock.monotonic(), 0) if times else None
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            pass
