"""The tasks of a cluster in its registry.

Every change reads a record and replaces it by compare-and-set; who comes second reads anew. A node
that runs tasks changes only those that are its own by the fencing token in the record: once another
node has become a room's owner, nothing that the former one does changes the room's tasks, however
late it comes.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.registry import ConflictError, Entry, Registry
from cloudslice.cluster.task_changes import Change, TaskChanges, translated
from cloudslice.cluster.task_endings import TaskEndings
from cloudslice.cluster.task_records import (
    Owner,
    Values,
    guess_task,
    new_record,
    read_owner,
    read_record,
    read_task,
    with_owner,
    without_owner,
    write_record,
)
from cloudslice.events import RobotEntered, RobotLeft
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.secrets import SecretBox
from cloudslice.slices import TaskRef
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.tasks.store import BrokenTask, StoredTask, StoreError
from cloudslice.tasks.task_row import lists_text, slicing_text

_REQUEST_S = 120
"""For so long a request is known; it may be repeated within a minute."""
_WRITING_S = 3.0
"""A task whose request is on record is there after so long, or was never made."""
_LOOK_EVERY_S = 0.05
_QUIET_S = 5.0


class NotOwnerError(StoreError):
    """Another node runs the task now, or none."""


TokenOf = Callable[[RoomKey], int]
"""The token by which this node owns a room; raises StoreError if it does not at this moment."""
Record = Callable[[object], Awaitable[None]]
"""Has an event recorded, durably; raises StoreError."""


class KvTaskStore:
    """A `TaskStore`.

    Args:
        registry: holds the tasks.
        box: encrypts what must not lie readable on a disk; the same on all nodes.
        record: keeps events.
        token_of: of a node that runs tasks; None: of one that only says what is wanted of them.
        room_of: a task's room, where that is known: the registry is slow to find a task without.
        endings: is told of tasks that are about to end; of a node that runs tasks.
    """

    def __init__(
        self,
        registry: Registry,
        box: SecretBox,
        record: Record,
        token_of: TokenOf | None = None,
        room_of: Callable[[str], RoomKey | None] = lambda _task_id: None,
        endings: TaskEndings | None = None,
    ) -> None:
        self._registry = registry
        self._box = box
        self._record = record
        self._token_of = token_of
        self._changes = TaskChanges(registry, room_of)
        self._endings = endings

    async def load(self) -> tuple[list[StoredTask], list[BrokenTask]]:
        """See `TaskStore`; a node that runs tasks has none of them before it owns rooms."""
        tasks: list[StoredTask] = []
        broken: list[BrokenTask] = []
        if self._token_of is not None:
            return tasks, broken
        for entry in await self._load_entries():
            found = self._read(entry)
            if isinstance(found, StoredTask):
                tasks.append(found)
            else:
                broken.append(found)
        return sorted(tasks, key=lambda task: task.created_ms), broken

    async def find(self, task_id: str) -> tuple[Values, int] | None:
        """A task's record and its revision, if there is such a task.

        Raises:
            StoreError: the registry gives no answer.
        """
        with translated():
            entry = await self._changes.find(task_id)
        return None if entry is None else (read_record(entry.value), entry.revision)

    async def create(self, task: StoredTask, *, since_ms: int) -> str:
        """See `TaskStore`."""
        claim = json.dumps({"task_id": task.task_id, "created_ms": task.created_ms}).encode()
        key = keys.REQUEST + task.request.hex()
        with translated():
            while True:
                known = await self._registry.get(key)
                if known is not None and (former := await self._find_former(known, since_ms)):
                    return former
                try:
                    revision = 0 if known is None else known.revision
                    if revision:
                        await self._registry.update(key, claim, revision, ttl_s=_REQUEST_S)
                    else:
                        await self._registry.create(key, claim, ttl_s=_REQUEST_S)
                    break
                except ConflictError:
                    continue
            try:
                value = write_record(new_record(task, self._box))
                await self._registry.create(keys.task_key(task.room, task.task_id), value)
            except ConflictError:
                pass  # nobody else has this TaskId: our own write has come twice
        return task.task_id

    async def modify(
        self,
        task_id: str,
        *,
        lists: SubscriptionLists | None = None,
        slicing: SliceParams | None = None,
    ) -> None:
        """See `TaskStore`."""
        changes: Values = {}
        if lists is not None:
            changes["lists"] = lists_text(lists)
        if slicing is not None:
            changes["slicing"] = slicing_text(slicing)
        await self._change(task_id, lambda values: values | changes)

    async def note_entered(self, task: TaskRef, *, has_failed: bool) -> None:
        """See `TaskStore`. Not in one step: cut off in between, the event comes twice."""
        with translated():
            entry = await self._changes.find(task.task_id)
        if entry is not None:
            self._check_owner(entry)
        await self._record(RobotEntered(task, has_failed))
        await self._change(task.task_id, lambda values: values | {"has_entered": True})

    async def set_stopping(self, task_id: str, code: LeaveCode, *, with_room: bool = False) -> None:
        """See `TaskStore`; `with_room`: its room has ended."""

        def stop(values: Values) -> Values:
            if values.get("leave_code") is not None:
                return values
            return values | {"leave_code": code} | ({"with_room": True} if with_room else {})

        await self._change(task_id, stop)

    async def finish(self, task: TaskRef, code: LeaveCode) -> None:
        """See `TaskStore`. Not in one step: cut off in between, the event comes twice."""
        event: RobotLeft | None = RobotLeft(task, int(code))
        with translated():
            while (entry := await self._changes.find(task.task_id)) is not None:
                self._check_owner(entry)
                # Before the event: what it begins asks who tells of the uploads' end.
                if self._endings is not None:
                    await self._endings.begin(task, read_record(entry.value))
                if event is not None:
                    await self._record(event)
                    event = None
                try:
                    await self._registry.delete(entry.key, entry.revision)
                except ConflictError:
                    continue  # its holders may have changed
                break

    async def take(self, task_id: str, owner: Owner) -> StoredTask | BrokenTask | None:
        """Have a task run by `owner`, unless a later owner has it; None: it has ended.

        Raises:
            NotOwnerError: a later owner has it.
            StoreError: the registry gives no answer.
        """

        def change(values: Values) -> Values:
            former = read_owner(values)
            if former.token > owner.token:
                raise NotOwnerError(f"task {task_id} is another node's")
            names_after_s = max(former.names_after_s, owner.names_after_s)
            return with_owner(values, Owner(owner.node, owner.token, names_after_s))

        with translated():
            entry = await self._changes.change(task_id, change)
        return None if entry is None else self._read(entry)

    async def release(self, task_id: str, names_after_s: int) -> None:
        """A task of this node is run by it no more: the next owner may have it at once, and names
        slices by seconds after `names_after_s`.

        Raises:
            StoreError: it is not this node's, or the registry gives no answer.
        """
        await self._change(task_id, lambda values: without_owner(values, names_after_s))

    async def _find_former(self, known: Entry, since_ms: int) -> str | None:
        """The task that a request has made before, if that was not too long ago and it goes on."""
        claim = json.loads(known.value)
        if claim["created_ms"] <= since_ms:
            return None
        task_id: str = claim["task_id"]
        # Another node may be about to write it.
        for _ in range(round(_WRITING_S / _LOOK_EVERY_S)):
            entry = await self._changes.find(task_id)
            if entry is not None:
                return task_id if read_record(entry.value).get("leave_code") is None else None
            if await self._registry.get(known.key) != known:
                return None
            await asyncio.sleep(_LOOK_EVERY_S)
        return None

    def _check_owner(self, entry: Entry) -> None:
        if self._token_of is None:
            return
        room, task_id = keys.read_task_key(entry.key)
        if read_owner(read_record(entry.value)).token != self._token_of(room):
            raise NotOwnerError(f"task {task_id} is another node's")

    async def _change(self, task_id: str, change: Change) -> None:
        with translated():
            await self._changes.change(task_id, change, self._check_owner)

    def _read(self, entry: Entry) -> StoredTask | BrokenTask:
        values = read_record(entry.value)
        try:
            task = read_task(values, self._box)
        except ValueError as error:
            room, task_id = keys.read_task_key(entry.key)
            return BrokenTask(guess_task(room, task_id, values), str(error))
        task.names_after_s = read_owner(values).names_after_s
        return task

    async def _load_entries(self) -> list[Entry]:
        entries = []
        with translated():
            async with aclosing(self._registry.changes(quiet_s=_QUIET_S)) as changes:
                async for entry in changes:
                    if entry is None:
                        break
                    if entry.key.startswith(keys.TASK) and entry.value:
                        entries.append(entry)
        return entries
