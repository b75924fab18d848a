"""A node's delivery in a cluster, without media: real NATS, spool, database and uploads."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from cloudslice.adoption import Adopted, Adoption
from cloudslice.clock import SystemClock
from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_custody import ClusterCustody
from cloudslice.cluster.cluster_view import ClusterView, NodeInfo
from cloudslice.cluster.fence import Fence
from cloudslice.cluster.kv_task_store import KvTaskStore
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.orphaned_endings import OrphanedEndings
from cloudslice.cluster.registry import Registry
from cloudslice.cluster.registry_opening import open_registry
from cloudslice.cluster.task_endings import TaskEndings
from cloudslice.cluster.task_records import Owner, read_owner
from cloudslice.events import RobotLeft, SliceStored, UploadFailed, UploadsEnded
from cloudslice.rooms.base import LeaveCode
from cloudslice.slices import SliceKind, SliceOrigin
from cloudslice.tasks.store import StoredTask
from helpers.delivery import BOX, REPAIRS, Delivery, Site
from helpers.task_stores import SINCE_MS
from helpers.tcp_proxy import TcpProxy, tcp_proxy
from helpers.waiting import eventually

PATIENCE_S = 2.0
LEASE_S = 3


class ClusterSide:
    """It runs from `start` until `stop`, again and again on the same data.

    Attributes:
        bucket_wire: its way to the bucket.
        told: the Status of each event 1005 that it has recorded.
        stored: the object keys of its events 1004.
        failed: the reasons of its events 1006.
    """

    def __init__(self, name: str, directory: Path, nats_url: str, s3_port: int) -> None:
        self.name = name
        self.data_dir = directory / name
        self.told: list[int] = []
        self.stored: list[str] = []
        self.failed: list[str] = []
        self._nats_url = nats_url
        self._s3_port = s3_port
        self.owned: set[str] = set()
        self._token = 0
        self._stack = AsyncExitStack()
        self.bucket_wire: TcpProxy
        self.registry: Registry
        self.view: ClusterView
        self.lease: NodeLease
        self.fence: Fence
        self.endings: TaskEndings
        self.store: KvTaskStore
        self.delivery: Delivery

    async def start(self) -> Self:
        """Be there, and take up what is there."""
        stack = self._stack = AsyncExitStack()
        enter = stack.enter_async_context
        self.bucket_wire = await enter(tcp_proxy(self._s3_port))
        self.registry = await enter(open_registry(self._nats_url, name=self.name))
        self.view = await enter(ClusterView(self.registry))
        self.endings = TaskEndings(self.registry, self.view, self.name, _all_is_told)
        clock = SystemClock()
        self.lease = NodeLease(
            self.registry, self.name, LEASE_S, clock, lambda session: NodeInfo(self.name, session)
        )
        self.fence = Fence(self.lease, clock.utc_ms() // 1000)
        self.owned.clear()
        self.store = KvTaskStore(
            self.registry,
            BOX,
            self._record,
            lambda _room: self._token,
            self.view.room_of,
            self.endings,
        )
        site = Site(
            self.data_dir,
            f"http://127.0.0.1:{self.bucket_wire.port}",
            callback_url="http://127.0.0.1:9/",
        )
        self.data_dir.mkdir(exist_ok=True)
        (self.data_dir / "node").write_text(f"{self.name}\n")
        self.delivery = await enter(
            site.open(patience_s=PATIENCE_S, others=self.endings, fence=self.fence.around)
        )
        bus = self.delivery.bus
        bus.listen(UploadsEnded, lambda event: self.told.append(int(event.outcome)))
        bus.listen(SliceStored, lambda event: self.stored.append(event.slice.object_key))
        bus.listen(UploadFailed, lambda event: self.failed.append(event.reason))
        await enter(self.lease)
        self.delivery.uploader.queues.leave_others(self.view.tasks.keys())
        await enter(
            OrphanedEndings(
                self.endings,
                self.view,
                self.delivery.uploader.queues,
                clock,
                patience_s=PATIENCE_S,
            )
        )
        return self

    async def stop(self) -> None:
        """Be gone, as after a kill whose lease has ended; harmless when it is."""
        await self._stack.aclose()

    async def adopt(self, directory: Path) -> Adopted:
        """Take over another node's spool."""
        custody = ClusterCustody(
            self.registry,
            self.view,
            self.endings,
            self.fence,
            self.delivery.uploader.queues,
            self.owned.__contains__,
        )
        adoption = Adoption(self.delivery.parts, self.data_dir / "spool", BOX, REPAIRS, custody)
        return await adoption.adopt(directory)

    async def take(self, task: StoredTask, token: int) -> None:
        """Become a task's owner."""
        self._token = token
        found = await self.store.find(task.task_id)
        assert found is not None
        after_s = read_owner(found[0]).names_after_s
        former = await self.registry.get(keys.CLOCK + read_owner(found[0]).node)
        if former is not None and former.key != keys.CLOCK + self.name:
            after_s = max(after_s, int(former.value))
        await self.store.take(task.task_id, Owner(self.name, token, after_s))
        self.owned.add(task.task_id)
        self.fence.note_taken(task.task_id, after_s)
        self.delivery.uploader.queues.leave(task.task_id, is_elsewhere=False)
        await self.delivery.spool.open(task.ref, task.bucket, names_after_s=after_s)

    def lose(self, task: StoredTask) -> None:
        """Another node is the task's owner."""
        self.owned.discard(task.task_id)
        self.fence.note_lost(task.task_id)
        self.delivery.uploader.queues.leave(task.task_id)

    def grow(self, task: StoredTask) -> None:
        """Have a slice that does not end."""
        origin = SliceOrigin(task.task_id, "anchor_2", SliceKind.AUDIO, "ogg")
        self.delivery.grow(origin, SystemClock().utc_ms()).append(b"heard until now")

    async def hear(self, task: StoredTask, count: int) -> None:
        """Have slices of the last seconds."""
        origin = SliceOrigin(task.task_id, "anchor_1", SliceKind.AUDIO, "ogg")
        now_ms = SystemClock().utc_ms()
        for at_ms in range(now_ms - 1000 * count, now_ms, 1000):
            self.delivery.put(origin, at_ms, b"heard by %b" % self.name.encode(), {})
        await self.delivery.flush()

    async def finish(self, task: StoredTask) -> None:
        """End the task."""
        self.owned.discard(task.task_id)
        await self.store.finish(task.ref, LeaveCode.STOPPED)

    async def _record(self, event: object) -> None:
        assert isinstance(event, RobotLeft)
        await self.delivery.database.run(lambda c: self.delivery.bus.record(c, event))


async def fail_over(one: ClusterSide, two: ClusterSide, task: StoredTask) -> None:
    """`one` has slices of a task that it cannot store, and `two` goes on with it."""
    await one.store.create(task, since_ms=SINCE_MS)
    await one.take(task, 5)
    one.bucket_wire.cut()
    await one.hear(task, 2)
    await two.take(task, 9)
    await two.hear(task, 1)
    await eventually(lambda: len(two.stored) == 1)


OpenSide = Callable[[str], Awaitable[ClusterSide]]


async def _all_is_told() -> None:
    """Nobody is told anything here."""
