"""One app's webhooks, sent by the node that has the app.

1. It begins with a step of its own in the stream: whoever has sent before can add none any more.
2. It reads the app's events from the floor on, which its predecessor has told, and sends what has
   not ended. What lies below the floor it reads meanwhile, for those who list events.
3. What has become of events it tells the stream, in steps.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import structlog

from cloudslice.cluster.ending import end
from cloudslice.cluster.event_messages import Step
from cloudslice.cluster.event_replica import EventReplica
from cloudslice.cluster.event_stream import EventStream
from cloudslice.cluster.registry import ConflictError, RegistryError
from cloudslice.webhooks import history
from cloudslice.webhooks.app_outbox import SenderContext
from cloudslice.webhooks.app_sender import AppSender
from cloudslice.webhooks.history import EventQuery, Page
from cloudslice.webhooks.keeper import HistoryKeeper
from cloudslice.webhooks.outbox import Ending
from cloudslice.webhooks.webhooks import replay

_RETRY_S = 0.5
_TOLD_AT_ONCE = 1000
"""Events in a step; each takes a hundred bytes or so."""
_FORGET_EVERY_S = 60.0
_READ_WITHIN_S = 5.0
"""Who lists events waits so long at most until a new sender has read them."""

_log = structlog.get_logger(__name__)


class SupersededError(Exception):
    """Another node sends for the app."""


@dataclass(frozen=True, slots=True)
class SendingParts:
    """What all sendings of a node share.

    Attributes:
        stream: has the events.
        context: of the senders; each has an `on_ended` of its own.
        keeper: deletes ended events from the senders' database.
    """

    stream: EventStream
    context: SenderContext
    keeper: HistoryKeeper


class AppSending:
    """See the module. It is run once, and then closed."""

    def __init__(self, sdk_app_id: int, parts: SendingParts) -> None:
        self._sdk_app_id = sdk_app_id
        self._parts = parts
        context = replace(parts.context, on_ended=self._note_ended)
        self._replica = EventReplica(
            sdk_app_id, parts.stream, context.database, context.clock, context.steady_ms
        )
        self._sender = AppSender(sdk_app_id, context, is_behind=True)
        self._claim = secrets.token_hex(8)
        self._last_step = 0
        self._untold: deque[Ending] = deque()
        self._telling = asyncio.Lock()
        self._news = asyncio.Event()
        self._is_all_read = asyncio.Event()
        self._is_begun = False
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Send until cancelled.

        Raises:
            SupersededError: another node sends.
            RegistryError: NATS gives no answer.
        """
        await self._begin()
        works = (self._sender.run(), self._follow(), self._tell_forever(), self._look_after())
        # Not a task group, which ends its tasks once: see `ending`.
        self._tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Begin nothing more; to be closed then."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """End all that runs still, and tell what is not told yet. `run` has ended.

        Raises:
            SupersededError, RegistryError: it is not told, and those events may be sent again.
        """
        await end(*self._tasks)
        await asyncio.gather(*self._tasks, return_exceptions=True)  # `run` has raised the first
        if self._is_begun:
            self._untold.extend(self._sender.unrecorded)
            await self._tell()

    async def find(self, query: EventQuery, marker: int, limit: int) -> Page:
        """Events on record, from behind the id `marker` on; see `history.find`.

        Raises:
            TimeoutError: they are not read yet.
        """
        await self._wait_all_read()
        return await self._parts.context.database.run(
            lambda c: history.find(c, query, marker, limit)
        )

    async def replay(self, query: EventQuery) -> int:
        """Send ended events again; returns how many.

        Raises:
            TimeoutError: they are not read yet.
            SupersededError, RegistryError: it is not certain that they are sent.
        """
        await self._wait_all_read()
        context = self._parts.context
        again = await replay(context.database, self._parts.keeper, query, context.steady_ms())
        if again:
            await self._tell(again)
            self._sender.replay()
        return len(again)

    async def _wait_all_read(self) -> None:
        async with asyncio.timeout(_READ_WITHIN_S):
            await self._is_all_read.wait()

    async def _begin(self) -> None:
        stream, clock = self._parts.stream, self._parts.context.clock
        floor = 0
        while not self._is_begun:
            former, step = await stream.last_step(self._sdk_app_id)
            floor = 0 if step is None else step.floor
            mine = Step(self._claim, floor, clock.utc_ms())
            try:
                self._last_step = await stream.add_step(self._sdk_app_id, mine, former)
                self._is_begun = True
            except ConflictError:
                continue
        await self._replica.read_waiting(floor, self._last_step)
        _log.info("webhooks are sent by this node", sdk_app_id=self._sdk_app_id)

    async def _follow(self) -> None:
        await self._replica.follow(self._sender.take, self._see)

    def _see(self, step: Step) -> None:
        if step.claim != self._claim:
            raise SupersededError(f"another node sends for app {self._sdk_app_id}")

    def _note_ended(self, endings: Collection[Ending]) -> None:
        self._parts.keeper.note_ended(endings)
        self._untold.extend(endings)
        self._news.set()

    async def _tell_forever(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._tell()
            except RegistryError as error:
                _log.debug("not told what was sent, will try again", reason=str(error))
                self._news.set()
                await asyncio.sleep(_RETRY_S)

    async def _tell(self, again: Sequence[int] = ()) -> None:
        """Tell what has ended, and then what is to be sent again."""
        async with self._telling:
            while self._untold or again:
                ended = list(self._untold)[:_TOLD_AT_ONCE]
                some = again[:_TOLD_AT_ONCE]
                floor = await self._replica.find_floor()
                now_ms = self._parts.context.clock.utc_ms()
                await self._add_step(Step(self._claim, floor, now_ms, ended, some))
                for _ in ended:
                    self._untold.popleft()
                again = again[_TOLD_AT_ONCE:]

    async def _add_step(self, step: Step) -> None:
        stream = self._parts.stream
        while True:
            try:
                self._last_step = await stream.add_step(self._sdk_app_id, step, self._last_step)
            except ConflictError:
                # Our own, whose answer was lost; or none, where the last one is too old to be kept.
                self._last_step, known = await stream.last_step(self._sdk_app_id)
                if known is not None:
                    self._see(known)
            else:
                return

    async def _look_after(self) -> None:
        """Read what has ended long ago, and have the stream forget what is not kept."""
        keeper = self._parts.keeper
        await self._replica.read_ended()
        keeper.measure_anew()
        self._is_all_read.set()
        forgotten = 0
        while True:
            await asyncio.sleep(_FORGET_EVERY_S)
            oldest = await self._replica.find_oldest()
            if oldest > forgotten:
                steps_before = min(oldest, self._last_step)
                try:
                    await self._parts.stream.forget(self._sdk_app_id, oldest, steps_before)
                    forgotten = oldest
                except RegistryError as error:
                    _log.debug("old events not forgotten, will try again", reason=str(error))
