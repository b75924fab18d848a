"""Takes the API's calls for a cluster: checks what may be, and writes what is wanted.

Nothing of a task is only in the memory of a node that takes calls: any of them answers any call.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import structlog

from cloudslice.clock import Clock
from cloudslice.cluster.cluster_view import ClusterView, TaskInfo
from cloudslice.cluster.kv_task_store import KvTaskStore
from cloudslice.cluster.task_records import Values, read_task
from cloudslice.config import AppSettings, Settings
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import LeaveCode, RoomEntryError
from cloudslice.secrets import SecretBox
from cloudslice.slicing.params import ParamChanges, SubscriptionLists
from cloudslice.tasks.model import (
    NoCapacityError,
    NoRegistryError,
    RoomRefusedError,
    TaskNotFoundError,
    TaskSpec,
    TaskStatus,
    TooManyTasksError,
)
from cloudslice.tasks.new_task import REPEATED_WITHIN_MS, make_task
from cloudslice.tasks.store import StoredTask, StoreError

_log = structlog.get_logger(__name__)

_SEEN_WITHIN_S = 1.0
"""Seconds after which a call is answered, though this node does not see its own change yet."""


class RoomChecks(Protocol):
    """Tells of a kind of rooms which can be entered."""

    async def check(self, key: RoomKey, robot_user_id: str) -> None:
        """See `RoomProvider`; raises RoomEntryError."""
        ...


class ClusterTasks:
    """The `TaskService` of a cluster. Times on record are UTC: the nodes' clocks must agree.

    Args:
        settings: the apps with their limits.
        store: holds the tasks.
        view: for what is asked often.
        box: decrypts what is in the tasks.
        rooms: by the name that an app's `rooms` setting has; only asked.
        clock: for UTC.

    Attributes:
        counts: calls that were refused for want of a node, or of the registry.
    """

    def __init__(
        self,
        settings: Settings,
        store: KvTaskStore,
        view: ClusterView,
        box: SecretBox,
        rooms: Mapping[str, RoomChecks],
        clock: Clock,
    ) -> None:
        self.counts = Counter({"no_capacity": 0, "no_registry": 0})
        self._settings = settings
        self._store = store
        self._view = view
        self._box = box
        self._rooms = rooms
        self._clock = clock
        self._creating = Counter[int]()
        """By app: such as the view does not show yet."""

    async def create(self, spec: TaskSpec) -> str:
        """Start a task (TaskService.create)."""
        now_ms = self._clock.utc_ms()
        since_ms = now_ms - REPEATED_WITHIN_MS
        task = make_task(spec, now_ms)
        app = self._admit(task, since_ms)
        self._creating[app.sdk_app_id] += 1
        try:
            try:
                await self._rooms[app.rooms].check(spec.room, spec.robot_user_id)
            except RoomEntryError as error:
                raise RoomRefusedError(f"the room cannot be entered: {error}") from error
            with self._registry():
                task_id = await self._store.create(task, since_ms=since_ms)
            # Whoever calls next is to find it.
            await self._view.wait_for(lambda: task_id in self._view.tasks, _SEEN_WITHIN_S)
        finally:
            self._creating[app.sdk_app_id] -= 1
        what = "task created" if task_id == task.task_id else "task is created already"
        _log.info(what, **task.log_fields | {"task_id": task_id})
        return task_id

    def describe(self, sdk_app_id: int, task_id: str) -> TaskStatus:
        """A task's status, as its owner has told it (TaskService.describe)."""
        info = self._view.tasks.get(task_id)
        if info is None:
            raise _not_found()
        self._check_callable(sdk_app_id, info.room, info.values)
        if info.values.get("leave_code") is not None:
            return TaskStatus.EXITED
        status, token = self._view.statuses.get(task_id, ("", 0))
        is_told = token == info.owner.token and self._view.owner_of(info.room) is not None
        return TaskStatus(status) if is_told and status else TaskStatus.IDLE

    async def modify(
        self,
        sdk_app_id: int,
        task_id: str,
        lists: SubscriptionLists | None,
        changes: ParamChanges | None = None,
    ) -> None:
        """Replace a task's lists, and parameters (TaskService.modify)."""
        task = await self._find(sdk_app_id, task_id)
        slicing = replace(task.slicing, **changes) if changes else None
        if task.leave_code is None and (lists is not None or slicing is not None):
            with self._registry():
                await self._store.modify(task_id, lists=lists, slicing=slicing)

    async def delete(self, sdk_app_id: int, task_id: str) -> None:
        """Begin a task's stop (TaskService.delete)."""
        await self._find(sdk_app_id, task_id)
        with self._registry():
            await self._store.set_stopping(task_id, LeaveCode.STOPPED)
        await self._view.wait_for(lambda: self._is_stopping(task_id), _SEEN_WITHIN_S)

    def _is_stopping(self, task_id: str) -> bool:
        info = self._view.tasks.get(task_id)
        return info is None or info.values.get("leave_code") is not None

    def _admit(self, task: StoredTask, since_ms: int) -> AppSettings:
        app_id, view = task.room.sdk_app_id, self._view
        app = self._settings.app(app_id)
        if app is None:
            raise TooManyTasksError(f"there is no app {app_id}")
        if any(_is_repeated(each, task, since_ms) for each in view.tasks_in(task.room).values()):
            return app  # it only asks for the TaskId
        unfinished = view.count_tasks(app_id) + self._creating[app_id]
        if unfinished >= app.limits.tasks:
            raise TooManyTasksError(f"the app's limit of unfinished tasks is reached: {unfinished}")
        has_owner = view.owner_of(task.room) is not None
        if not has_owner and not any(node.is_open for node in view.nodes.values()):
            self.counts["no_capacity"] += 1
            raise NoCapacityError(f"none of {len(view.nodes)} nodes takes new tasks")
        return app

    async def _find(self, sdk_app_id: int, task_id: str) -> StoredTask:
        with self._registry():
            found = await self._store.find(task_id)
        if found is None:
            raise _not_found()
        try:
            task = read_task(found[0], self._box)
        except ValueError as error:
            raise _not_found() from error
        self._check_callable(sdk_app_id, task.room, found[0])
        return task

    def _check_callable(self, sdk_app_id: int, room: RoomKey, values: Values) -> None:
        until_ms = int(values.get("callable_until_utc_ms", 0))
        if room.sdk_app_id != sdk_app_id or until_ms <= self._clock.utc_ms():
            raise _not_found()

    @contextmanager
    def _registry(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            self.counts["no_registry"] += 1
            raise NoRegistryError(str(error)) from error


def _not_found() -> TaskNotFoundError:
    return TaskNotFoundError("no such task, or it has ended")


def _is_repeated(former: TaskInfo, task: StoredTask, since_ms: int) -> bool:
    values = former.values
    return (
        values.get("request") == b64encode(task.request).decode()
        and values.get("created_ms", 0) > since_ms
        and values.get("leave_code") is None
    )
