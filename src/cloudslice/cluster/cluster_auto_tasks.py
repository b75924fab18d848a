"""Tasks that begin by themselves, in a cluster: what rules hear of the tasks of all nodes.

1. Whoever hears of a room first makes its task. Two that do it in one moment make one task: what a
   rule asks for in a room is the same request, whichever node makes it.
2. A rule's node hears of the others' tasks by their records. A room in which another node has begun
   one is there until this node hears that it is not.
3. A task that is stopped as its room has ended says so in its record, so that it is not taken for
   one that somebody has ended.
"""

from collections.abc import Callable, Iterable

from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_tasks import ClusterTasks
from cloudslice.cluster.cluster_view import ClusterView, TaskInfo
from cloudslice.cluster.kv_task_store import KvTaskStore
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.slices import TaskRef
from cloudslice.tasks.auto_tasks import AutoTasks
from cloudslice.tasks.model import NoRegistryError, TaskSpec
from cloudslice.tasks.rule_service import KnownTask
from cloudslice.tasks.store import StoreError


class RuleCalls:
    """The `RuleService` of a cluster."""

    def __init__(self, tasks: ClusterTasks, store: KvTaskStore) -> None:
        self._tasks = tasks
        self._store = store

    async def create(self, spec: TaskSpec) -> str:
        """See `RuleService`."""
        return await self._tasks.create(spec)

    async def delete(self, _sdk_app_id: int, task_id: str) -> None:
        """See `RuleService`."""
        try:
            await self._store.set_stopping(task_id, LeaveCode.STOPPED, with_room=True)
        except StoreError as error:
            raise NoRegistryError(str(error)) from error


class RuleEars:
    """Has rules hear of tasks that begin and end, of whichever node they are.

    Args:
        view: shows them.
        is_ours: whether the rules of this node are for a room; a room of which that changes is to
            be told by `note_room`.
    """

    def __init__(
        self, view: ClusterView, is_ours: Callable[[RoomKey], bool] = lambda _room: True
    ) -> None:
        self._view = view
        self._is_ours = is_ours
        self._known: dict[str, KnownTask] = {}
        self._rules: AutoTasks | None = None

    def find_tasks(self) -> Iterable[KnownTask]:
        """The unfinished tasks of rooms that this node's rules are for."""
        return [_read(each) for each in self._view.tasks.values() if self._is_ours(each.room)]

    def tell(self, rules: AutoTasks) -> None:
        """Tell these rules from now on."""
        self._rules = rules
        self._known = {each.task_id: each for each in map(_read, self._view.tasks.values())}
        self._view.listen(self._note)

    def note_room(self, room: RoomKey) -> None:
        """A room has become one of this node's rules, or is so no more."""
        if self._rules is None:
            return
        if not self._is_ours(room):
            self._rules.forget(room)
            return
        for info in self._view.tasks_in(room).values():
            self._note_task(_read(info))

    def _note(self, key: str) -> None:
        if not key.startswith(keys.TASK) or self._rules is None:
            return
        _, task_id = keys.read_task_key(key)
        info, former = self._view.tasks.get(task_id), self._known.pop(task_id, None)
        if info is not None:
            self._known[task_id] = task = _read(info)
            if task.leave_code is not None and info.values.get("with_room"):
                self._rules.on_stopped_with_room(task)
            elif former is None and self._is_ours(info.room):
                self._note_task(task)
        elif former is not None:
            # A code that was not seen is that of a record that went while nobody was told.
            code = LeaveCode.CONNECTION_LOST if former.leave_code is None else former.leave_code
            room = former.room
            ref = TaskRef(task_id, room.sdk_app_id, room.wire_id, former.robot_user_id)
            self._rules.on_task_left(ref, code)

    def _note_task(self, task: KnownTask) -> None:
        if self._rules is not None and task.leave_code is None:
            self._rules.on_task_begun(task)


def _read(info: TaskInfo) -> KnownTask:
    code = info.values.get("leave_code")
    return KnownTask(
        info.task_id,
        info.room,
        str(info.values.get("robot_user_id", "")),
        None if code is None else LeaveCode(code),
    )
