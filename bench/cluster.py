"""What the registry of a cluster costs: many nodes without media, many tasks, one NATS server.

Nodes are the classes that workers are made of (lease, view, room ownership, task store), all in
this process, each with a connection of its own. Each task has a room of its own; whoever gets the
room takes the task and says that it is in progress, as a worker does. Then one node is cut off, and
the others take its rooms. Messages and bytes are the NATS server's own counts.

    python bench/cluster.py [--sizes 20:400 3:1000 3:10000 3:50000] [--json FILE]
"""

import argparse
import asyncio
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import structlog

from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.registry import RegistryError
from cloudslice.cluster.task_records import Owner
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.tasks.store import StoreError
from harness.report import describe_machine, table
from helpers.cluster_member import ClusterMember, cluster_member
from helpers.nats_server import NatsServer, free_port
from helpers.task_stores import SINCE_MS, TASK
from helpers.tcp_proxy import tcp_proxy

_AT_A_TIME = 20
_LEASE_S = 5
_IDLE_S = 10.0
_POLL_S = 0.02
_WITHIN_S = 1200.0


@dataclass(frozen=True, slots=True)
class Size:
    """So many nodes and tasks."""

    nodes: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Result:
    """Of one size; what one process does for all nodes is divided by them where it says so."""

    nodes: int
    tasks: int
    begun_per_s: float
    """Tasks put on record and taken by a node."""
    in_per_task: float
    out_per_task: float
    """Messages to NATS, and from it to all nodes, for a task until it is in progress."""
    bytes_per_task_and_node: float
    """From NATS to each node."""
    cpu_us_per_task_and_node: float
    idle_out_per_s: float
    """From NATS to all nodes while nothing happens: leases."""
    idle_cpu_per_node: float
    """% of a core."""
    registry_mb: float
    read_s: float
    """Until a node that starts knows all."""
    moved: int
    failover_s: float
    """From a node's last sign of life until the last of its rooms is another one's."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What has gone on so far."""

    at: float
    cpu_s: float
    messages_in: int
    messages_out: int
    bytes_out: int


class Runner:
    """Takes the tasks of the rooms that a node gets, as its supervisor does."""

    def __init__(self, member: ClusterMember, group: asyncio.TaskGroup) -> None:
        self.running: set[str] = set()
        self._member = member
        self._group = group
        self._limit = asyncio.Semaphore(_AT_A_TIME)
        member.ownership.on_changed(self._note)

    def _note(self, room: RoomKey) -> None:
        token = self._member.ownership.find_token(room)
        for task_id in list(self._member.view.tasks_in(room)):
            if token is None:
                self.running.discard(task_id)
            else:
                self._group.create_task(self._take(task_id, token))

    async def _take(self, task_id: str, token: int) -> None:
        member = self._member
        value = json.dumps({"status": "InProgress", "token": token}).encode()
        async with self._limit:
            while not (
                await succeeds(member.store.take(task_id, Owner(member.lease.node, token)))
                and await succeeds(member.registry.put(keys.status_key(task_id), value))
            ):
                info = member.view.tasks.get(task_id)
                if info is None or member.ownership.find_token(info.room) != token:
                    return
                if not member.registry.is_connected:
                    return  # it is over
                await asyncio.sleep(_POLL_S)
        self.running.add(task_id)


