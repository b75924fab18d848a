"""What the other nodes of a cluster are told when a spool is adopted."""

import contextlib
from collections.abc import Callable, Collection, Iterator

from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_view import ClusterView
from cloudslice.cluster.ended_task import Told
from cloudslice.cluster.fence import Fence
from cloudslice.cluster.registry import Registry, RegistryError
from cloudslice.cluster.task_endings import TaskEndings
from cloudslice.cluster.task_records import read_holders
from cloudslice.slices import TaskRef
from cloudslice.spool.foreign_spool import AdoptionError
from cloudslice.uploads.task_queues import TaskQueues


class ClusterCustody:
    """A `Custody`.

    Args:
        registry: has the last seconds by which nodes may name slices.
        view: tells which nodes are there, and of whose tasks.
        endings: changes who has slices.
        fence: is told which slices may be stored.
        queues: of this node's uploads.
        runs: whether a task runs here.
    """

    def __init__(
        self,
        registry: Registry,
        view: ClusterView,
        endings: TaskEndings,
        fence: Fence,
        queues: TaskQueues,
        runs: Callable[[str], bool],
    ) -> None:
        self._registry = registry
        self._view = view
        self._endings = endings
        self._fence = fence
        self._queues = queues
        self._runs = runs

    async def begin(self, node: str) -> int | None:
        """See `Custody`."""
        if not node:
            raise AdoptionError(
                "there is no file `node` beside the spool, so that nobody knows whose it was: "
                "bring it along from that node's data_dir"
            )
        if node == self._endings.node:
            raise AdoptionError(f"it is the spool of this node itself: {node}")
        if node in self._view.nodes:
            raise AdoptionError(f"its node is running: {node}; stop it first")
        with _translated():
            entry = await self._registry.get(keys.CLOCK + node)
        with contextlib.suppress(ValueError):
            return None if entry is None else int(entry.value)
        return None

    def admit(self, object_key: str) -> None:
        """See `Custody`."""
        self._fence.admit(object_key)

    async def hand_over(self, task: TaskRef, node: str, *, has_slices: bool) -> None:
        """See `Custody`."""
        task_id, me = task.task_id, self._endings.node
        with _translated():
            await self._endings.replace(task_id, node, me, has_slices=has_slices, has_lost=False)
            ended = await self._endings.find(task_id)
        if ended is not None and ended.teller == me and ended.told is not Told.ALL:
            await self._queues.take_over(task, is_told=ended.told is Told.INCOMPLETE)
        elif not self._runs(task_id):
            self._queues.leave(task_id)

    async def finish(self, node: str, damaged: Collection[str]) -> None:
        """See `Custody`."""
        view = self._view
        held = {
            task_id for task_id, info in view.tasks.items() if node in read_holders(info.values)
        }
        for task_id, ended in view.ended.items():
            if node in ended.holders or node == ended.teller:
                held.add(task_id)
        for task_id in held:
            has_lost, me = task_id in damaged, self._endings.node
            with _translated():
                # Whose end is to be told by this node from now on: `OrphanedEndings` sees to it.
                await self._endings.replace(task_id, node, me, has_slices=False, has_lost=has_lost)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RegistryError as error:
        raise AdoptionError(f"{error}; adopt it again when NATS answers") from error
