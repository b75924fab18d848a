"""Sends webhooks and decides what becomes of each (docs/wire.md, 10.1)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from cloudslice.clock import Clock
from cloudslice.config import AppSettings
from cloudslice.database import Database
from cloudslice.events import Bus, WebhookDelivered
from cloudslice.faults import Faults
from cloudslice.webhooks import outbox
from cloudslice.webhooks.client import WebhookClient, WebhookError
from cloudslice.webhooks.dispatcher import Attempted, Dispatcher
from cloudslice.webhooks.outbox import OutboxEvent
from cloudslice.webhooks.pace import CallbackPace

_RESTART_S = 5.0
"""After a dispatcher has ended, which none should."""

_log = structlog.get_logger(__name__)

FindApp = Callable[[int], AppSettings | None]


@dataclass(slots=True)
class CallbackCounters:
    """What has become of webhooks since the start."""

    delivered: int = 0
    failed_attempts: int = 0
    given_up: int = 0
    errors: int = 0
    """Exceptions that nobody foresaw; the webhook that they befell is tried again."""


class CallbackSender:
    """Sends what the outbox holds, until cancelled."""

    def __init__(
        self,
        database: Database,
        find_app: FindApp,
        bus: Bus,
        clock: Clock,
        steady_ms: Callable[[], int],
        *,
        timeout_s: float,
        pace: CallbackPace,
    ) -> None:
        """
        Args:
            database: holds the outbox.
            find_app: the settings of an app as they are now: its URL and key.
            bus: is told what was delivered.
            clock: paces the attempts.
            steady_ms: the time for the retention, of a clock that is steady over restarts.
            timeout_s: a receiver has so long to answer.
            pace: when attempts are repeated.
        """
        self.counters = CallbackCounters()
        self._database = database
        self._find_app = find_app
        self._bus = bus
        self._clock = clock
        self._steady_ms = steady_ms
        self._client = WebhookClient(timeout_s)
        self._pace = pace
        self._faults = Faults("webhooks")
        self._group: asyncio.TaskGroup | None = None
        self._dispatchers: dict[int, Dispatcher] = {}

    async def run(self, ready: asyncio.Event) -> None:
        """Send until cancelled; `ready` is set once `take` may be called."""
        now_at, now_ms = self._clock.monotonic(), self._steady_ms()
        unsent = await self._database.persist(lambda c: outbox.rebase(c, now_at, now_ms))
        async with self._client, asyncio.TaskGroup() as group:
            self._group = group
            try:
                for sdk_app_id in unsent:
                    self._find_dispatcher(sdk_app_id, group, is_behind=True)
                ready.set()
                await asyncio.Event().wait()
            finally:
                self._group = None

    def take(self, sdk_app_id: int, event: OutboxEvent) -> None:
        """An app has a new event on record; if not running, it waits for the next start."""
        if self._group is not None:
            self._find_dispatcher(sdk_app_id, self._group, is_behind=False).take(event)

    def _find_dispatcher(
        self, sdk_app_id: int, group: asyncio.TaskGroup, *, is_behind: bool
    ) -> Dispatcher:
        """The dispatcher of an app, made if it is not there."""
        dispatcher = self._dispatchers.get(sdk_app_id)
        if dispatcher is None:
            dispatcher = self._dispatchers[sdk_app_id] = Dispatcher(
                self._database,
                self._clock,
                sdk_app_id,
                self._attempt,
                caught=self._note_fault,
                is_behind=is_behind,
            )
            group.create_task(self._run(sdk_app_id, dispatcher))
        return dispatcher

    async def _run(self, sdk_app_id: int, dispatcher: Dispatcher) -> None:
        """Run an app's dispatcher; should it end, another one takes up its events."""
        try:
            await dispatcher.run()
        except Exception as error:
            self._note_fault(error)
        await asyncio.sleep(_RESTART_S)
        del self._dispatchers[sdk_app_id]
        if self._group is not None:
            self._find_dispatcher(sdk_app_id, self._group, is_behind=True)

    def _note_fault(self, error: Exception) -> None:
        self.counters.errors += 1
        self._faults.caught(error)

    async def _attempt(self, sdk_app_id: int, event: OutboxEvent) -> Attempted:
        app = self._find_app(sdk_app_id)
        started_at, started_ms = self._clock.monotonic(), self._steady_ms()
        if app is None or not app.callback_url:
            return self._give_up(event, "the app has no callback_url any more")
        try:
            await self._client.post(app, event.body)
        except WebhookError as error:
            return self._fail(event, str(error), started_at, started_ms)
        except Exception as error:
            self._note_fault(error)
            return self._fail(event, "a fault of the server", started_at, started_ms)
        self.counters.delivered += 1
        self._bus.publish(WebhookDelivered(sdk_app_id, event.id))
        return Attempted(lambda c: outbox.delete(c, event.id))

    def _fail(
        self, event: OutboxEvent, error: str, started_at: float, started_ms: int
    ) -> Attempted:
        self.counters.failed_attempts += 1
        first_at = started_at if event.first_at is None else event.first_at
        due_at = self._pace.next_attempt_at(first_at, event.attempts + 1, self._clock.monotonic())
        if due_at is None:
            return self._give_up(event, error)
        level = _log.warning if event.attempts == 0 else _log.debug
        level("webhook failed", subject=event.subject, event_type=event.event_type, error=error)
        return Attempted(
            lambda c: outbox.mark_failed(
                c, event.id, error, first_at=first_at, first_ms=started_ms, due_at=due_at
            ),
            retry_at=due_at,
        )

    def _give_up(self, event: OutboxEvent, error: str) -> Attempted:
        self.counters.given_up += 1
        _log.error(
            "webhook given up", subject=event.subject, event_type=event.event_type, error=error
        )
        return Attempted(lambda c: outbox.delete(c, event.id))
