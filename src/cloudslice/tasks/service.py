"""Takes the API's calls: checks what may be, and writes what is wanted."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace

import structlog

from cloudslice.config import AppSettings, Settings
from cloudslice.rooms.base import LeaveCode, RoomEntryError, RoomProvider
from cloudslice.slices import Bucket
from cloudslice.slicing.params import ParamChanges, SliceParams, SubscriptionLists
from cloudslice.tasks.deliveries import Deliveries
from cloudslice.tasks.model import (
    RobotIdTakenError,
    RoomRefusedError,
    SpoolFullError,
    TaskNotFoundError,
    TaskSpec,
    TaskStatus,
    TooManyTasksError,
)
from cloudslice.tasks.new_task import REPEATED_WITHIN_MS, make_task
from cloudslice.tasks.running import RunningTask
from cloudslice.tasks.store import StoredTask, TaskStore
from cloudslice.tasks.worker import Worker

_log = structlog.get_logger(__name__)


class Tasks:
    """The `TaskService` of one node.

    Args:
        is_full: whether so many slices wait that no new task should start.
        rooms: by the name that an app's `rooms` setting has.
        steady_ms: milliseconds of a clock that never steps, also over restarts.
    """

    def __init__(
        self,
        settings: Settings,
        store: TaskStore,
        worker: Worker,
        deliveries: Deliveries,
        is_full: Callable[[], bool],
        rooms: Mapping[str, RoomProvider],
        steady_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._store = store
        self._worker = worker
        self._rooms = rooms
        self._deliveries = deliveries
        self._is_full = is_full
        self._steady_ms = steady_ms
        self._creating: list[StoredTask] = []

    async def create(self, spec: TaskSpec) -> str:
        """Start a task (TaskService.create)."""
        now_ms = self._steady_ms()
        since_ms = now_ms - REPEATED_WITHIN_MS
        task = make_task(spec, now_ms)
        app = self._admit(spec, task, since_ms)
        # Counted from here on, so that creations side by side cannot pass the limit together.
        self._creating.append(task)
        try:
            await self._check_room(app, spec)
            task_id = await self._put_on_record(task, spec.bucket, since_ms)
        finally:
            self._creating.remove(task)
        if task_id != task.task_id:
            _log.info("task is created already", **task.log_fields | {"task_id": task_id})
            return task_id
        self._worker.run(task, app)
        _log.info("task created", **task.log_fields)
        return task_id

    async def _check_room(self, app: AppSettings, spec: TaskSpec) -> None:
        try:
            await self._rooms[app.rooms].check(spec.room, spec.robot_user_id)
        except RoomEntryError as error:
            raise RoomRefusedError(f"the room cannot be entered: {error}") from error

    async def _put_on_record(self, task: StoredTask, bucket: Bucket, since_ms: int) -> str:
        """The TaskId under which a task is on record; see `TaskStore.create`."""
        task_id = None
        try:
            # First: a task whose slices nobody could take must not begin.
            await self._deliveries.open(task.ref, bucket)
            task_id = await self._store.create(task, since_ms=since_ms)
        finally:
            if task_id != task.task_id:
                self._deliveries.close(task.task_id)
        return task_id

    def describe(self, sdk_app_id: int, task_id: str) -> TaskStatus:
        """A task's status (TaskService.describe)."""
        return self._find(sdk_app_id, task_id).status

    async def modify(
        self,
        sdk_app_id: int,
        task_id: str,
        lists: SubscriptionLists | None,
        changes: ParamChanges | None = None,
    ) -> None:
        """Replace a task's lists, and parameters (TaskService.modify)."""
        task = self._find(sdk_app_id, task_id)
        slicing = replace(task.robot.params, **changes) if changes else None
        if task.stored.leave_code is not None or (lists is None and slicing is None):
            return
        # The cut is here, at the call, however long the disk takes: what has arrived by now counts
        # by the former ones. An app that blocks somebody must not find him recorded later.
        task.change(lists, slicing)
        with ExitStack() as undo:
            undo.callback(_change_back, task, lists, slicing)
            await self._store.modify(task_id, lists=lists, slicing=slicing)
            undo.pop_all()
        task.stored.lists = lists or task.stored.lists
        task.stored.slicing = slicing or task.stored.slicing
        _log.info("task modified", **task.stored.log_fields)

    async def delete(self, sdk_app_id: int, task_id: str) -> None:
        """Begin a task's stop (TaskService.delete)."""
        task = self._find(sdk_app_id, task_id)
        if task.stored.leave_code is None:
            task.stop(LeaveCode.STOPPED)
            await self._store.set_stopping(task_id, LeaveCode.STOPPED)

    def _admit(self, spec: TaskSpec, task: StoredTask, since_ms: int) -> AppSettings:
        app_id = spec.room.sdk_app_id
        app = self._settings.app(app_id)
        tasks = [*(each.stored for each in self._worker.tasks), *self._creating]
        unfinished = [each for each in tasks if each.room.sdk_app_id == app_id]
        if app is None:
            raise TooManyTasksError(f"there is no app {app_id}")
        if any(_is_repeated(each, task, since_ms) for each in unfinished):
            return app  # it only asks for the TaskId
        if len(unfinished) >= app.limits.tasks:
            raise TooManyTasksError(
                f"the app's limit of unfinished tasks is reached: {len(unfinished)}"
            )
        if self._is_full():
            raise SpoolFullError("the spool of slices that wait for their upload is full")
        if self._rooms[app.rooms].holds_user(spec.room, spec.robot_user_id):
            raise RobotIdTakenError(
                f"`UserId` {spec.robot_user_id} is in the room already, and is not a robot"
            )
        return app

    def _find(self, sdk_app_id: int, task_id: str) -> RunningTask:
        task = self._worker.find(task_id)
        if (
            task is None
            or task.stored.room.sdk_app_id != sdk_app_id
            or task.stored.callable_until_ms <= self._steady_ms()
        ):
            raise TaskNotFoundError("no such task, or it has ended")
        return task


def _change_back(
    task: RunningTask, lists: SubscriptionLists | None, slicing: SliceParams | None
) -> None:
    """Have a task go by what is on record, unless a later call has set something else."""
    task.change(
        task.stored.lists if task.robot.lists is lists else None,
        task.stored.slicing if task.robot.params is slicing else None,
    )


def _is_repeated(former: StoredTask, task: StoredTask, since_ms: int) -> bool:
    return (
        former.request == task.request
        and former.created_ms > since_ms
        and former.leave_code is None
    )
