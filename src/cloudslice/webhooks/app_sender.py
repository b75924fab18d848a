"""Sends the webhooks of one app: in order, repeated ones on the side, and patiently in an outage.

Each app has a sender of its own with a bounded number of requests under way, so that a dead
receiver delays nobody but itself.

1. Events in line go out in order (`line`). One that fails is repeated at the documented pace, and
   those after it do not wait for it.
2. Once the receiver is down (`outage`), whatever has failed since it went down stands in line
   again, and only the first event is tried now and then, and then another one: an event that the
   receiver never takes must not hold up the others.
3. When something is taken, everything in line goes out in order.

New events are handed over when they are on record. The database is asked for those of a former
process, for more of them than are held in memory, and for repeated ones.
"""

import asyncio

import structlog

from cloudslice.webhooks.app_outbox import AppOutbox, SenderContext
from cloudslice.webhooks.attempts import Outcome
from cloudslice.webhooks.line import Line
from cloudslice.webhooks.line_reader import LineReader
from cloudslice.webhooks.outage import Outage, choose_another
from cloudslice.webhooks.outbox import Ending, OutboxEvent

_MAX_REQUESTS = 64
"""Under way at a time."""
_MAX_REPEATED = 32
"""Of these, so that many repeated events do not keep new ones waiting."""
_PROBED = 64
"""The first events in line, one of which is tried if the first fails in an outage."""
_FAULT_PAUSE_S = 5.0
"""After an exception that nobody foresaw."""

_log = structlog.get_logger(__name__)