async def measure(size: Size, directory: Path) -> Result:
    """Begin the tasks, be idle, cut a node off."""
    monitor = free_port()
    server = NatsServer(directory, more=f"http: 127.0.0.1:{monitor}")
    async with AsyncExitStack() as stack:
        stack.enter_context(server)
        wire = await stack.enter_async_context(tcp_proxy(server.port))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        members = [
            await stack.enter_async_context(
                cluster_member(
                    f"nats://127.0.0.1:{wire.port}" if number == 0 else server.url,
                    f"node-{number}",
                    lease_s=_LEASE_S,
                )
            )
            for number in range(size.nodes)
        ]
        runners = [Runner(member, group) for member in members]

        before = await look(monitor)
        await begin_tasks(members[-1], size.tasks)
        await until(lambda: sum(len(each.running) for each in runners) >= size.tasks)
        begun = await look(monitor)
        await asyncio.sleep(_IDLE_S)
        idle = await look(monitor)
        registry_mb = await asyncio.to_thread(registry_bytes, monitor) / 1e6

        began = time.monotonic()
        async with cluster_member(server.url, "late", lease_s=_LEASE_S) as late:
            read_s = time.monotonic() - began
            late.is_open = False
            moved = members[0].ownership.count
            wire.freeze()
            cut_at = time.monotonic()
            others = [*members[1:], late]
            await until(lambda: sum(each.ownership.count for each in others) >= size.tasks)
            failover_s = time.monotonic() - cut_at
        wire.restore()
        await until(lambda: members[0].ownership.count == 0)

    def per_task(value: float) -> float:
        return round(value / size.tasks, 1)

    return Result(
        nodes=size.nodes,
        tasks=size.tasks,
        begun_per_s=round(size.tasks / (begun.at - before.at)),
        in_per_task=per_task(begun.messages_in - before.messages_in),
        out_per_task=per_task(begun.messages_out - before.messages_out),
        bytes_per_task_and_node=per_task((begun.bytes_out - before.bytes_out) / size.nodes),
        cpu_us_per_task_and_node=per_task((begun.cpu_s - before.cpu_s) * 1e6 / size.nodes),
        idle_out_per_s=round((idle.messages_out - begun.messages_out) / (idle.at - begun.at)),
        idle_cpu_per_node=round(
            (idle.cpu_s - begun.cpu_s) / (idle.at - begun.at) / size.nodes * 100, 2
        ),
        registry_mb=round(registry_mb, 1),
        read_s=round(read_s, 2),
        moved=moved,
        failover_s=round(failover_s, 1),
    )


async def begin_tasks(member: ClusterMember, count: int) -> None:
    """Put them on record, some at a time."""
    numbers = iter(range(count))

    async def some(numbers: Iterator[int]) -> None:
        for number in numbers:
            task = dataclasses.replace(
                TASK,
                task_id=f"task-{number}",
                room=RoomKey(TASK.room.sdk_app_id, str(number + 1), RoomIdType.NUMBER),
                request=number.to_bytes(8),
            )
            # On a machine that is too busy an answer can be late; a caller tries again.
            while not await succeeds(  # noqa: ASYNC110 - there is no event
                member.store.create(task, since_ms=SINCE_MS)
            ):
                await asyncio.sleep(_POLL_S)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_A_TIME):
            group.create_task(some(numbers))


async def succeeds(call: Awaitable[object]) -> bool:
    """Whether the registry has given an answer."""
    try:
        await call
    except (StoreError, RegistryError):
        return False
    return True


async def look(monitor: int) -> Traffic:
    """What has gone on until now."""
    counts = await asyncio.to_thread(ask, monitor, "varz")
    times = os.times()
    return Traffic(
        time.monotonic(),
        times.user + times.system,
        counts["in_msgs"],
        counts["out_msgs"],
        counts["out_bytes"],
    )


def ask(monitor: int, path: str) -> dict[str, Any]:
    """What the server says of itself."""
    with urlopen(f"http://127.0.0.1:{monitor}/{path}") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def registry_bytes(monitor: int) -> int:
    """The size of the bucket's stream."""
    return int(ask(monitor, "jsz")["bytes"])


async def until(condition: Any) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(_WITHIN_S):
        while not condition():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_POLL_S)


async def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes",
        nargs="*",
        type=read_size,
        default=[Size(20, 400), Size(3, 1000), Size(3, 10_000), Size(3, 50_000)],
        metavar="NODES:TASKS",
    )
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    results = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as directory:
            results.append(await measure(size, Path(directory)))
            print(results[-1], flush=True)
    names = [each.name for each in dataclasses.fields(Result)]
    rows = [[name, *(getattr(each, name) for each in results)] for name in names]
    print(table(["", *(f"{each.nodes}:{each.tasks}" for each in results)], rows))
    if options.json is not None:
        report = {"machine": describe_machine(), "results": [asdict(each) for each in results]}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def read_size(text: str) -> Size:
    """What the text says; raises ValueError if it does not."""
    nodes, _, tasks = text.partition(":")
    return Size(int(nodes), int(tasks))


if __name__ == "__main__":
    asyncio.run(main())
