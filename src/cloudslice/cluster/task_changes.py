"""Finds and changes the records of tasks: each change is a compare-and-set, and who comes second
reads anew."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.registry import ConflictError, Entry, Registry, RegistryError
from cloudslice.cluster.task_records import Values, read_record, write_record
from cloudslice.ids import RoomKey
from cloudslice.tasks.store import StoreError

Change = Callable[[Values], Values | None]
"""Gives what a record is to have instead; None: it is to be deleted."""


class TaskChanges:
    """The records of unfinished tasks. All methods raise RegistryError.

    Args:
        registry: holds them.
        room_of: a task's room, where that is known: the registry is slow to find a task without.
    """

    def __init__(
        self,
        registry: Registry,
        room_of: Callable[[str], RoomKey | None] = lambda _task_id: None,
    ) -> None:
        self._registry = registry
        self._room_of = room_of

    async def find(self, task_id: str) -> Entry | None:
        """A task's record, if there is such a task."""
        if not keys.is_task_id(task_id):
            return None
        room = self._room_of(task_id)
        if room is None:
            return await self._registry.find(keys.task_pattern(task_id))
        return await self._registry.get(keys.task_key(room, task_id))

    async def change(
        self, task_id: str, change: Change, check: Callable[[Entry], object] = lambda _entry: None
    ) -> Entry | None:
        """Replace a record, or delete it; the record as it is then.

        Args:
            task_id: whose.
            change: gives what it is to have.
            check: raises an error if it is not to be changed.
        """
        while True:
            entry = await self.find(task_id)
            if entry is None:
                return None
            check(entry)
            values = read_record(entry.value)
            changed = change(values)
            try:
                if changed is None:
                    await self._registry.delete(entry.key, entry.revision)
                    return None
                if changed == values:
                    return entry
                value = write_record(changed)
                revision = await self._registry.update(entry.key, value, entry.revision)
                return Entry(entry.key, value, revision)
            except ConflictError:
                continue


@contextmanager
def translated() -> Iterator[None]:
    """The errors of the registry, as those of a store of tasks."""
    try:
        yield
    except RegistryError as error:
        raise StoreError(str(error)) from error
