"""Sends one webhook once, and counts what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.config import AppSettings
from cloudslice.events import WebhookDelivered
from cloudslice.faults import Faults
from cloudslice.webhooks.client import WebhookClient, WebhookError
from cloudslice.webhooks.outbox import OutboxEvent

_log = structlog.get_logger(__name__)

FindApp = Callable[[int], AppSettings | None]


@dataclass(slots=True)
class CallbackCounters:
    """What has become of webhooks since the start."""

    delivered: int = 0
    failed_attempts: int = 0
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt; times are monotonic seconds."""

    started_at: float
    ended_at: float
    error: str | None = None
    """Why the webhook was not taken; None if it was."""
    has_answer: bool = True
    """Whether the receiver has answered, whatever it said."""
    is_final: bool = False
    """There is nobody to send it to."""


class Attempts:
    """Makes attempts for all apps.

    Attributes:
        counters: what came of them.
        faults: errors that nobody foresaw, here or at who sends; the webhook is sent again.
    """

    def __init__(self, client: WebhookClient, find_app: FindApp, bus: Bus, clock: Clock) -> None:
        """
        Args:
            find_app: the settings of an app as they are now: its URL and key.
            bus: is told what was delivered.
        """
        self.counters = CallbackCounters()
        self._client = client
        self._find_app = find_app
        self._bus = bus
        self._clock = clock
        self.faults = Faults("webhooks")

    async def make(self, sdk_app_id: int, event: OutboxEvent) -> Outcome:
        """Send an event of an app once."""
        app, started_at = self._find_app(sdk_app_id), self._clock.monotonic()
        if app is None or not app.callback_url:
            error = "the app has no callback_url any more"
            return Outcome(started_at, started_at, error, is_final=True)
        has_answer = False
        try:
            await self._client.post(app, event.body)
        except WebhookError as refusal:
            error, has_answer = str(refusal), refusal.has_answer
        except Exception as fault:
            self.faults.caught(fault)
            error = "a fault of the server"
        else:
            self.counters.delivered += 1
            self._bus.publish(WebhookDelivered(sdk_app_id, event.id))
            return Outcome(started_at, self._clock.monotonic())
        self.counters.failed_attempts += 1
        level = _log.warning if event.attempts == 0 else _log.debug
        level("webhook failed", subject=event.subject, event_type=event.event_type, error=error)
        return Outcome(started_at, self._clock.monotonic(), error, has_answer=has_answer)

    def give_up(self, event: OutboxEvent, error: str | None) -> None:
        """There will be no further attempt to send `event`."""
        self.counters.given_up += 1
        _log.error(
            "webhook given up", subject=event.subject, event_type=event.event_type, error=error
        )
