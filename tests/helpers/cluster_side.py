"""A node's delivery in a cluster, without media: real NATS, spool, database and uploads."""

import dataclasses
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from cloudslice.clock import SystemClock
from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_view import ClusterView, NodeInfo
from cloudslice.cluster.kv_task_store import KvTaskStore
from cloudslice.cluster.orphaned_endings import OrphanedEndings
from cloudslice.cluster.registry import Registry, open_registry
from cloudslice.cluster.task_endings import TaskEndings
from cloudslice.cluster.task_records import Owner
from cloudslice.events import RobotLeft, SliceStored, UploadFailed, UploadsEnded
from cloudslice.rooms.base import LeaveCode
from cloudslice.slices import SliceKind, SliceOrigin
from cloudslice.tasks.store import StoredTask
from helpers.delivery import BOX, Delivery, Site
from helpers.tcp_proxy import TcpProxy, tcp_proxy

PATIENCE_S = 2.0


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
        self._token = 0
        self._stack = AsyncExitStack()
        self.bucket_wire: TcpProxy
        self.registry: Registry
        self.view: ClusterView
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
        self.endings = TaskEndings(self.registry, self.view, self.name)
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
        self.delivery = await enter(site.open(patience_s=PATIENCE_S, others=self.endings))
        bus = self.delivery.bus
        bus.listen(UploadsEnded, lambda event: self.told.append(int(event.outcome)))
        bus.listen(SliceStored, lambda event: self.stored.append(event.slice.object_key))
        bus.listen(UploadFailed, lambda event: self.failed.append(event.reason))
        self.delivery.uploader.queues.leave_others(self.view.tasks.keys())
        await enter(
            OrphanedEndings(
                self.endings,
                self.view,
                self.delivery.uploader.queues,
                SystemClock(),
                patience_s=PATIENCE_S,
            )
        )
        await self.registry.put(keys.NODE + self.name, NodeInfo(self.name, "session").to_value())
        return self

    async def stop(self) -> None:
        """Be gone; its lease ends."""
        entry = await self.registry.get(keys.NODE + self.name)
        if entry is not None:
            await self.registry.delete(entry.key, entry.revision)
        await self.close()

    async def close(self) -> None:
        """Leave nothing running."""
        await self._stack.aclose()

    async def take(self, task: StoredTask, token: int) -> None:
        """Become a task's owner."""
        self._token = token
        await self.store.take(task.task_id, Owner(self.name, token))
        self.delivery.uploader.queues.leave(task.task_id, is_elsewhere=False)
        await self.delivery.open(task.ref, task.bucket)

    def lose(self, task: StoredTask) -> None:
        """Another node is the task's owner."""
        self.delivery.uploader.queues.leave(task.task_id)

    async def hear(self, task: StoredTask, seconds: Sequence[int]) -> None:
        """Have slices that begin at these Unix seconds."""
        origin = SliceOrigin(task.task_id, "anchor_1", SliceKind.AUDIO, "ogg")
        for each in seconds:
            self.delivery.put(origin, each * 1000, b"heard at %d" % each, {})
        await self.delivery.flush()

    async def finish(self, task: StoredTask) -> None:
        """End the task."""
        await self.store.finish(task.ref, LeaveCode.STOPPED)

    async def _record(self, event: object) -> None:
        assert isinstance(event, RobotLeft)
        await self.delivery.database.run(lambda c: self.delivery.bus.record(c, event))


def with_bucket(task: StoredTask, access_key: str, secret_key: str, name: str) -> StoredTask:
    """The task with a real bucket."""
    bucket = dataclasses.replace(
        task.bucket, name=name, access_key=access_key, secret_key=secret_key
    )
    return dataclasses.replace(task, bucket=bucket)
