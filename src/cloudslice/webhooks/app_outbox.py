"""One app's part of the outbox, together with what the record does not say yet.

An event that is being sent, or whose ending is not on record, is not at rest: the record still has
it as it was. Such events are left out of what is found.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from cloudslice.clock import Clock
from cloudslice.database import Database, Operation
from cloudslice.gathering import Gatherer
from cloudslice.webhooks import outbox
from cloudslice.webhooks.attempts import Attempts
from cloudslice.webhooks.callback_pace import CallbackPace
from cloudslice.webhooks.outbox import Ending, OutboxEvent, State

_LOOKED_AT_ONCE = 200
_RECORD_WITHIN_S = 1.0
"""That an event was delivered is on record so many seconds later at most. A crash before that has
it sent again, which receivers have to bear."""
_FAULT_PAUSE_S = 5.0
"""After an exception that nobody foresaw."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SenderContext:
    """What all senders share.

    Attributes:
        database: holds the outbox.
        clock: paces the attempts.
        steady_ms: the time for retentions, of a clock that is steady over restarts.
        pace: when attempts are repeated.
        attempts: makes them.
        on_ended: is called with the endings that are on record.
    """

    database: Database
    clock: Clock
    steady_ms: Callable[[], int]
    pace: CallbackPace
    attempts: Attempts
    on_ended: Callable[[Collection[Ending]], object]


class AppOutbox:
    """Finds an app's events, and records what became of them.

    Attributes:
        under_way: the events that are being sent, by id; the sender's to change.
    """

    def __init__(self, sdk_app_id: int, context: SenderContext) -> None:
        self.under_way: dict[int, OutboxEvent] = {}
        self._sdk_app_id = sdk_app_id
        self._context = context
        self._unrecorded: dict[int, Ending] = {}  # ended, and not on record as such
        self._endings: Gatherer[Ending] = Gatherer(
            context.database,
            outbox.end,
            self._on_recorded,
            within_s=_RECORD_WITHIN_S,
            what="record delivered webhooks",
            caught=context.attempts.faults.caught,
        )

    @property
    def unrecorded(self) -> list[Ending]:
        """Of events that have ended, which is not on record yet."""
        return list(self._unrecorded.values())

    async def run(self) -> None:
        """Record endings until cancelled."""
        await self._endings.run()

    async def find_in_line(self, after_id: int, limit: int) -> tuple[list[OutboxEvent], int, bool]:
        """Events in line, in order, from behind `after_id` on.

        Returns:
            the events at rest, the id up to which the line was read, whether it may go on there.
        """
        limit += len(self.under_way) + len(self._unrecorded)
        now = self._context.clock.monotonic()
        found = await self._persist(
            lambda c: outbox.find_in_line(c, self._sdk_app_id, after_id, limit, now)
        )
        last_id = found[-1].id if found else after_id
        return self._at_rest(found), last_id, len(found) == limit

    async def find_repeated(self, limit: int) -> tuple[list[OutboxEvent], float | None]:
        """Repeated events that are due, and the monotonic second at which the next one is."""
        known, now = self._known(), self._context.clock.monotonic()
        return await self._persist(
            lambda c: outbox.find_repeated(c, self._sdk_app_id, now, limit, known)
        )

    async def line_up(self, failing_since: float) -> None:
        """Put repeated events in line that were first tried at `failing_since` or later."""
        await self._persist(lambda c: outbox.line_up(c, self._sdk_app_id, failing_since))

    async def put_back(self, event: OutboxEvent, error: str) -> None:
        """An attempt failed, and the event waits in line."""
        await self.insist(lambda: self._persist(lambda c: outbox.put_back(c, event.id, error)))

    async def repeat(
        self, event: OutboxEvent, error: str, *, first_at: float, due_at: float
    ) -> None:
        """An attempt failed and is to be repeated at `due_at`."""

        def record() -> Awaitable[None]:
            return self._persist(
                lambda c: outbox.repeat(c, event.id, error, first_at=first_at, due_at=due_at)
            )

        await self.insist(record)

    def deliver(self, event: OutboxEvent) -> None:
        """The event was taken; it is on record soon."""
        self._end(self._ending(event, State.DELIVERED, event.attempts + 1, None))

    def give_up(self, event: OutboxEvent, error: str, *, attempts: int) -> None:
        """The event will not be sent again; that is on record soon."""
        self._context.attempts.give_up(event, error)
        self._end(self._ending(event, State.GIVEN_UP, attempts, error))

    async def give_up_expired(self) -> None:
        """Give up what has been in line for longer than the retention."""
        retention_ms = round(self._context.pace.retention_s * 1000)
        before_ms = self._context.steady_ms() - retention_ms
        last_id: int | None = 0
        while last_id is not None:
            found = await self._persist(
                partial(
                    outbox.find_in_line,
                    sdk_app_id=self._sdk_app_id,
                    after_id=last_id,
                    limit=_LOOKED_AT_ONCE,
                    now_at=0.0,
                )
            )
            old = [event for event in found if event.since_ms < before_ms]
            for event in self._at_rest(old):
                self.give_up(event, "too old", attempts=event.attempts)
            last_id = found[-1].id if old else None

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`, repeated until it raises nothing."""
        while True:
            try:
                return await call()
            except Exception as error:
                self._context.attempts.faults.caught(error)
                await asyncio.sleep(_FAULT_PAUSE_S)

    async def _persist(self, operation: Operation[T]) -> T:
        return await self._context.database.persist(operation)

    def _end(self, ending: Ending) -> None:
        self._unrecorded[ending.event_id] = ending
        self._endings.add(ending)

    def _on_recorded(self, endings: Collection[Ending]) -> None:
        for each in endings:
            self._unrecorded.pop(each.event_id, None)
        self._context.on_ended(endings)

    def _ending(self, event: OutboxEvent, state: State, attempts: int, error: str | None) -> Ending:
        utc_ms, steady_ms = self._context.clock.utc_ms(), self._context.steady_ms()
        return Ending(event.id, len(event.body), state, attempts, error, utc_ms, steady_ms)

    def _at_rest(self, found: Collection[OutboxEvent]) -> list[OutboxEvent]:
        known = set(self._known())
        return [event for event in found if event.id not in known]

    def _known(self) -> tuple[int, ...]:
        return (*self.under_way, *self._unrecorded)
