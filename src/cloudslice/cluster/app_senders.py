"""Which apps' webhooks are sent by this node: it takes those that nobody sends.

An app is the node's by its record in the registry, as a room is (`room_ownership`): it is taken by
compare-and-set, and counts as long as the session of the node's lease goes on that it names.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from cloudslice.clock import Clock
from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.app_sending import AppSending, SupersededError
from cloudslice.cluster.cluster_view import ClusterView, NodeInfo
from cloudslice.cluster.ending import end
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.registry import ConflictError, Registry, RegistryError
from cloudslice.faults import Faults

_TURN_S = 1.0
"""How much longer each node waits than the one before it."""
_LOOK_EVERY_S = 0.25
"""While there are apps that nobody sends for."""

_log = structlog.get_logger(__name__)


class AppSenders:
    """The apps of this node; an async context manager that takes them and gives them back."""

    def __init__(
        self,
        apps: Collection[int],
        registry: Registry,
        view: ClusterView,
        lease: NodeLease,
        clock: Clock,
        faults: Faults,
        open_sending: Callable[[int], AppSending],
    ) -> None:
        """
        Args:
            apps: that want to be called.
            open_sending: makes what sends an app's webhooks.
        """
        self._apps = apps
        self._registry = registry
        self._view = view
        self._lease = lease
        self._clock = clock
        self._faults = faults
        self._open_sending = open_sending
        self._taken: dict[int, int] = {}
        """Apps by the revisions of their records."""
        self._sendings: dict[int, tuple[AppSending, asyncio.Task[None]]] = {}
        self._waiting: dict[int, float] = {}
        """Apps that nobody sends for, since which monotonic second."""
        self._news = asyncio.Event()
        self._run: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._lease.on_renewed(self._begin_anew)
        self._view.listen(self._note)
        self._news.set()
        self._run = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Have others go on at once."""
        if self._run is not None:
            await end(self._run)
        for sdk_app_id in list(self._sendings):
            await self._stop(sdk_app_id)
        for sdk_app_id, revision in self._taken.items():
            with suppress(ConflictError, RegistryError):
                await self._registry.delete(f"{keys.SENDER}{sdk_app_id}", revision)

    @property
    def count(self) -> int:
        """How many apps this node has."""
        return len(self._taken)

    def find(self, sdk_app_id: int) -> AppSending | None:
        """What sends an app's webhooks, if this node does so for certain at this moment."""
        sending, task = self._sendings.get(sdk_app_id, (None, None))
        is_running = task is not None and not task.done()
        return sending if is_running and self._lease.is_valid else None

    def _begin_anew(self) -> None:
        """The lease had run out: whatever was ours can be another node's by now."""
        self._taken.clear()
        for sending, task in self._sendings.values():
            sending.cancel()
            task.cancel()
        self._news.set()

    def _note(self, key: str) -> None:
        if key.startswith((keys.NODE, keys.SENDER)):
            self._news.set()

    async def _keep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_LOOK_EVERY_S if self._waiting else None):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            if not self._lease.is_valid:
                await self._lease.wait_valid()
            for sdk_app_id in self._apps:
                try:
                    await self._settle(sdk_app_id)
                except ConflictError:
                    pass  # the view will tell who was first
                except RegistryError as error:
                    _log.warning("app is not taken, will try again", reason=str(error))
                except Exception as error:
                    self._faults.caught(error, sdk_app_id=sdk_app_id)

    async def _settle(self, sdk_app_id: int) -> None:
        shown, mine = self._view.senders.get(sdk_app_id), self._taken.get(sdk_app_id)
        if mine is not None and shown is not None and shown.revision > mine:
            del self._taken[sdk_app_id]
            mine = None
        if mine is None and self._is_mine(sdk_app_id) and shown is not None:
            # The answer to our taking has not come, or comes later than this.
            mine = self._taken[sdk_app_id] = shown.revision
        if sdk_app_id in self._sendings and (mine is None or self._sendings[sdk_app_id][1].done()):
            await self._stop(sdk_app_id)
        if mine is None and self._view.sender_of(sdk_app_id) is None:
            if not self._is_my_turn(sdk_app_id):
                return
            await self._take(sdk_app_id)
        self._waiting.pop(sdk_app_id, None)
        if sdk_app_id in self._taken and sdk_app_id not in self._sendings:
            sending = self._open_sending(sdk_app_id)
            task = asyncio.create_task(self._send(sdk_app_id, sending))
            self._sendings[sdk_app_id] = sending, task

    def _is_mine(self, sdk_app_id: int) -> bool:
        sender = self._view.sender_of(sdk_app_id)
        return (
            sender is not None
            and sender.node == self._lease.node
            and sender.session == self._lease.session
        )

    def _is_my_turn(self, sdk_app_id: int) -> bool:
        since = self._waiting.setdefault(sdk_app_id, self._clock.monotonic())
        former = self._view.senders.get(sdk_app_id)

        def rank(node: NodeInfo) -> tuple[bool, bool, bool, bytes]:
            is_back = former is not None and former.node == node.node
            lot = hashlib.sha256(f"{sdk_app_id} {node.node}".encode()).digest()
            return node.is_leaving, not is_back, not node.is_open, lot

        nodes = [node.node for node in sorted(self._view.nodes.values(), key=rank)]
        me = self._lease.node
        turn = nodes.index(me) if me in nodes else len(nodes)
        return self._clock.monotonic() >= since + turn * _TURN_S

    async def _take(self, sdk_app_id: int) -> None:
        lease, former = self._lease, self._view.senders.get(sdk_app_id)
        session = lease.session
        value = json.dumps({"node": lease.node, "session": session}).encode()
        key = f"{keys.SENDER}{sdk_app_id}"
        if former is None:
            revision = await self._registry.create(key, value)
        else:
            revision = await self._registry.update(key, value, former.revision)
        if lease.session == session:
            self._taken[sdk_app_id] = revision

    async def _send(self, sdk_app_id: int, sending: AppSending) -> None:
        """Send for an app until this is cancelled, or another node does."""
        try:
            await sending.run()
        except (SupersededError, RegistryError) as error:
            _log.warning("webhooks are not sent here", reason=str(error), sdk_app_id=sdk_app_id)
        except Exception as error:
            self._faults.caught(error, sdk_app_id=sdk_app_id)
        await asyncio.sleep(_LOOK_EVERY_S)  # before the next try
        asyncio.get_running_loop().call_soon(self._news.set)  # when this has ended

    async def _stop(self, sdk_app_id: int) -> None:
        sending, task = self._sendings[sdk_app_id]
        await end(task)
        try:
            await sending.close()
        except (SupersededError, RegistryError) as error:
            _log.debug("what was sent is not told", reason=str(error), sdk_app_id=sdk_app_id)
        del self._sendings[sdk_app_id]
