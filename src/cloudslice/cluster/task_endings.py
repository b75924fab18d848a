"""Which nodes have slices of a task that are not stored, and who tells how its uploads have ended.

1. A node that takes a task is one of its holders, by its record, until its spool has nothing of it.
2. A task that ends leaves a key: its teller is the node that has ended it, and waits for the other
   holders. The key is there before event 1002, and goes when all is told.
3. Event 1005 is claimed in the key before it is recorded: two nodes never tell it both. A teller
   that is cut off in between records it when it is back.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import structlog

from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_view import ClusterView
from cloudslice.cluster.ended_task import EndedTask, Told
from cloudslice.cluster.registry import ConflictError, Registry, RegistryError
from cloudslice.cluster.task_changes import TaskChanges
from cloudslice.cluster.task_records import (
    Values,
    has_lost,
    read_holders,
    read_owner,
    with_holders,
)
from cloudslice.slices import TaskRef
from cloudslice.uploads.other_nodes import TaskEnd

_KEPT_S = 30 * 86400
"""So long the key of a task is kept whose machine does not come back."""

_log = structlog.get_logger(__name__)


class TaskEndings:
    """`OtherNodes` of a node of a cluster.

    Args:
        registry: holds the records.
        view: is asked for what is only waited for.
        node: the name of this node.
        wait_told: waits until what is on record here comes before what others tell then.
    """

    def __init__(
        self,
        registry: Registry,
        view: ClusterView,
        node: str,
        wait_told: Callable[[], Awaitable[None]],
    ) -> None:
        self.node = node
        self._wait_told = wait_told
        self._registry = registry
        self._view = view
        self._changes = TaskChanges(registry, view.room_of)

    async def begin(self, task: TaskRef, values: Values) -> None:
        """A task of this node is about to end, whose record has `values`; raises RegistryError."""
        ended = EndedTask(
            task, self.node, read_holders(values) - {self.node}, has_lost=has_lost(values)
        )
        await self._put(ended)

    def find_end(self, task_id: str) -> TaskEnd | None:
        """See `OtherNodes`."""
        if task_id in self._view.tasks:
            return None
        ended = self._view.ended.get(task_id)
        if ended is None or ended.teller != self.node:
            return TaskEnd(is_ours=False)
        return TaskEnd(is_waiting=bool(ended.holders), has_lost=ended.has_lost)

    async def claim(self, task_id: str, *, is_final: bool) -> bool:
        """See `OtherNodes`."""

        def mark(ended: EndedTask) -> EndedTask:
            if is_final and ended.holders:
                return ended
            told = Told.ALL if is_final else Told.INCOMPLETE
            return replace(ended, told=max(told, ended.told))

        try:
            ended = await self._change(task_id, mark, if_mine=True)
        except RegistryError as error:
            _log.debug("the end of a task cannot be told now", why=str(error), task_id=task_id)
            return False
        return ended is not None and ended.teller == self.node and not (is_final and ended.holders)

    async def close(self, task_id: str) -> None:
        """See `OtherNodes`."""
        try:
            entry = await self._registry.get(keys.ended_key(task_id))
            if entry is not None and EndedTask.from_value(entry.value).teller == self.node:
                await self._registry.delete(entry.key, entry.revision)
        except (RegistryError, ConflictError, ValueError) as error:
            # Whoever looks after what is left does it later.
            _log.debug("the end of a task is not forgotten yet", why=str(error), task_id=task_id)

    async def release(self, task_id: str, *, has_lost: bool) -> bool:
        """See `OtherNodes`."""
        try:
            return await self.replace(task_id, self.node, None, has_slices=False, has_lost=has_lost)
        except RegistryError as error:
            _log.debug("slices are not known to be done", why=str(error), task_id=task_id)
            return False

    async def replace(
        self, task_id: str, holder: str, heir: str | None, *, has_slices: bool, has_lost: bool
    ) -> bool:
        """A holder of a task has no slices of it any more.

        Args:
            task_id: the task.
            holder: the name of the node.
            heir: the node that tells of the end from now on, if the holder was to do that.
            has_slices: whether the heir has the slices now; else they are stored.
            has_lost: whether slices were lost.

        Returns:
            False if the task is this node's own.

        Raises:
            RegistryError: the registry gives no answer.
        """
        is_own = False
        more_holders = {heir} if heir and has_slices else set()

        def leave(values: Values) -> Values:
            nonlocal is_own
            is_own = holder == self.node and read_owner(values).node == holder
            if is_own:
                return values
            holders = read_holders(values) - {holder} | more_holders
            return with_holders(values, holders, lost=has_lost)

        def leave_ended(ended: EndedTask) -> EndedTask:
            teller = heir if heir and ended.teller == holder else ended.teller
            return ended.without(holder, has_lost=has_lost).told_by(teller, more_holders)

        await self._changes.change(task_id, leave)
        if is_own:
            return False
        await self._change(task_id, leave_ended)
        return True

    async def take_over(self, task_id: str) -> None:
        """Be the teller of a task, in place of one that is gone and may have slices of it; raises
        RegistryError."""
        await self._change(task_id, lambda ended: ended.told_by(self.node, {ended.teller}))

    async def find(self, task_id: str) -> EndedTask | None:
        """A task that has ended and is not settled, as it is on record at this moment; raises
        RegistryError."""
        return await self._change(task_id, lambda ended: ended)

    async def _put(self, ended: EndedTask) -> None:
        key, value = keys.ended_key(ended.task.task_id), ended.to_value()
        while True:
            former = await self._registry.get(key)
            try:
                if former is not None:
                    await self._registry.update(key, value, former.revision, ttl_s=_KEPT_S)
                else:
                    await self._registry.create(key, value, ttl_s=_KEPT_S)
            except ConflictError:
                continue
            break

    async def _change(
        self, task_id: str, change: Callable[[EndedTask], EndedTask], *, if_mine: bool = False
    ) -> EndedTask | None:
        """Change the key of a task that has ended, if it is there; what it says then."""
        while True:
            entry = await self._registry.get(keys.ended_key(task_id))
            if entry is None:
                return None
            try:
                ended = EndedTask.from_value(entry.value)
            except ValueError as error:
                _log.warning("a key of the registry cannot be read", key=entry.key, why=str(error))
                return None
            if if_mine and ended.teller != self.node:
                return ended
            changed = change(ended)
            if changed == ended:
                return ended
            value = changed.to_value()
            with suppress(ConflictError):
                await self._registry.update(entry.key, value, entry.revision, ttl_s=_KEPT_S)
                return changed
