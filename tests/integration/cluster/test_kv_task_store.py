"""Which node's changes of tasks count: the fencing token's. What all stores promise is tested in
tests/unit/tasks/test_store.py."""

import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.kv_task_store import KvTaskStore, NotOwnerError
from cloudslice.cluster.registry import Registry
from cloudslice.cluster.registry_opening import open_registry
from cloudslice.cluster.task_records import Owner
from cloudslice.events import RobotEntered
from cloudslice.rooms.base import LeaveCode
from cloudslice.secrets import SecretBox
from cloudslice.tasks.store import StoreError
from helpers.nats_server import NatsServer
from helpers.task_stores import SINCE_MS, TASK

BOX = SecretBox(bytes(32))
TASK_ID = TASK.task_id


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    with NatsServer(tmp_path / "nats") as server:
        async with open_registry(server.url, name="test") as opened:
            yield opened


@dataclass
class Side:
    """A node's store, with the token that it believes to have."""

    registry: Registry
    token: int | None
    events: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = KvTaskStore(self.registry, BOX, self.record, self._token_of)

    async def record(self, event: object) -> None:
        self.events.append(event)

    def _token_of(self, room: object) -> int:
        assert room == TASK.room
        if self.token is None:
            raise StoreError("the lease has run out")
        return self.token


@pytest.fixture
async def api(registry: Registry) -> KvTaskStore:
    store = KvTaskStore(registry, BOX, Side(registry, None).record)
    await store.create(TASK, since_ms=SINCE_MS)
    return store


async def test_a_former_owner_changes_nothing(registry: Registry, api: KvTaskStore) -> None:
    """Even if it believes to be the owner, and whatever it does first."""
    former, owner = Side(registry, 5), Side(registry, 9)
    assert await former.store.take(TASK_ID, Owner("a", 5, 100)) == dataclasses.replace(
        TASK, names_after_s=100
    )
    taken = await owner.store.take(TASK_ID, Owner("b", 9, 60))
    assert taken == dataclasses.replace(TASK, names_after_s=100)
    for change in (
        former.store.take(TASK_ID, Owner("a", 5)),
        former.store.note_entered(TASK.ref, has_failed=False),
        former.store.set_stopping(TASK_ID, LeaveCode.IDLE),
        former.store.finish(TASK.ref, LeaveCode.IDLE),
    ):
        with pytest.raises(NotOwnerError):
            await change
    assert former.events == []
    await owner.store.note_entered(TASK.ref, has_failed=False)
    assert owner.events == [RobotEntered(TASK.ref, False)]
    found = await api.find(TASK_ID)
    assert found is not None
    assert found[0]["leave_code"] is None


async def test_an_owner_whose_lease_has_run_out_changes_nothing(
    registry: Registry, api: KvTaskStore
) -> None:
    owner = Side(registry, 5)
    await owner.store.take(TASK_ID, Owner("a", 5))
    owner.token = None
    with pytest.raises(StoreError, match="run out"):
        await owner.store.finish(TASK.ref, LeaveCode.IDLE)
    owner.token = 5
    await owner.store.finish(TASK.ref, LeaveCode.IDLE)
    assert len(owner.events) == 1
    assert await api.find(TASK_ID) is None
    assert await owner.store.take(TASK_ID, Owner("a", 5)) is None


async def test_what_is_wanted_and_what_is_done_do_not_undo_each_other(
    registry: Registry, api: KvTaskStore
) -> None:
    owner = Side(registry, 5)
    await owner.store.take(TASK_ID, Owner("a", 5))
    await api.set_stopping(TASK_ID, LeaveCode.STOPPED)
    await owner.store.note_entered(TASK.ref, has_failed=False)
    taken = await owner.store.take(TASK_ID, Owner("a", 5))
    assert taken == dataclasses.replace(TASK, has_entered=True, leave_code=LeaveCode.STOPPED)


@pytest.mark.parametrize("damage", [b"[]", b"{", b'{"robot_user_id": "robot", "task_id": 7}'])
async def test_a_record_that_cannot_be_read_is_told(
    registry: Registry, api: KvTaskStore, damage: bytes
) -> None:
    """With all that is known of whose it is."""
    await registry.put(keys.task_key(TASK.room, TASK_ID), damage)
    tasks, (broken,) = await api.load()
    assert tasks == []
    robot = "robot" if b"robot" in damage else ""
    assert broken.ref == dataclasses.replace(TASK.ref, robot_user_id=robot)
    owner = Side(registry, 5)
    assert await owner.store.take(TASK_ID, Owner("a", 5)) == broken
    await owner.store.finish(broken.ref, LeaveCode.CONNECTION_LOST)
    assert await api.find(TASK_ID) is None


async def test_what_can_be_no_task_id_is_no_task(api: KvTaskStore) -> None:
    for text in ("*", ">", "a b", ""):
        assert await api.find(text) is None
