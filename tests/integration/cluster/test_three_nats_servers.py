"""Three NATS servers, of which some are killed: nothing that was acknowledged is lost, and no room
moves."""

import asyncio
import contextlib
import dataclasses
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nats.aio.client import Client

from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.ending import end
from cloudslice.cluster.registry import RegistryError
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.tasks.store import StoredTask, StoreError
from helpers.cluster_member import ClusterMember, cluster_member
from helpers.nats_cluster import SIZE, NatsCluster, nats_cluster
from helpers.task_stores import SINCE_MS, TASK
from helpers.waiting import eventually

STREAM = "KV_cloudslice"
_RETRY_S = 0.1

pytestmark = [
    # Its client leaves the sockets of connections that fail to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@dataclass
class Stage:
    """Servers, and three nodes."""

    nats: NatsCluster
    nodes: list[ClusterMember]

    def owner(self, room: RoomKey) -> str:
        """The node that has a room, as all of them see it; nobody while they do not agree."""
        owners = {each.view.owner_of(room) for each in self.nodes}
        owner = owners.pop()
        return "" if owner is None or {o and o.node for o in owners} - {owner.node} else owner.node


@asynccontextmanager
async def open_stage(directory: Path) -> AsyncIterator[Stage]:
    async with nats_cluster(directory) as nats, AsyncExitStack() as stack:
        yield Stage(
            nats,
            [
                await stack.enter_async_context(
                    cluster_member(nats.url, f"node{number}", lease_s=5, replicas=SIZE)
                )
                for number in range(3)
            ],
        )


def make_task(number: int) -> StoredTask:
    """One with a room of its own."""
    return dataclasses.replace(
        TASK,
        task_id=f"task-{number}",
        room=RoomKey(TASK.room.sdk_app_id, f"room {number}", RoomIdType.STRING),
        request=number.to_bytes(8),
    )


@dataclass
class Load:
    """Puts tasks on record one after the other, and ends some; tries again what fails.

    Attributes:
        there: the tasks that were acknowledged and that nobody has ended.
        ended: those whose end was acknowledged.
        refusals: how often the registry gave no answer.
    """

    node: ClusterMember
    numbers: "itertools.count[int]"
    there: dict[str, StoredTask] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    refusals: int = 0

    async def run(self) -> None:
        while True:
            task = make_task(next(self.numbers))
            while not await self.create(task):
                self.refusals += 1
                await asyncio.sleep(_RETRY_S)
            self.there[task.task_id] = task
            if len(self.there) > 2 * len(self.ended) + 5:
                ending = self.there.pop(next(iter(self.there)))
                while not await self._end(ending):
                    self.refusals += 1
                    await asyncio.sleep(_RETRY_S)
                self.ended.add(ending.task_id)
            await asyncio.sleep(0.02)

    async def create(self, task: StoredTask) -> bool:
        with contextlib.suppress(StoreError):
            return await self.node.store.create(task, since_ms=SINCE_MS) == task.task_id
        return False

    async def _end(self, task: StoredTask) -> bool:
        try:
            key = keys.task_key(task.room, task.task_id)
            entry = await self.node.registry.get(key)
            if entry is not None:
                await self.node.registry.delete(key, entry.revision)
        except RegistryError:
            return False
        return True


@asynccontextmanager
async def loading(stage: Stage) -> AsyncIterator[list[Load]]:
    """Have all nodes under load."""
    numbers = itertools.count()
    loads = [Load(each, numbers) for each in stage.nodes]
    runs = [asyncio.create_task(each.run()) for each in loads]
    try:
        yield loads
    finally:
        await end(*runs)
    assert all(run.cancelled() for run in runs), runs


@pytest.mark.parametrize(
    "restarts", [3, pytest.param(150, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)
async def test_servers_are_restarted_one_by_one_under_load(tmp_path: Path, restarts: int) -> None:
    chance = random.Random(restarts)
    async with open_stage(tmp_path) as stage:
        async with loading(stage) as loads:
            await eventually(lambda: all(len(each.there) > 3 for each in loads))
            kept = {task_id: each for load in loads for task_id, each in load.there.items()}
            first = {task_id: stage.owner(each.room) for task_id, each in kept.items()}
            for number in range(restarts):
                # The leader has to be killed, too, and not only when its turn comes.
                leader = await stage.nats.leader(STREAM)
                await stage.nats.restart(leader if chance.random() < 0.5 else number % SIZE)
                wanted = [len(each.there) + 3 for each in loads]
                await eventually(
                    lambda: all(
                        len(load.there) >= count
                        for load, count in zip(loads, wanted, strict=True)  # noqa: B023
                    ),
                    60,
                )
        there = {task_id: each for load in loads for task_id, each in load.there.items()}
        ended = {each for load in loads for each in load.ended}
        print(f"{len(there)} tasks, {len(ended)} ended, refused {[x.refusals for x in loads]}")

        def agree() -> bool:
            return all(
                there.keys() <= each.view.tasks.keys() and not ended & each.view.tasks.keys()
                for each in stage.nodes
            )

        await eventually(agree, 60)
        await eventually(lambda: all(stage.owner(each.room) for each in there.values()), 60)
        for task_id, owner in first.items():
            if task_id in there and owner:
                assert stage.owner(there[task_id].room) == owner, "a room has moved"
        assert [each.ownership.taken for each in stage.nodes] == [0, 0, 0]
        assert sum(each.view.faults.errors for each in stage.nodes) == 0


async def test_without_a_majority_nothing_is_promised_and_with_one_all_goes_on(
    tmp_path: Path,
) -> None:
    async with open_stage(tmp_path) as stage:
        tasks = [make_task(number) for number in range(20)]
        for task in tasks[:10]:
            await stage.nodes[0].store.create(task, since_ms=SINCE_MS)
        await eventually(lambda: all(stage.owner(each.room) for each in tasks[:10]))
        owners = [stage.owner(each.room) for each in tasks[:10]]

        leader = await stage.nats.leader(STREAM)
        await asyncio.to_thread(stage.nats.servers[leader].kill)
        await until_taken(stage, tasks[10])

        second = await stage.nats.leader(STREAM)
        await asyncio.to_thread(stage.nats.servers[second].kill)
        await eventually(lambda: not any(each.lease.is_valid for each in stage.nodes))
        for each in stage.nodes:
            with pytest.raises(StoreError):
                await each.store.create(tasks[11], since_ms=SINCE_MS)
        assert [sum(n.has(each.room) for n in stage.nodes) for each in tasks[:10]] == [1] * 10

        await stage.nats.start()
        await eventually(lambda: all(each.lease.is_valid for each in stage.nodes), 60)
        await until_taken(stage, tasks[11])
        await eventually(lambda: all(stage.owner(each.room) for each in tasks[:12]), 60)
        assert [stage.owner(each.room) for each in tasks[:10]] == owners
        assert [each.ownership.taken for each in stage.nodes] == [0, 0, 0]


async def until_taken(stage: Stage, task: StoredTask) -> None:
    """Put a task on record, as soon as that can be, and wait until a node has its room."""
    load = Load(stage.nodes[0], itertools.count())
    async with asyncio.timeout(60):
        while not await load.create(task):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_RETRY_S)
    await eventually(lambda: stage.owner(task.room), 60)


async def delete_consumers(nats: NatsCluster) -> None:
    """Take from all nodes what tells them of changes."""
    client = Client()
    await client.connect(nats.url.split(","))
    try:
        stream = client.jetstream()
        consumers = await stream.consumers_info(STREAM)
        for each in consumers:
            await stream.delete_consumer(STREAM, each.name)
        assert len(consumers) == 3
    finally:
        await client.close()


async def kill_leader(nats: NatsCluster) -> None:
    await asyncio.to_thread(nats.servers[await nats.leader(STREAM)].kill)


@pytest.mark.parametrize(
    ("harm", "within_s"),
    [
        (delete_consumers, 9),
        # The servers wait 4 to 9 s for a leader before they elect another one.
        (kill_leader, 30),
    ],
)
async def test_whatever_becomes_of_its_consumer_a_node_sees_all_changes_soon(
    tmp_path: Path, harm: Callable[[NatsCluster], Awaitable[None]], within_s: float
) -> None:
    async with open_stage(tmp_path) as stage:
        await harm(stage.nats)
        began = asyncio.get_running_loop().time()
        await until_taken(stage, make_task(0))
        took_s = asyncio.get_running_loop().time() - began
        print(f"{took_s:.1f} s")
        assert took_s < within_s