class AppSender:
    """Sends the events of one app, until cancelled."""

    def __init__(self, sdk_app_id: int, context: SenderContext, *, is_behind: bool) -> None:
        """
        Args:
            is_behind: whether there are events on record that it will not be handed.
        """
        self._sdk_app_id = sdk_app_id
        self._context = context
        self._outbox = AppOutbox(sdk_app_id, context)
        self._under_way = self._outbox.under_way
        self._line = Line(self._is_late)
        self._outage = Outage(context.pace)
        self._wake = asyncio.Event()
        self._reader = LineReader(self._outbox, self._line, is_behind=is_behind)
        self._probes = 0
        self._must_line_up = False
        self._repeat_at: float | None = 0.0  # when to look for repeated events; None: none are

    @property
    def unrecorded(self) -> list[Ending]:
        """Of events that have ended, of which `on_ended` has not been told yet."""
        return self._outbox.unrecorded

    def take(self, event: OutboxEvent) -> None:
        """There is a new event, on record."""
        if self._outage.is_down:
            self._outage.prompt()
        else:
            self._reader.take(event)
        self._wake.set()

    def replay(self) -> None:
        """Events were put in line again."""
        self._outage.prompt()
        self._rewind()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._outbox.run())
            while True:
                self._wake.clear()
                try:
                    if self._outage.is_down:
                        await self._probe()
                    else:
                        await self._reader.read()
                        self._start_line(group)
                        await self._start_repeated(group)
                    await self._sleep()
                except Exception as error:
                    self._context.attempts.faults.caught(error)
                    self._rewind()
                    await asyncio.sleep(_FAULT_PAUSE_S)

    def _rewind(self) -> None:
        """Read the line anew: events were put in it, anywhere."""
        self._reader.rewind()
        self._repeat_at = 0.0
        self._wake.set()

    def _start_line(self, group: asyncio.TaskGroup) -> None:
        if self._outage.is_down:
            return
        for event in self._line.start(self._context.clock.monotonic(), self._room()):
            self._under_way[event.id] = event
            group.create_task(self._send_in_line(event))

    async def _start_repeated(self, group: asyncio.TaskGroup) -> None:
        room = self._room_for_repeated()
        if self._repeat_at is None or room <= 0:
            return
        if self._context.clock.monotonic() < self._repeat_at:
            return
        # Reset first: what fails while we look is not seen by the query, but adds its own time.
        self._repeat_at = None
        due, next_at = await self._outbox.find_repeated(room)
        self._look_at(next_at)
        if self._outage.is_down:
            return
        for event in due:
            self._under_way[event.id] = event
            group.create_task(self._send(event))

    async def _probe(self) -> None:
        """In an outage: try the first event in line if it is time to, and then another one."""
        if self._under_way:
            return
        if self._must_line_up:
            await self._outbox.line_up(self._outage.failing_since or 0.0)
            self._must_line_up = False
        if self._context.clock.monotonic() < self._outage.next_probe_at:
            return
        await self._outbox.give_up_expired()
        line, _, _ = await self._outbox.find_in_line(0, _PROBED)
        if not line:
            self._outage.end()
            self._rewind()
            return
        self._outage.begin_probe()
        self._probes += 1
        has_answered = await self._try(line[0])
        another = choose_another(line, self._probes, has_answered=has_answered)
        if self._outage.is_down and another is not None:
            await self._try(another)

    async def _try(self, event: OutboxEvent) -> bool:
        """Send an event; whether the receiver has answered, whatever it said."""
        self._under_way[event.id] = event
        return await self._send(event)

    async def _send_in_line(self, event: OutboxEvent) -> None:
        await self._send(event)
        self._line.finish(event)
        self._wake.set()

    async def _send(self, event: OutboxEvent) -> bool:
        """Send an event and record what came of it; whether the receiver has answered."""
        attempts = self._context.attempts
        outcome = await self._outbox.insist(lambda: attempts.make(self._sdk_app_id, event))
        if outcome.error is None:
            self._outbox.deliver(event)
            self._note_success(outcome)
        elif outcome.is_final:
            self._outbox.give_up(event, outcome.error, attempts=event.attempts)
        else:
            await self._fail(event, outcome, outcome.error)
        del self._under_way[event.id]
        if len(self._line) or self._repeat_at is not None or self._outage.is_down:
            self._wake.set()
        return outcome.has_answer

    async def _fail(self, event: OutboxEvent, outcome: Outcome, error: str) -> None:
        is_first = event.first_at is None
        if self._outage.note_failure(
            outcome.started_at, outcome.ended_at, is_first=is_first, is_late=self._is_late(event)
        ):
            _log.warning("webhook receiver is down", sdk_app_id=self._sdk_app_id)
            self._must_line_up = True
            self._rewind()
        if self._outage.is_down:
            await self._outbox.put_back(event, error)
            return
        first_at = outcome.started_at if event.first_at is None else event.first_at
        due_at = self._context.pace.next_attempt_at(
            first_at, 1 if is_first else 2, outcome.ended_at, self._since_at(event)
        )
        if due_at is None:
            self._outbox.give_up(event, error, attempts=event.attempts + 1)
            return
        await self._outbox.repeat(event, error, first_at=first_at, due_at=due_at)
        self._look_at(due_at)

    def _note_success(self, outcome: Outcome) -> None:
        was_down = self._outage.is_down
        self._outage.note_success(outcome.started_at)
        if was_down and not self._outage.is_down:
            _log.info("webhook receiver is up again", sdk_app_id=self._sdk_app_id)
            self._rewind()

    def _is_late(self, event: OutboxEvent) -> bool:
        """Whether an event's first minute is over."""
        age_ms = self._context.steady_ms() - event.since_ms
        return event.attempts > 0 or age_ms > self._context.pace.contract_s * 1000

    def _since_at(self, event: OutboxEvent) -> float:
        """The monotonic second from which an event's retention counts."""
        age_ms = self._context.steady_ms() - event.since_ms
        return self._context.clock.monotonic() - age_ms / 1000

    def _room(self) -> int:
        return _MAX_REQUESTS - len(self._under_way)

    def _room_for_repeated(self) -> int:
        repeated = sum(event.first_at is not None for event in self._under_way.values())
        return min(_MAX_REPEATED - repeated, self._room())

    def _look_at(self, time: float | None) -> None:
        """Look for repeated events at `time`, or when it was to be done anyway, if earlier."""
        if time is not None and (self._repeat_at is None or time < self._repeat_at):
            self._repeat_at = time

    async def _sleep(self) -> None:
        """Until there may be something to do."""
        times: list[float | None] = []
        if self._outage.is_down:
            times = [] if self._under_way else [self._outage.next_probe_at]
        else:
            if self._reader.has_more:
                return
            if self._room() > 0:
                times.append(self._line.next_start_at())
            if self._room_for_repeated() > 0:
                times.append(self._repeat_at)
        next_at = min((time for time in times if time is not None), default=None)
        delay = None if next_at is None else max(next_at - self._context.clock.monotonic(), 0)
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            pass
