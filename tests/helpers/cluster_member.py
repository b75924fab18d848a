"""A node's part in a cluster, without media: its lease, its rooms, what it sees, what it may do."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from cloudslice.clock import SystemClock
from cloudslice.cluster.cluster_view import ClusterView, NodeInfo
from cloudslice.cluster.fence import Fence
from cloudslice.cluster.kv_task_store import KvTaskStore
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.registry import Registry
from cloudslice.cluster.registry_opening import open_registry
from cloudslice.cluster.room_ownership import RoomOwnership
from cloudslice.ids import RoomKey
from cloudslice.secrets import SecretBox
from cloudslice.tasks.store import StoreError

LEASE_S = 3


@dataclass
class ClusterMember:
    """A node, as `cluster_member` opens it.

    Attributes:
        is_open: what it says of itself: whether it takes new tasks.
        has_anchors: whether there are anchors in its rooms.
        changes: the rooms that it has got or lost, as often as that.
        events: what its store has recorded.
    """

    registry: Registry
    view: ClusterView
    lease: NodeLease
    ownership: RoomOwnership
    fence: Fence
    store: KvTaskStore
    is_open: bool = True
    has_anchors: bool = False
    changes: list[RoomKey] = field(default_factory=list)
    events: list[object] = field(default_factory=list)

    def has(self, room: RoomKey) -> bool:
        """Whether it has a room, as far as it knows."""
        return self.ownership.find_token(room) is not None

    def is_certain(self, room: RoomKey) -> bool:
        """Whether it has a room for certain."""
        try:
            self.ownership.require_token(room)
        except StoreError:
            return False
        return True


@asynccontextmanager
async def cluster_member(
    url: str, name: str, *, lease_s: int = LEASE_S, replicas: int = 1
) -> AsyncIterator[ClusterMember]:
    """A node that takes rooms until this is left."""

    async def record(event: object) -> None:
        side.events.append(event)

    def describe(session: str) -> NodeInfo:
        return NodeInfo(name, session, rooms=ownership.count, is_open=side.is_open)

    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(open_registry(url, name=name, replicas=replicas))
        view = await stack.enter_async_context(ClusterView(registry))
        clock, box = SystemClock(), SecretBox(bytes(32))
        lease = NodeLease(registry, name, lease_s, clock, describe)
        ownership = RoomOwnership(registry, view, lease, clock, lambda _room: side.has_anchors)
        store = KvTaskStore(registry, box, record, ownership.require_token, view.room_of)
        side = ClusterMember(registry, view, lease, ownership, Fence(lease, 0), store)
        ownership.on_changed(side.changes.append)
        await stack.enter_async_context(lease)
        await stack.enter_async_context(ownership)
        yield side
