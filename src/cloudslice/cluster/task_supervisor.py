"""Has this node's worker run the tasks of the rooms that the node owns, and no others.

A task is *taken* before it is run: its record then names this node and the room's token, so that
a former owner changes it no more. What is wanted of a task is in its record, and its robot is made
to follow it. What its robot is doing is put beside it, for those who ask.
"""

import asyncio
import contextlib
import json
from types import TracebackType
from typing import Protocol, Self

import structlog

from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_view import ClusterView, TaskInfo
from cloudslice.cluster.ending import end
from cloudslice.cluster.fence import Fence
from cloudslice.cluster.kv_task_store import KvTaskStore, NotOwnerError
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.registry import ConflictError, Registry, RegistryError
from cloudslice.cluster.room_ownership import RoomOwnership
from cloudslice.cluster.task_records import Owner, read_task
from cloudslice.faults import Faults
from cloudslice.ids import RoomKey
from cloudslice.secrets import SecretBox
from cloudslice.tasks.running import RunningTask
from cloudslice.tasks.store import BrokenTask, StoreError
from cloudslice.tasks.worker import Worker

_RETRY_S = 0.5
_SHOW_EVERY_S = 0.5
"""So late at most others hear what a task is doing."""
_AT_A_TIME = 32

_log = structlog.get_logger(__name__)


class LeaveUploads(Protocol):
    """Tells uploads whether another node goes on with a task."""

    def __call__(self, task_id: str, *, is_elsewhere: bool = True) -> None: ...


