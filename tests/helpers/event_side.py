"""A node's webhooks in a cluster, without media: real NATS, lease, database and requests."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from cloudslice import steady_clock
from cloudslice.bus import Bus
from cloudslice.clock import SystemClock
from cloudslice.cluster.app_senders import AppSenders
from cloudslice.cluster.cluster_view import ClusterView, NodeInfo
from cloudslice.cluster.cluster_webhooks import ClusterWebhooks, callback_apps, open_event_stream
from cloudslice.cluster.event_calls import ClusterEvents
from cloudslice.cluster.event_stream import EventStream
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.registry import Registry
from cloudslice.cluster.registry_opening import open_registry
from cloudslice.config import Settings
from cloudslice.database import Database
from cloudslice.events import UploadFailed
from cloudslice.slices import TaskRef
from cloudslice.steady_clock import SteadyClock
from cloudslice.webhooks.callback_pace import CallbackPace
from cloudslice.webhooks.history import EventQuery, ListedEvent
from cloudslice.webhooks.sql_schema import SCHEMA
from helpers.tcp_proxy import TcpProxy, tcp_proxy
from helpers.webhook_site import APP, TASK

LEASE_S = 3


class EventSide:
    """It runs from `start` until `stop` or `kill`, again and again on the same data.

    Attributes:
        wire: its way to NATS.
        events: lists and replays, as nodes that take calls do.
    """

    def __init__(
        self, name: str, directory: Path, nats_port: int, settings: Settings, pace: CallbackPace
    ) -> None:
        self.name = name
        self.wire: TcpProxy
        self.registry: Registry
        self.view: ClusterView
        self.stream: EventStream
        self.lease: NodeLease
        self.database: Database
        self.bus: Bus
        self.webhooks: ClusterWebhooks
        self.senders: AppSenders
        self.events: ClusterEvents
        self._data_dir = directory / name
        self._nats_port = nats_port
        self._settings = settings.model_copy(update={"data_dir": self._data_dir})
        self._pace = pace
        self._stack = AsyncExitStack()

    async def start(self) -> Self:
        """Be there, and take up what is there."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        clock, settings = SystemClock(), self._settings
        stack = self._stack = AsyncExitStack()
        enter = stack.enter_async_context
        self.database = await enter(
            Database(self._data_dir / "test.db", (SCHEMA, steady_clock.SCHEMA))
        )
        self.wire = await enter(tcp_proxy(self._nats_port))
        url = f"nats://127.0.0.1:{self.wire.port}"
        self.registry = await enter(open_registry(url, name=self.name))
        self.view = await enter(ClusterView(self.registry))
        steady = await enter(SteadyClock(self.database, clock))
        self.bus = Bus(self.database)
        self.lease = NodeLease(
            self.registry,
            self.name,
            LEASE_S,
            clock,
            lambda session: NodeInfo(self.name, session),
        )
        self.stream = await open_event_stream(self.registry, settings)
        self.webhooks = await enter(
            ClusterWebhooks(
                settings,
                self.database,
                self.bus,
                clock,
                steady,
                self.stream,
                self.lease,
                pace=self._pace,
            )
        )
        await enter(self.lease)
        self.senders = await enter(self.webhooks.send(self.registry, self.view))
        self.events = ClusterEvents(self.registry, self.view, callback_apps(settings))
        return self

    async def stop(self) -> None:
        """Stop as a process does that is asked to."""
        await self._stack.aclose()

    async def kill(self) -> None:
        """Be gone without a word to NATS or anybody else."""
        self.wire.cut()
        await self._stack.aclose()

    async def record(self, event: object) -> None:
        """Put an event on record, as other parts do."""
        await self.database.run(lambda connection: self.bus.record(connection, event))

    async def record_many(self, numbers: range, task: TaskRef = TASK) -> None:
        """Put an event of a task on record for each number, which is its `Code`."""
        for number in numbers:
            await self.record(UploadFailed(task, number, "why"))

    @property
    def is_sender(self) -> bool:
        return self.senders.count > 0

    async def list(self, **query: Any) -> list[ListedEvent]:
        """All events that a query means, over several pages."""
        found: list[ListedEvent] = []
        marker: int | None = 0
        while marker is not None:
            page = await self.events.find(EventQuery(APP, **query), marker, 7)
            found += page.events
            marker = page.marker
        return found

    async def all_handed_over(self, count: int) -> None:
        """Wait until `count` events are in the stream, and known to the sender."""
        async with asyncio.timeout(20):
            while len(await self.list()) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def none_waits(self, count: int) -> None:
        """Wait until `count` events have ended, and that is told."""
        async with asyncio.timeout(20):
            while True:
                events = await self.list()
                if len(events) == count and all(each.ended_ms for each in events):
                    return
                await asyncio.sleep(0.05)
