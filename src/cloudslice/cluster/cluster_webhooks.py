"""Webhooks of a node that runs tasks: what it records is handed over to the cluster's stream, and
it sends for the apps that it has."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.cluster.app_senders import AppSenders
from cloudslice.cluster.app_sending import AppSending, SendingParts
from cloudslice.cluster.cluster_view import ClusterView
from cloudslice.cluster.ending import end
from cloudslice.cluster.event_calls import EventCalls
from cloudslice.cluster.event_stream import EventStream
from cloudslice.cluster.handover import Handover
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.registry import Registry
from cloudslice.config import Settings
from cloudslice.database import Database
from cloudslice.faults import Faults
from cloudslice.steady_clock import SteadyClock
from cloudslice.webhooks import outbox, sql_schema
from cloudslice.webhooks.app_outbox import SenderContext
from cloudslice.webhooks.attempts import Attempts, CallbackCounters, FindApp, Outcome
from cloudslice.webhooks.callback_pace import CallbackPace
from cloudslice.webhooks.client import WebhookClient
from cloudslice.webhooks.keeper import HistoryKeeper
from cloudslice.webhooks.outbox import OutboxEvent
from cloudslice.webhooks.recorder import EventRecorder

_REPLICA = "events.db"
"""The name of the senders' database, in the data directory."""
_LAST_HANDOVER_S = 2.0
"""So long the end of the process waits for NATS to take the last events."""
_LEAST_KEPT_S = 3600.0


def callback_apps(settings: Settings) -> Collection[int]:
    """The apps that want to be called."""
    return [app.sdk_app_id for app in settings.apps if app.callback_url]


async def open_event_stream(registry: Registry, settings: Settings) -> EventStream:
    """The cluster's stream of events, made if it is not there.

    Raises:
        RegistryError: it cannot be had.
    """
    stream, callbacks = EventStream(registry), settings.callbacks
    # Senders delete events as the settings say. Beyond twice that time nobody does: an app may be
    # gone from the settings.
    kept_hours = 2 * (callbacks.retention_hours + callbacks.history_hours)
    await stream.open(
        replicas=settings.cluster.replicas, kept_s=max(kept_hours * 3600, _LEAST_KEPT_S)
    )
    return stream


class ClusterWebhooks:
    """See the module; an async context manager.

    Entering it begins to hand over what is recorded, leaving it hands over the last of it. To be
    sent, `send` is entered, too, while the node has its lease.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        bus: Bus,
        clock: Clock,
        steady: SteadyClock,
        stream: EventStream,
        lease: NodeLease,
        *,
        pace: CallbackPace | None = None,
    ) -> None:
        """
        Args:
            database: open, with the SCHEMA of `webhooks.sql_schema`: what is not handed over yet.
            bus: tells what happens, and is told what was delivered.
            steady: counts retentions; entered.
            lease: of this node; nothing is sent while it is not certain.
            pace: when webhooks are repeated; default: by the settings' retention.
        """
        self._settings = settings
        self._database = database
        self._clock = clock
        self._steady = steady
        self._stream = stream
        self._lease = lease
        callbacks = settings.callbacks
        self._pace = pace or CallbackPace(retention_s=callbacks.retention_hours * 3600)
        self._client = WebhookClient(callbacks.timeout_s)
        self._attempts = _LeasedAttempts(self._client, settings.app, bus, clock, lease)
        self._handover = Handover(database, stream, lease.node, self._attempts.faults)
        self._replica = Database(settings.data_dir / _REPLICA, (sql_schema.SCHEMA,))
        self._is_sending = False
        self._run: asyncio.Task[None] | None = None
        EventRecorder(settings, database, bus, clock, steady.now_ms, self._wake)

    async def __aenter__(self) -> Self:
        self._run = asyncio.create_task(self._handover.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_HANDOVER_S):
                    await self.wait_handed_over()
            await end(self._run)

    @asynccontextmanager
    async def send(self, registry: Registry, view: ClusterView) -> AsyncIterator[AppSenders]:
        """Send for apps that nobody sends for, and answer those who list and replay events.

        Raises:
            DatabaseError: the data directory cannot be written.
            RegistryError: there is no connection to NATS.
        """
        await asyncio.to_thread(_remove_database, self._settings.data_dir / _REPLICA)
        callbacks, faults = self._settings.callbacks, self._attempts.faults
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._client)
            await stack.enter_async_context(self._replica)
            keeper = HistoryKeeper(
                self._replica,
                self._steady.now_ms,
                faults,
                hours=callbacks.history_hours,
                mib=callbacks.history_mib,
            )
            context = SenderContext(
                self._replica,
                self._clock,
                self._steady.now_ms,
                self._pace,
                self._attempts,
                keeper.note_ended,
            )
            parts = SendingParts(self._stream, context, keeper)
            keeping = asyncio.create_task(keeper.run())
            stack.push_async_callback(end, keeping)
            senders = await stack.enter_async_context(
                AppSenders(
                    callback_apps(self._settings),
                    registry,
                    view,
                    self._lease,
                    self._clock,
                    faults,
                    lambda app: AppSending(app, parts),
                )
            )
            await stack.enter_async_context(
                EventCalls(registry, self._lease.node, senders.find, faults)
            )
            self._is_sending = True
            try:
                yield senders
            finally:
                self._is_sending = False

    async def wait_handed_over(self) -> None:
        """Wait until the stream has all that is on record here now."""
        await self._handover.wait()

    @property
    def counters(self) -> CallbackCounters:
        """What has become of webhooks since the start."""
        return self._attempts.counters

    @property
    def faults(self) -> Faults:
        """Errors that nobody foresaw."""
        return self._attempts.faults

    async def count_waiting(self) -> int:
        """How many events wait here: to be handed over, or for their delivery."""
        waiting = await self._database.run(outbox.count_waiting)
        if self._is_sending:
            waiting += await self._replica.run(outbox.count_waiting)
        return waiting

    def _wake(self, _sdk_app_id: int, _event: OutboxEvent) -> None:
        self._handover.wake()


class _LeasedAttempts(Attempts):
    """Waits while the node's lease is not certain: another one may send then."""

    def __init__(
        self,
        client: WebhookClient,
        find_app: FindApp,
        bus: Bus,
        clock: Clock,
        lease: NodeLease,
    ) -> None:
        super().__init__(client, find_app, bus, clock)
        self._lease = lease

    async def make(self, sdk_app_id: int, event: OutboxEvent) -> Outcome:
        """See `Attempts`."""
        await self._lease.wait_valid()
        return await super().make(sdk_app_id, event)


def _remove_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
