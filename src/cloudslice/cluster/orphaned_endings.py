"""Sees to the ends of tasks that nobody else sees to, as a node was gone in between.

1. A teller that does not come back: another node tells, within a bounded time. What the former one
   may have is not waited for any longer, but told to be missing.
2. A node that is a holder or a teller by the registry, and whose spool or database knows nothing of
   the task: it was cut off in between, and what is missing is done.
"""

import asyncio
import hashlib
from types import TracebackType
from typing import Self

import structlog

from cloudslice.clock import Clock
from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_view import ClusterView
from cloudslice.cluster.ended_task import EndedTask, Told
from cloudslice.cluster.ending import end
from cloudslice.cluster.registry import RegistryError
from cloudslice.cluster.task_endings import TaskEndings
from cloudslice.faults import Faults
from cloudslice.uploads.task_queues import TaskQueues

_LOOK_EVERY_S = 2.0

_log = structlog.get_logger(__name__)


class OrphanedEndings:
    """See the module; an async context manager.

    Attributes:
        faults: errors that nobody foresaw.
    """

    def __init__(
        self,
        endings: TaskEndings,
        view: ClusterView,
        queues: TaskQueues,
        clock: Clock,
        *,
        patience_s: float = 60.0,
    ) -> None:
        """
        Args:
            endings: changes what is on record.
            view: tells who is there, and what is on record.
            queues: of this node's uploads.
            clock: for how long a node is gone.
            patience_s: a teller that is gone for so long is replaced.
        """
        self.faults = Faults("orphaned endings")
        self._endings = endings
        self._view = view
        self._queues = queues
        self._clock = clock
        self._patience_s = patience_s
        self._gone_since: dict[str, float] = {}
        """Tellers without a lease, since which monotonic second."""
        self._left: set[str] = set()
        """Unfinished tasks of other nodes of which this node is a holder."""
        self._run: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._view.listen(self._note)
        for task_id in self._view.tasks:
            self._note_holders(task_id)
        self._run = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run is not None:
            await end(self._run)

    def _note(self, key: str) -> None:
        if key.startswith(keys.TASK):
            task_id = keys.read_task_key(key)[1]
            self._note_holders(task_id)
        elif key.startswith(keys.ENDED):
            task_id = keys.read_ended_key(key)
        else:
            return
        self._queues.look(task_id)

    def _note_holders(self, task_id: str) -> None:
        info, node = self._view.tasks.get(task_id), self._endings.node
        is_holder = info is not None and node in info.values.get("holders", ())
        if info is not None and is_holder and info.owner.node != node:
            self._left.add(task_id)
        else:
            self._left.discard(task_id)

    async def _keep(self) -> None:
        while True:
            try:
                await self._look()
            except RegistryError as error:
                _log.debug("ends of tasks are seen to later", why=str(error))
            except Exception as error:
                self.faults.caught(error)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _look(self) -> None:
        for task_id in list(self._left):
            if not self._queues.knows(task_id):
                await self._endings.release(task_id, has_lost=False)
        tellers = {each.teller for each in self._view.ended.values()}
        for node in self._gone_since.keys() - (tellers - self._view.nodes.keys()):
            del self._gone_since[node]
        for ended in list(self._view.ended.values()):
            if ended.task.task_id not in self._view.tasks:
                await self._see_to(ended)

    async def _see_to(self, ended: EndedTask) -> None:
        task_id, me = ended.task.task_id, self._endings.node
        if ended.teller == me:
            if not self._queues.has_ended(task_id):
                await self._tell(task_id)
        elif me in ended.holders and not self._queues.knows(task_id):
            await self._endings.release(task_id, has_lost=False)
        elif self._is_gone(ended.teller) and self._is_first(task_id):
            _log.warning("another node's task is told the end of", task_id=task_id, of=ended.teller)
            await self._endings.take_over(task_id)

    async def _tell(self, task_id: str) -> None:
        """Tell of a task's end, if that is still to be done: the view may be behind."""
        ended = await self._endings.find(task_id)
        if ended is None or ended.teller != self._endings.node:
            return
        if ended.told is Told.ALL:
            await self._endings.close(task_id)
        else:
            is_told = ended.told is Told.INCOMPLETE
            await self._queues.take_over(ended.task, is_told=is_told)

    def _is_gone(self, node: str) -> bool:
        if node in self._view.nodes:
            return False
        now = self._clock.monotonic()
        return now - self._gone_since.setdefault(node, now) >= self._patience_s

    def _is_first(self, task_id: str) -> bool:
        """Whether this node is the one of those there that sees to a task: all find the same."""

        def lot(node: str) -> bytes:
            return hashlib.sha256(f"{task_id} {node}".encode()).digest()

        return min(self._view.nodes, key=lot, default="") == self._endings.node