class TaskSupervisor:
    """See the module; an async context manager.

    Args:
        registry: holds the tasks.
        view: tells what is wanted.
        store: takes tasks for this node.
        box: decrypts what is in them.
        lease: of this node.
        ownership: tells which rooms are this node's.
        worker: runs the tasks.
        fence: is told which tasks are this node's.
        leave_uploads: is told which tasks with slices here are other nodes'.
    """

    def __init__(
        self,
        registry: Registry,
        view: ClusterView,
        store: KvTaskStore,
        box: SecretBox,
        lease: NodeLease,
        ownership: RoomOwnership,
        worker: Worker,
        fence: Fence,
        leave_uploads: LeaveUploads,
    ) -> None:
        self.faults = Faults("task supervisor")
        self._registry = registry
        self._view = view
        self._store = store
        self._box = box
        self._lease = lease
        self._ownership = ownership
        self._worker = worker
        self._fence = fence
        self._leave_uploads = leave_uploads
        self._taken: dict[str, int] = {}
        """Tasks by the token with which they were taken."""
        self._broken: set[str] = set()
        """Tasks that cannot be read, which are being ended."""
        self._released: set[RoomKey] = set()
        """Rooms that are being given to other nodes."""
        self._shown: dict[str, tuple[str, int]] = {}
        self._dirty: set[str] = set()
        self._news = asyncio.Event()
        self._runs: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._ownership.on_changed(self._note_room)
        self._view.listen(self._note_key)
        self._lease.on_renewed(self._note_renewed)
        for task_id in self._view.tasks:
            self._mark(task_id)
        self._runs = [asyncio.create_task(self._keep()), asyncio.create_task(self._show())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await end(*self._runs)

    def is_ending(self, room: RoomKey) -> bool:
        """Whether tasks of a room are about to end here."""
        return any(
            each.stored.room == room and each.stored.leave_code is not None
            for each in self._worker.tasks
        )

    async def release(self, room: RoomKey, names_after_s: int) -> None:
        """Have this node run a room's tasks no more, until `note_moved`: their slices end here, and
        are named by seconds up to `names_after_s`."""
        self._released.add(room)
        task_ids = [each for each in self._view.tasks_in(room) if each in self._taken]
        for task_id in task_ids:
            del self._taken[task_id]
            self._fence.note_lost(task_id, names_after_s)
            self._worker.abandon(task_id)
        for task_id in task_ids:
            with contextlib.suppress(StoreError):  # then its next owner goes by our lease
                await self._store.release(task_id, names_after_s)

    def note_moved(self, room: RoomKey) -> None:
        """A room that was released is another node's, or is to be run here again."""
        self._released.discard(room)
        self._note_room(room)

    def _note_room(self, room: RoomKey) -> None:
        for task_id in self._view.tasks_in(room):
            self._mark(task_id)
        for running in self._worker.tasks:
            if running.stored.room == room:
                self._mark(running.stored.task_id)

    def _note_renewed(self) -> None:
        for task_id in self._taken:
            self._mark(task_id)

    def _note_key(self, key: str) -> None:
        if key.startswith(keys.TASK):
            self._mark(keys.read_task_key(key)[1])

    def _mark(self, task_id: str) -> None:
        self._dirty.add(task_id)
        self._news.set()

    async def _keep(self) -> None:
        limit = asyncio.Semaphore(_AT_A_TIME)
        while True:
            await self._news.wait()
            self._news.clear()
            dirty, self._dirty = self._dirty, set()
            failed = [
                each
                for each in await asyncio.gather(*(self._try(limit, each) for each in dirty))
                if each is not None
            ]
            if failed:
                await asyncio.sleep(_RETRY_S)
                for each in failed:
                    self._mark(each)

    async def _try(self, limit: asyncio.Semaphore, task_id: str) -> str | None:
        """Settle a task; its TaskId, if that is to be tried again."""
        async with limit:
            try:
                await self._settle(task_id)
            except NotOwnerError:
                return None  # the view will tell
            except (StoreError, RegistryError) as error:
                _log.warning(
                    "task is not taken, will try again", reason=str(error), task_id=task_id
                )
                return task_id
            except Exception as error:
                self.faults.caught(error, task_id=task_id)
                return task_id
        return None

    async def _settle(self, task_id: str) -> None:
        info, running = self._view.tasks.get(task_id), self._worker.find(task_id)
        room = info.room if info is not None else running.stored.room if running else None
        if room is None:
            self._leave_uploads(task_id)  # unless it has ended here
            self._taken.pop(task_id, None)
            self._broken.discard(task_id)
            self._fence.note_ended(task_id)
            return
        if self._ownership.is_undecided(room) or room in self._released:
            return
        token = self._ownership.find_token(room)
        if token is None:
            self._abandon(task_id)
            if self._view.owner_of(room) is not None:
                self._leave_uploads(task_id)
        elif info is None:
            # One that ends here is about to be forgotten; another one has ended elsewhere.
            if running is not None and running.stored.leave_code is None:
                self._abandon(task_id)
        elif self._taken.get(task_id) != token or running is None:
            await self._take(info, token)
        else:
            self._follow(info, running)

    async def _take(self, info: TaskInfo, token: int) -> None:
        task_id, former, me = info.task_id, info.owner, self._lease.node
        names_after_s = former.names_after_s
        if former.node not in ("", me):
            names_after_s = max(names_after_s, await self._read_ceiling(former.node))
        taken = await self._store.take(task_id, Owner(me, token, names_after_s))
        if taken is None:
            return
        self._taken[task_id] = token
        self._fence.note_taken(task_id, names_after_s)
        self._leave_uploads(task_id, is_elsewhere=False)
        running = self._worker.find(task_id)
        if running is not None:
            return
        if isinstance(taken, BrokenTask):
            if task_id not in self._broken:
                self._broken.add(task_id)
                self._worker.end_broken(taken)
        else:
            self._worker.take_up(taken)

    async def _read_ceiling(self, node: str) -> int:
        entry = await self._registry.get(keys.CLOCK + node)
        with contextlib.suppress(ValueError):
            return int(entry.value) if entry is not None else 0
        return 0

    def _abandon(self, task_id: str) -> None:
        if self._taken.pop(task_id, None) is not None:
            self._fence.note_lost(task_id)
        if self._worker.find(task_id) is not None:
            _log.warning("task goes on elsewhere", task_id=task_id)
            self._worker.abandon(task_id)

    def _follow(self, info: TaskInfo, running: RunningTask) -> None:
        """Have a task's robot do what the record wants."""
        try:
            wanted = read_task(info.values, self._box)
        except ValueError as error:
            _log.error("task cannot be read", reason=str(error), task_id=info.task_id)
            return
        stored = running.stored
        lists = wanted.lists if wanted.lists != stored.lists else None
        slicing = wanted.slicing if wanted.slicing != stored.slicing else None
        if lists is not None or slicing is not None:
            running.change(lists, slicing)
            stored.lists, stored.slicing = wanted.lists, wanted.slicing
            _log.info("task modified", **stored.log_fields)
        if wanted.leave_code is not None:
            running.stop(wanted.leave_code)

    async def _show(self) -> None:
        """Tell what tasks are doing, whenever it has changed."""
        while True:
            await asyncio.sleep(_SHOW_EVERY_S)
            if not self._lease.is_valid:
                continue
            try:
                await self._show_once()
            except (RegistryError, ConflictError):
                pass  # next time
            except Exception as error:
                self.faults.caught(error)

    async def _show_once(self) -> None:
        there: dict[str, tuple[str, int]] = {}
        for running in list(self._worker.tasks):
            task_id = running.stored.task_id
            there[task_id] = (running.status.value, self._taken.get(task_id, 0))
        for task_id, shown in there.items():
            if self._shown.get(task_id) != shown:
                value = json.dumps({"status": shown[0], "token": shown[1]}).encode()
                await self._registry.put(keys.status_key(task_id), value)
                self._shown[task_id] = shown
        for task_id in [each for each in self._shown if each not in there]:
            del self._shown[task_id]
            if task_id not in self._view.tasks:
                await self._forget(task_id)

    async def _forget(self, task_id: str) -> None:
        entry = await self._registry.get(keys.status_key(task_id))
        if entry is not None:
            await self._registry.delete(entry.key, entry.revision)
