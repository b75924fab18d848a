"""The parts of delivery, put together as every node with media has them."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Protocol

from cloudslice import secrets, steady_clock
from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.config import Settings
from cloudslice.database import Database
from cloudslice.metrics import CountedWebhooks, DeliveryParts
from cloudslice.secrets import SecretBox
from cloudslice.slices import SliceKind
from cloudslice.slicing.audio.ogg_repair import repair_ogg
from cloudslice.spool.spool import Spool
from cloudslice.steady_clock import SteadyClock
from cloudslice.tasks import sqlite_store
from cloudslice.tasks.store import StoredTask
from cloudslice.uploads import progress
from cloudslice.uploads.losses import Losses
from cloudslice.uploads.other_nodes import OtherNodes
from cloudslice.uploads.stores import BucketOpener
from cloudslice.uploads.uploader import Uploader
from cloudslice.webhooks import sql_schema as webhooks_schema

SCHEMAS = (
    secrets.SCHEMA,
    steady_clock.SCHEMA,
    webhooks_schema.SCHEMA,
    progress.SCHEMA,
    sqlite_store.SCHEMA,
)
"""Of all parts that a node's database has."""
SPOOL = "spool"
"""The name of the spool's directory."""
REPAIRS = {SliceKind.AUDIO: repair_ogg}
"""How files that were cut off are made valid; pictures are not worth it."""


class OpenedWebhooks(CountedWebhooks, AbstractAsyncContextManager[object], Protocol):
    """What brings events to receivers while it is entered."""


async def open_delivery(
    stack: AsyncExitStack,
    settings: Settings,
    database: Database,
    box: SecretBox,
    bus: Bus,
    steady: SteadyClock,
    clock: Clock,
    webhooks: OpenedWebhooks,
    *,
    known: Iterable[StoredTask] = (),
    fence: Callable[[BucketOpener], BucketOpener] = lambda opener: opener,
    others: OtherNodes | None = None,
) -> DeliveryParts:
    """Open what brings slices and events to those who get them, until `stack` is left.

    Args:
        stack: in which the parts are open.
        settings: all of them.
        database: open, with `SCHEMAS`.
        box: encrypts storage keys.
        bus: joins the parts.
        steady: counts retentions; entered.
        clock: paces everything.
        webhooks: not entered; bring events to receivers.
        known: tasks that others know: for those whose file in the spool is damaged.
        fence: stands around the stores of buckets.
        others: what other nodes have of the same tasks; None: there are no others.
    """
    await stack.enter_async_context(webhooks)
    spool = Spool(
        settings.data_dir / SPOOL,
        box,
        REPAIRS,
        bus,
        steady.now_ms,
        is_new_clock=steady.is_new,
        sync_interval_s=settings.storage.sync_interval_s,
        known={each.task_id: (each.ref, each.bucket) for each in known if each.bucket},
    )
    # Around the spool, which may tell of losses until it is closed.
    losses = await stack.enter_async_context(
        Losses(database, bus, spool.find_task, settings.data_dir / "reserve")
    )
    await stack.enter_async_context(spool)
    uploader = await stack.enter_async_context(
        Uploader(
            settings.storage,
            database,
            bus,
            spool,
            clock,
            steady.now_ms,
            are_losses_waiting=losses.are_waiting,
            fence=fence,
            others=others,
        )
    )
    return DeliveryParts(database, steady, bus, spool, uploader, losses, webhooks)
