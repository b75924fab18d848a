"""Which slices a node may store, by the seconds in their names."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from cloudslice.cluster.fence import Fence
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.uploads.storage_errors import StorageError

KEY = "task/anchor_1/audios/1400000000_150_anchor_1_20231114221321.ogg"
SECOND = 1_700_000_001


@dataclass
class HandLease:
    """What a fence asks of a lease, by hand."""

    ceiling_s: int = SECOND + 100
    former_ceiling_s: int = SECOND - 100
    is_valid: bool = True
    news: asyncio.Event = field(default_factory=asyncio.Event)
    renewed: list[Callable[[], object]] = field(default_factory=list)

    def on_renewed(self, call: Callable[[], object]) -> None:
        self.renewed.append(call)

    async def wait_valid(self) -> None:
        while not self.is_valid:
            self.news.clear()
            await self.news.wait()

    def lose(self) -> None:
        self.is_valid = False

    def renew(self) -> None:
        for call in self.renewed:
            call()
        self.is_valid = True
        self.ceiling_s += 1000
        self.news.set()


@pytest.fixture
def lease() -> HandLease:
    return HandLease()


@pytest.fixture
def fence(lease: HandLease) -> Fence:
    return Fence(cast(NodeLease, lease), SECOND - 50)


@contextlib.asynccontextmanager
async def waiting(fence: Fence) -> AsyncIterator["asyncio.Task[None]"]:
    """An upload that is held up."""
    task = asyncio.create_task(fence.wait(KEY))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    yield task
    async with asyncio.timeout(5):
        await asyncio.wait([task])


async def test_what_is_held_is_stored_while_the_lease_is_certain(
    fence: Fence, lease: HandLease
) -> None:
    fence.note_taken("task", 0)
    await fence.wait(KEY)
    lease.lose()
    async with waiting(fence) as upload:
        lease.is_valid = True
        lease.news.set()
    assert upload.exception() is None


async def test_after_a_loss_it_waits_until_it_is_known_whose_the_task_is(
    fence: Fence, lease: HandLease
) -> None:
    for decide, is_stored in (
        (lambda: fence.note_taken("task", 0), True),
        (lambda: fence.note_lost("task"), True),
        (lambda: fence.note_ended("task"), True),
    ):
        fence.note_taken("task", 0)
        lease.lose()
        lease.renew()
        async with waiting(fence) as upload:
            decide()
        assert (upload.exception() is None) == is_stored


async def test_what_was_recorded_beside_a_new_owner_is_not_stored(
    fence: Fence, lease: HandLease
) -> None:
    lease.ceiling_s = SECOND - 1
    fence.note_taken("task", 0)
    lease.lose()
    lease.renew()
    fence.note_lost("task")
    assert fence.may_store("task", SECOND - 1)
    with pytest.raises(StorageError, match="another node had taken the room"):
        await fence.wait(KEY)
    # It comes back: what the other one may have named stays the other one's.
    fence.note_taken("task", SECOND + 10)
    assert [fence.may_store("task", SECOND + each) for each in (-1, 0, 10, 11)] == [
        True,
        False,
        False,
        True,
    ]


def test_what_a_former_process_has_left_is_stored_up_to_its_ceiling(fence: Fence) -> None:
    """And what has ended here, which comes after this process has begun."""
    assert [fence.may_store("task", SECOND + each) for each in (-100, -99, -50, -49)] == [
        True,
        False,
        False,
        True,
    ]


async def test_what_was_adopted_is_stored_whosever_its_second_is(fence: Fence) -> None:
    """Until it is: the name is another slice's after that."""
    fence.note_taken("task", SECOND + 10)
    with pytest.raises(StorageError):
        await fence.wait(KEY)
    fence.admit(KEY)
    await fence.wait(KEY)
    fence.note_stored(KEY)
    with pytest.raises(StorageError):
        await fence.wait(KEY)
