"""A node's lease: that it is alive, and may store, tell and change what is its own.

1. The lease is a key with a time to live, which the node refreshes three times within it.
2. The node counts on it for less than the servers do, by its own monotonic clock and from before it
   was asked for: whatever stops the node or its connection, it knows that its lease has run out
   before anybody else takes its rooms. What it finds itself unable to refresh it goes on trying to.
3. A lease that has run out begins anew with another session: rooms that were taken in the former
   one are to be taken anew.
4. Before it is refreshed, the registry has a second of the node's wall clock that lies behind the
   lease's end. No slice is stored under the name of a later second; who takes the node's tasks
   over names slices by later ones only. So names never collide, whatever the clocks say.
"""

import asyncio
import contextlib
import math
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from cloudslice.clock import Clock
from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_view import NodeInfo
from cloudslice.cluster.ending import end
from cloudslice.cluster.registry import ConflictError, Registry, RegistryError
from cloudslice.faults import Faults

_MARGIN_S = 0.5
_RETRY_S = 0.2

_log = structlog.get_logger(__name__)

Describe = Callable[[str], NodeInfo]
"""What a node says of itself, with the session of its lease."""


class NodeLease:
    """The lease of this node; an async context manager that holds it.

    Attributes:
        node: the node's name.
        session: of the lease that is or was held last; changes with `on_renewed`.
        ceiling_s: slices may be named by seconds up to this one: it was on record while the lease
            was held.
        former_ceiling_s: the same of the node's former process.
        losses: how often the lease has run out.
        faults: errors that nobody foresaw.
    """

    def __init__(
        self, registry: Registry, node: str, lease_s: int, clock: Clock, describe: Describe
    ) -> None:
        self.node = node
        self.session = secrets.token_hex(8)
        self.ceiling_s = 0
        self.former_ceiling_s = 0
        self.losses = 0
        self.faults = Faults("lease")
        self.lease_s = lease_s
        self._registry = registry
        self._clock = clock
        self._describe = describe
        self._key = keys.NODE + node
        self._revision = 0
        self._valid_until = -math.inf
        self._on_renewed: list[Callable[[], object]] = []
        self._is_refreshed = asyncio.Event()
        self._has_news = asyncio.Event()
        self._run: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Take the lease; from a former process of this node, too, which must be gone.

        Raises:
            RegistryError: the registry gives no answer.
        """
        former = await self._registry.get(keys.CLOCK + self.node)
        with contextlib.suppress(ValueError):
            self.former_ceiling_s = int(former.value) if former is not None else 0
        self.ceiling_s = self.former_ceiling_s
        await self._begin()
        self._run = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give it back: others may take the node's rooms at once."""
        if self._run is not None:
            await end(self._run)
        self._valid_until = -math.inf
        with contextlib.suppress(RegistryError, ConflictError):
            await self._record_ceiling(1)
            await self._registry.delete(self._key, self._revision)

    @property
    def is_valid(self) -> bool:
        """Whether it is certain at this moment that nobody else has taken the node's rooms."""
        return self._clock.monotonic() < self._valid_until

    async def wait_valid(self) -> None:
        """Wait until it is."""
        while not self.is_valid:
            self._is_refreshed.clear()
            await self._is_refreshed.wait()

    def tell(self) -> None:
        """Refresh it now: what is described has changed."""
        self._has_news.set()

    def on_renewed(self, call: Callable[[], object]) -> None:
        """`call` when the lease had run out and has begun anew, before it counts as valid."""
        self._on_renewed.append(call)

    async def _keep(self) -> None:
        is_told = False
        while True:
            pause_s = self.lease_s / 3
            try:
                await self._refresh()
                is_told = False
            except RegistryError as error:
                if not is_told:
                    _log.warning("lease is not refreshed, will try again", reason=str(error))
                is_told, pause_s = True, _RETRY_S
            except Exception as error:
                self.faults.caught(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._has_news.wait()
            self._has_news.clear()

    async def _refresh(self) -> None:
        asked_at = self._clock.monotonic()
        ceiling_s = await self._record_ceiling(self.lease_s + 1)
        value = self._describe(self.session).to_value()
        try:
            self._revision = await self._registry.update(
                self._key, value, self._revision, ttl_s=self.lease_s
            )
        except ConflictError:
            found = await self._registry.get(self._key)
            info = None if found is None else NodeInfo.from_value(self.node, found.value)
            if found is None or info is None or info.session != self.session:
                await self._lose()
            else:
                self._revision = found.revision  # of our own refresh, whose answer did not come
                await self._refresh()
        else:
            self._note_valid(asked_at, ceiling_s)

    async def _lose(self) -> None:
        self.losses += 1
        self._valid_until = -math.inf
        self.session = secrets.token_hex(8)
        _log.warning("the lease had run out: rooms are to be taken anew", node=self.node)
        await self._begin()

    async def _begin(self) -> None:
        asked_at = self._clock.monotonic()
        ceiling_s = await self._record_ceiling(self.lease_s + 1)
        value = self._describe(self.session).to_value()
        while True:
            former = await self._registry.get(self._key)
            with contextlib.suppress(ConflictError):
                if former is None:
                    self._revision = await self._registry.create(
                        self._key, value, ttl_s=self.lease_s
                    )
                else:
                    self._revision = await self._registry.update(
                        self._key, value, former.revision, ttl_s=self.lease_s
                    )
                break
        for call in self._on_renewed:
            call()
        self._note_valid(asked_at, ceiling_s)

    def _note_valid(self, asked_at: float, ceiling_s: int) -> None:
        self._valid_until = asked_at + self.lease_s - _MARGIN_S
        self.ceiling_s = max(self.ceiling_s, ceiling_s)
        self._is_refreshed.set()

    async def _record_ceiling(self, seconds: int) -> int:
        ceiling_s = max(self.ceiling_s, self._clock.utc_ms() // 1000 + seconds)
        await self._registry.put(keys.CLOCK + self.node, str(ceiling_s).encode())
        return ceiling_s
