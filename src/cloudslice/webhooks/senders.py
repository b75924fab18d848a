"""A sender for each app that has something to send."""

import asyncio

from cloudslice.webhooks import outbox
from cloudslice.webhooks.app_outbox import SenderContext
from cloudslice.webhooks.app_sender import AppSender
from cloudslice.webhooks.outbox import OutboxEvent

_RESTART_S = 5.0
"""After a sender has ended, which none should."""


class Senders:
    """Sends what the outbox holds, until cancelled."""

    def __init__(self, context: SenderContext) -> None:
        """Takes what all senders share."""
        self._context = context
        self._group: asyncio.TaskGroup | None = None
        self._senders: dict[int, AppSender] = {}

    async def run(self, ready: asyncio.Event) -> None:
        """Send until cancelled; `ready` is set once `take` may be called."""
        apps = await self._context.database.persist(outbox.take_up)
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for sdk_app_id in apps:
                    self._find(sdk_app_id, group, is_behind=True)
                ready.set()
                await asyncio.Event().wait()
            finally:
                self._group = None

    def take(self, sdk_app_id: int, event: OutboxEvent) -> None:
        """An app has a new event on record; if not running, it waits for the next start."""
        if self._group is not None:
            self._find(sdk_app_id, self._group, is_behind=False).take(event)

    def replay(self, sdk_app_id: int) -> None:
        """Events of an app were put in line again."""
        if self._group is not None:
            self._find(sdk_app_id, self._group, is_behind=True).replay()

    def _find(self, sdk_app_id: int, group: asyncio.TaskGroup, *, is_behind: bool) -> AppSender:
        """The sender of an app, made if it is not there."""
        sender = self._senders.get(sdk_app_id)
        if sender is None:
            sender = AppSender(sdk_app_id, self._context, is_behind=is_behind)
            self._senders[sdk_app_id] = sender
            group.create_task(self._run(sdk_app_id, sender))
        return sender

    async def _run(self, sdk_app_id: int, sender: AppSender) -> None:
        """Run an app's sender; should it end, another one takes up its events."""
        try:
            await sender.run()
        except Exception as error:
            self._context.attempts.faults.caught(error)
        await asyncio.sleep(_RESTART_S)
        del self._senders[sdk_app_id]
        if self._group is not None:
            self._find(sdk_app_id, self._group, is_behind=True)
