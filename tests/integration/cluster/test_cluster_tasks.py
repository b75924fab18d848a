"""The API's calls in a cluster, on a real NATS server; workers and rooms by hand."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloudslice.clock import SystemClock
from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_rooms import ClusterRooms
from cloudslice.cluster.cluster_tasks import ClusterTasks
from cloudslice.cluster.cluster_view import ClusterView, NodeInfo
from cloudslice.cluster.joining import check_secret, check_settings, load_node_name
from cloudslice.cluster.kv_task_store import KvTaskStore
from cloudslice.cluster.registry import Registry
from cloudslice.cluster.registry_opening import open_registry
from cloudslice.config import Settings
from cloudslice.rooms.management import RoomNotFoundError
from cloudslice.secrets import SecretBox, SecretKeyError
from cloudslice.settings.mistakes import SettingsError
from cloudslice.slicing.params import SubscriptionLists
from cloudslice.tasks.model import (
    NoCapacityError,
    NoRegistryError,
    TaskNotFoundError,
    TaskSpec,
    TaskStatus,
    TooManyTasksError,
)
from helpers.manual_rooms import ManualRooms
from helpers.nats_server import NatsServer
from helpers.task_stores import TASK
from helpers.waiting import eventually

APP = TASK.room.sdk_app_id
BOX = SecretBox(bytes(32))
LIVEKIT = {"rooms": "livekit", "livekit": {"url": "ws://a", "api_key": "k", "api_secret": "s"}}
SPEC = TaskSpec(
    room=TASK.room,
    robot_user_id="robot",
    user_sig="sig",
    private_map_key=None,
    slicing=TASK.slicing,
    lists=TASK.lists,
    bucket=TASK.bucket,
)


@dataclass
class Stage:
    """A node that takes calls."""

    registry: Registry
    view: ClusterView
    store: KvTaskStore
    tasks: ClusterTasks
    rooms: ClusterRooms

    async def add_worker(self, *, is_open: bool = True) -> None:
        """Have a worker there, which does nothing."""
        info = NodeInfo("worker", "session", is_open=is_open)
        await self.registry.put(keys.NODE + "worker", info.to_value())
        await eventually(lambda: self.view.nodes.get("worker") == info)


@pytest.fixture
def server(tmp_path: Path) -> NatsServer:
    return NatsServer(tmp_path / "nats")


@pytest.fixture
async def stage(server: NatsServer) -> AsyncIterator[Stage]:
    app = {"sdk_app_id": APP, "secret_key": "k" * 32, "limits": {"tasks": 3}} | LIVEKIT
    settings = Settings.model_validate({"apps": [app]})

    async def record(event: object) -> None:
        raise AssertionError(event)

    with server:
        async with (
            open_registry(server.url, name="test") as registry,
            ClusterView(registry) as view,
        ):
            store, rooms = KvTaskStore(registry, BOX, record, room_of=view.room_of), ManualRooms()
            tasks = ClusterTasks(settings, store, view, BOX, {"livekit": rooms}, SystemClock())
            yield Stage(registry, view, store, tasks, ClusterRooms(rooms, store, view))


async def test_a_task_is_described_changed_and_stopped(stage: Stage) -> None:
    await stage.add_worker()
    task_id = await stage.tasks.create(SPEC)
    assert stage.tasks.describe(APP, task_id) is TaskStatus.IDLE
    assert await stage.tasks.create(SPEC) == task_id, "a repeated call"
    lists = SubscriptionLists(audio_block=("x",))
    await stage.tasks.modify(APP, task_id, lists, {"video_interval_s": 9})
    (stored,), _ = await stage.store.load()
    assert stored.lists == lists
    assert stored.slicing == dataclasses.replace(SPEC.slicing, video_interval_s=9)
    await stage.tasks.delete(APP, task_id)
    assert stage.tasks.describe(APP, task_id) is TaskStatus.EXITED
    await stage.tasks.delete(APP, task_id)


async def test_a_task_of_another_app_is_not_found(stage: Stage) -> None:
    await stage.add_worker()
    task_id = await stage.tasks.create(SPEC)
    for app, wanted in ((APP + 1, task_id), (APP, "another"), (APP, "*")):
        with pytest.raises(TaskNotFoundError):
            stage.tasks.describe(app, wanted)
        with pytest.raises(TaskNotFoundError):
            await stage.tasks.delete(app, wanted)


async def test_a_full_cluster_refuses_new_rooms(stage: Stage) -> None:
    """And one without workers."""
    with pytest.raises(NoCapacityError, match="none of 0 nodes"):
        await stage.tasks.create(SPEC)
    await stage.add_worker(is_open=False)
    with pytest.raises(NoCapacityError, match="none of 1 nodes"):
        await stage.tasks.create(SPEC)
    assert stage.tasks.counts["no_capacity"] == 2
    room = keys.ROOM + keys.room_part(SPEC.room)
    await stage.registry.create(room, b'{"node": "worker", "session": "session"}')
    await eventually(lambda: stage.view.owner_of(SPEC.room) is not None)
    await stage.tasks.create(SPEC)  # a room that is there takes more


async def test_an_app_has_as_many_tasks_as_it_may_have(stage: Stage) -> None:
    await stage.add_worker()
    calls = [
        stage.tasks.create(dataclasses.replace(SPEC, robot_user_id=f"robot{number}"))
        for number in range(5)
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(each, TooManyTasksError) for each in results) == 2


async def test_without_nats_calls_are_refused(stage: Stage, server: NatsServer) -> None:
    await stage.add_worker()
    task_id = await stage.tasks.create(SPEC)
    await asyncio.to_thread(server.kill)
    for call in (
        stage.tasks.create(dataclasses.replace(SPEC, robot_user_id="other")),
        stage.tasks.delete(APP, task_id),
    ):
        with pytest.raises(NoRegistryError):
            await call
    assert stage.tasks.counts["no_registry"] == 2
    assert stage.tasks.describe(APP, task_id) is TaskStatus.IDLE, "as far as is known"


async def test_robots_are_put_out_by_what_is_wanted_of_their_tasks(stage: Stage) -> None:
    await stage.add_worker()
    task_id = await stage.tasks.create(SPEC)
    other = await stage.tasks.create(dataclasses.replace(SPEC, robot_user_id="other"))
    await stage.rooms.remove_users(SPEC.room, ["robot"])
    assert [await leave_code(stage, each) for each in (task_id, other)] == [1, None]
    await stage.rooms.dismiss(SPEC.room)
    assert [await leave_code(stage, each) for each in (task_id, other)] == [1, 2]
    with pytest.raises(RoomNotFoundError):
        await stage.rooms.dismiss(dataclasses.replace(SPEC.room, room_id="nobody's"))


async def leave_code(stage: Stage, task_id: str) -> int | None:
    found = await stage.store.find(task_id)
    assert found is not None
    code: int | None = found[0]["leave_code"]
    return code


async def test_a_node_with_another_key_is_refused(stage: Stage) -> None:
    await check_secret(stage.registry, BOX)
    await check_secret(stage.registry, BOX)
    with pytest.raises(SecretKeyError, match="the same on all nodes"):
        await check_secret(stage.registry, SecretBox(bytes([1] * 32)))


def test_a_cluster_without_a_key_is_refused() -> None:
    settings = Settings.model_validate({"apps": []})
    with pytest.raises(SettingsError, match="encryption_key"):
        check_settings(settings)


def test_a_data_directory_keeps_its_nodes_name(tmp_path: Path) -> None:
    name = load_node_name(tmp_path)
    assert load_node_name(tmp_path) == name
    (tmp_path / "node").write_text("*")
    assert load_node_name(tmp_path) not in ("*", name)
