"""Keeps objects out of buckets that are not this node's to store.

1. Nothing is stored while the node's lease has run out: it waits.
2. A slice of a task that another node has by now is stored if its name is of a second that was this
   node's: up to the ceiling that was on record while it held the task. What it has recorded beyond
   that it has recorded beside the new owner, under names that may be the new owner's, too.
3. Slices that were adopted are another node's by their seconds, and are stored all the same.
"""

import asyncio
from collections import defaultdict

from cloudslice.cluster.node_lease import NodeLease
from cloudslice.ids import ObjectName
from cloudslice.uploads.objects import ObjectStore, StoredObject
from cloudslice.uploads.storage_errors import ANOTHER_NODES, StorageError
from cloudslice.uploads.stores import BucketOpener


class Fence:
    """Says what this node may store."""

    def __init__(self, lease: NodeLease, began_s: int) -> None:
        """Takes the lease, and the second of the wall clock at which this process has begun."""
        self._lease = lease
        self._began_s = began_s
        self._held: set[str] = set()
        self._limits: dict[str, int] = {}
        """Of tasks that were lost: the last second that was this node's."""
        self._gaps: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        """Of tasks that were taken again: from behind which second up to which one they were not
        this node's."""
        self._undecided: dict[str, int] = {}
        """Tasks that were this node's when its lease ran out, with their limits."""
        self._admitted: set[str] = set()
        """Object keys of slices that were adopted and are not stored."""
        self._is_decided = asyncio.Event()
        lease.on_renewed(self._begin_anew)

    def note_taken(self, task_id: str, names_after_s: int) -> None:
        """A task is this node's; others may have used names of seconds up to `names_after_s`."""
        self._undecided.pop(task_id, None)
        self._is_decided.set()
        if task_id in self._held:
            return
        self._held.add(task_id)
        limit_s = self._limits.pop(task_id, self._lease.former_ceiling_s)
        if limit_s < names_after_s:
            self._gaps[task_id].append((limit_s, names_after_s))

    def note_lost(self, task_id: str, last_s: int | None = None) -> None:
        """A task is another node's. It was given away: `last_s` is the last second that was this
        node's."""
        ceiling_s = self._lease.ceiling_s if last_s is None else last_s
        limit_s = self._undecided.pop(task_id, ceiling_s)
        self._is_decided.set()
        if task_id in self._held:
            self._held.remove(task_id)
            self._limits[task_id] = limit_s

    def note_ended(self, task_id: str) -> None:
        """A task is on record no more."""
        if task_id in self._undecided:
            self.note_lost(task_id)  # whoever has ended it
        self._held.discard(task_id)

    def admit(self, object_key: str) -> None:
        """A slice that another node could have stored is this node's."""
        self._admitted.add(object_key)

    def note_stored(self, object_key: str) -> None:
        """A slice is stored."""
        self._admitted.discard(object_key)

    def may_store(self, task_id: str, second: int) -> bool:
        """Whether a slice of a task that is named by a second is this node's."""
        if any(after_s < second <= last_s for after_s, last_s in self._gaps.get(task_id, ())):
            return False
        if task_id in self._held:
            return True
        if task_id in self._limits:
            return second <= self._limits[task_id]
        # It has ended here, or a former process has had it.
        return not self._lease.former_ceiling_s < second <= self._began_s

    async def wait(self, object_key: str) -> None:
        """Wait until the node may store anything at all.

        Raises:
            StorageError: it may not store this object.
        """
        name = ObjectName.from_key(object_key)
        while not self._lease.is_valid or name.task_id in self._undecided:
            await self._lease.wait_valid()
            if name.task_id in self._undecided:
                self._is_decided.clear()
                await self._is_decided.wait()
        if object_key in self._admitted:
            return
        if not self.may_store(name.task_id, name.utc_second):
            raise StorageError(
                0,
                ANOTHER_NODES,
                "A slice that was recorded after another node had taken the room is not stored.",
            )

    def _begin_anew(self) -> None:
        for task_id in self._held:
            self._undecided.setdefault(task_id, self._lease.ceiling_s)

    def around(self, open_bucket: BucketOpener) -> BucketOpener:
        """Opens the same buckets, and keeps out of them what is not this node's."""
        return lambda bucket: _FencedStore(open_bucket(bucket), self)


class _FencedStore:
    """An `ObjectStore`."""

    def __init__(self, store: ObjectStore, fence: Fence) -> None:
        self._store = store
        self._fence = fence

    def url(self, key: str) -> str:
        """See `ObjectStore`."""
        return self._store.url(key)

    async def put(self, item: StoredObject) -> None:
        """See `ObjectStore`."""
        await self._fence.wait(item.key)
        await self._store.put(item)
        self._fence.note_stored(item.key)
