"""Which node has a room, when nodes come, go, and lose their connection: on a real NATS server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloudslice.cluster import registry_keys as keys
from cloudslice.ids import RoomIdType, RoomKey
from helpers.cluster_member import LEASE_S, ClusterMember, cluster_member
from helpers.nats_server import NatsServer
from helpers.tcp_proxy import TcpProxy, tcp_proxy
from helpers.waiting import eventually

ROOM = RoomKey(1400000001, "150", RoomIdType.NUMBER)
TASK_KEY = keys.task_key(ROOM, "task-1")


@dataclass
class Side:
    """A node behind a wire that can be cut."""

    node: ClusterMember
    wire: TcpProxy
    stack: AsyncExitStack

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)

    @property
    def has_room(self) -> bool:
        return self.node.has(ROOM)

    @property
    def is_certain(self) -> bool:
        return self.node.is_certain(ROOM)


pytestmark = [
    # Its client leaves the sockets of connections that fail to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
OpenSide = Callable[[str], Awaitable[Side]]


@pytest.fixture
def server(tmp_path: Path) -> NatsServer:
    return NatsServer(tmp_path / "nats")


@pytest.fixture
async def open_side(server: NatsServer) -> AsyncIterator[OpenSide]:
    with server:
        async with AsyncExitStack() as sides:

            async def open_one(name: str) -> Side:
                stack = await sides.enter_async_context(AsyncExitStack())
                wire = await stack.enter_async_context(tcp_proxy(server.port))
                url = f"nats://127.0.0.1:{wire.port}"
                node = await stack.enter_async_context(cluster_member(url, name))
                return Side(node, wire, stack)

            yield open_one


async def test_a_room_with_a_task_has_one_owner_until_the_task_has_ended(
    open_side: OpenSide,
) -> None:
    one, two = await open_side("one"), await open_side("two")
    revision = await one.registry.create(TASK_KEY, b"{}")
    await eventually(lambda: one.has_room or two.has_room)
    owner, other = (one, two) if one.has_room else (two, one)
    await eventually(lambda: other.view.owner_of(ROOM) is not None)
    assert owner.is_certain
    assert not other.has_room
    await one.registry.delete(TASK_KEY, revision)
    await eventually(lambda: not owner.has_room and ROOM not in other.view.rooms)
    await other.registry.create(TASK_KEY, b"{}")
    await eventually(lambda: one.has_room or two.has_room)
    assert one.changes.count(ROOM) + two.changes.count(ROOM) == 3


async def test_a_node_that_is_full_takes_no_room_that_another_one_can_take(
    open_side: OpenSide,
) -> None:
    full = await open_side("full")
    full.node.is_open = False
    await eventually(lambda: "full" in full.view.nodes and not full.view.nodes["full"].is_open)
    other = await open_side("other")
    await eventually(lambda: "other" in full.view.nodes)
    await full.registry.create(TASK_KEY, b"{}")
    await eventually(lambda: other.has_room)
    assert not full.has_room


async def test_who_is_cut_off_knows_it_before_another_one_has_the_room(
    open_side: OpenSide,
) -> None:
    """And gives the room up when it is back."""
    one = await open_side("one")
    await one.registry.create(TASK_KEY, b"{}")
    await eventually(lambda: one.is_certain)
    one.fence.note_taken("task-1", 0)
    two = await open_side("two")
    ceiling_s = one.lease.ceiling_s
    one.wire.freeze()
    await eventually(lambda: two.has_room)
    assert not one.is_certain
    assert one.has_room, "as far as it knows"
    clock = await two.registry.get(keys.CLOCK + "one")
    assert clock is not None
    assert int(clock.value) == one.lease.ceiling_s
    assert one.lease.ceiling_s - ceiling_s <= LEASE_S

    one.wire.restore()
    await eventually(lambda: not one.has_room)
    await eventually(lambda: one.lease.is_valid)
    assert (one.lease.losses, two.ownership.taken) == (1, 1)
    assert two.is_certain
    limit_s = int(clock.value)
    one.fence.note_lost("task-1")
    assert one.lease.ceiling_s > limit_s
    assert one.fence.may_store("task-1", limit_s)
    assert not one.fence.may_store("task-1", limit_s + 1)


async def test_a_restart_of_nats_moves_no_room(open_side: OpenSide, server: NatsServer) -> None:
    """Though all leases have run out: each node takes its own rooms anew."""
    one, two = await open_side("one"), await open_side("two")
    await one.registry.create(TASK_KEY, b"{}")
    await eventually(lambda: one.has_room or two.has_room)
    owner = one if one.has_room else two
    token = owner.ownership.require_token(ROOM)
    await asyncio.to_thread(server.kill)
    await eventually(lambda: not owner.lease.is_valid and not owner.registry.is_connected)
    await asyncio.sleep(0.5)  # until the server's lease, too, has run out
    await asyncio.to_thread(server.start)
    await eventually(lambda: owner.is_certain, 30)
    assert owner.ownership.require_token(ROOM) >= token
    assert (one.ownership.taken, two.ownership.taken) == (0, 0)


async def test_a_node_that_leaves_gives_its_rooms_back_at_once(open_side: OpenSide) -> None:
    one = await open_side("one")
    await one.registry.create(TASK_KEY, b"{}")
    await eventually(lambda: one.is_certain)
    two = await open_side("two")
    await one.stack.aclose()
    await eventually(lambda: two.has_room, LEASE_S - 1)


async def test_a_node_that_is_back_at_once_goes_on(open_side: OpenSide) -> None:
    """Killed and started again, before its lease has run out: by the same name."""
    one = await open_side("one")
    await one.registry.create(TASK_KEY, b"{}")
    await eventually(lambda: one.is_certain)
    one.wire.freeze()
    again = await open_side("one")
    await eventually(lambda: again.is_certain, LEASE_S - 1)
    assert again.ownership.require_token(ROOM) > (one.ownership.find_token(ROOM) or 0)
    assert again.lease.former_ceiling_s == one.lease.ceiling_s


async def test_a_room_is_kept_while_anchors_are_in_it(open_side: OpenSide) -> None:
    """It is taken for the first of them, and by one node only."""
    one, two = await open_side("one"), await open_side("two")
    with one.ownership.holding(ROOM), two.ownership.holding(ROOM):
        assert sorted([await one.ownership.claim(ROOM), await two.ownership.claim(ROOM)]) == [
            False,
            True,
        ]
        owner, other = (one, two) if one.has_room else (two, one)
        assert await owner.ownership.claim(ROOM), "again"
        await eventually(lambda: other.view.owner_of(ROOM) is not None)
        owner.node.has_anchors = True
    revision = await one.registry.create(TASK_KEY, b"{}")
    await eventually(lambda: bool(owner.view.tasks_in(ROOM)))
    await one.registry.delete(TASK_KEY, revision)
    await eventually(lambda: not owner.view.tasks_in(ROOM))
    owner.ownership.note_left(ROOM)
    owner.node.has_anchors = False
    owner.ownership.note_left(ROOM)
    await eventually(lambda: not owner.has_room and ROOM not in other.view.rooms)
    assert owner.changes.count(ROOM) == 2, "taken once, given back once"


async def test_a_room_of_anchors_only_is_nobodys_when_its_owner_has_gone(
    open_side: OpenSide,
) -> None:
    one, two = await open_side("one"), await open_side("two")
    one.node.has_anchors = True
    with one.ownership.holding(ROOM):
        assert await one.ownership.claim(ROOM)
    await eventually(lambda: two.view.owner_of(ROOM) is not None)
    one.wire.freeze()
    await eventually(lambda: ROOM not in two.view.rooms)
    assert not two.has_room
    one.wire.restore()
    await eventually(lambda: not one.has_room)


async def test_a_node_that_is_stopped_hands_its_rooms_over_and_takes_none(
    open_side: OpenSide,
) -> None:
    """The other one has them by the record, without waiting for a lease to end."""
    one, two = await open_side("one"), await open_side("two")
    await one.registry.create(TASK_KEY, b"{}")
    await eventually(lambda: one.has_room or two.has_room)
    owner, other = (one, two) if one.has_room else (two, one)
    await eventually(lambda: other.lease.node in owner.view.nodes)
    former = owner.ownership.require_token(ROOM)
    owner.ownership.stop_taking()
    await owner.ownership.hand_over(ROOM, owner.view.nodes[other.lease.node])
    assert not owner.has_room
    await eventually(lambda: other.is_certain)
    assert other.ownership.require_token(ROOM) > former
    await other.stack.aclose()
    await eventually(lambda: owner.view.owner_of(ROOM) is None)
    with owner.ownership.holding(ROOM):
        assert not await owner.ownership.claim(ROOM)
    assert not owner.has_room
