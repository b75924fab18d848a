"""The uploads of one task against stores and databases that fail at any moment.

Everything runs in virtual time, and a seed decides how long each wait takes and what fails. So
failures come while the queue awaits this or that, which is where a slice's next try could be lost.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.database import Database, Operation
from cloudslice.events import (
    SliceStored,
    UploadFailed,
    UploadsEnded,
    UploadsOutcome,
    UploadsStarted,
)
from cloudslice.slices import Bucket, Slice, TaskRef, WaitingSlice
from cloudslice.uploads.objects import StoredObject
from cloudslice.uploads.shared import Shared, SliceSource
from cloudslice.uploads.storage_errors import StorageError
from cloudslice.uploads.task_queue import TaskQueue
from cloudslice.uploads.upload_pace import UploadPace
from helpers.delivery import AUDIO, TASK, KeptEvents, make_test_bucket, open_memory
from helpers.failing import BugError
from helpers.virtual_time import LoopClock, run_in_virtual_time

T = TypeVar("T")


@dataclass
class Chances:
    """How likely it is that something fails, and how long it takes at most, in seconds."""

    refusal: float = 0.0
    upload_bug: float = 0.0
    database_bug: float = 0.0
    upload_s: float = 0.5
    database_s: float = 0.5


class AtOnce(Executor):
    """Carries out what it is given before it returns."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class SlowDatabase:
    """Carries out operations in their order, after a while, and tells their results later still."""

    def __init__(self, randomness: random.Random, chances: Chances) -> None:
        self.connection = open_memory()
        self._random = randomness
        self._chances = chances
        self._turn = asyncio.Lock()
        self._after: list[Callable[[], object]] = []

    async def persist(self, operation: Operation[T], *, within_s: float = 0) -> T:
        async with self._turn:
            await self._wait()
            if self._random.random() < self._chances.database_bug:
                raise BugError("database")
            self._after.clear()
            result = operation(self.connection)
            for call in self._after:
                call()
        await self._wait()
        return result

    run = persist

    def after_commit(self, call: Callable[[], object]) -> None:
        self._after.append(call)

    def post(self, operation: Operation[object], what: str) -> None:
        operation(self.connection)

    async def _wait(self) -> None:
        await asyncio.sleep(self._random.uniform(0, self._chances.database_s))


@dataclass
class FlakyStore:
    """Takes an object after a while, or fails as chance has it."""

    randomness: random.Random
    chances: Chances
    stored: list[str] = field(default_factory=list)
    tries: list[float] = field(default_factory=list)
    """When, in seconds."""
    retry_after_s: int | None = None

    def url(self, key: str) -> str:
        return f"flaky:{key}"

    async def put(self, item: StoredObject) -> None:
        self.tries.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.randomness.uniform(0, self.chances.upload_s))
        chance = self.randomness.random()
        if chance < self.chances.refusal:
            text = "Please reduce your request rate."
            raise StorageError(503, "SlowDown", text, retry_after_s=self.retry_after_s)
        if chance < self.chances.refusal + self.chances.upload_bug:
            raise BugError("upload")
        self.stored.append(item.key)


class MemorySpool:
    """Slices in memory."""

    used_bytes = 0

    def __init__(self) -> None:
        self.slices: dict[str, Slice] = {}
        self.removed: list[str] = []

    def add(self, number: int, created_ms: int) -> WaitingSlice:
        name = f"{created_ms:013d}-{number:016x}"
        content = name.encode()
        sha256 = hashlib.sha256(content).hexdigest()
        self.slices[name] = Slice(name, AUDIO, f"key{number}", 0, 15000, {}, len(content), sha256)
        return WaitingSlice(name, len(content))

    def find_task(self, _task_id: str) -> TaskRef:
        return TASK

    def load_bucket(self, _task_id: str) -> Bucket:
        return make_test_bucket()

    def count_open(self, _task_id: str) -> int:
        return 0

    def read(self, _task_id: str, name: str) -> tuple[Slice, bytes]:
        return self.slices[name], name.encode()

    def is_there(self, _task_id: str, name: str) -> bool:
        return name in self.slices

    def remove(self, _task_id: str, name: str) -> None:
        self.removed.append(self.slices.pop(name).object_key)


class Rig:
    """A queue of uploads with all around it."""

    def __init__(self, seed: int, chances: Chances, *, retention_s: float = 86400.0) -> None:
        self.random = random.Random(seed)
        self.clock = LoopClock()
        self.store = FlakyStore(self.random, chances)
        self.database = SlowDatabase(self.random, chances)
        self.spool = MemorySpool()
        self.kept = KeptEvents()
        self.shared = Shared(
            database=cast(Database, self.database),
            bus=self.kept.bus,
            spool=cast(SliceSource, self.spool),
            open_bucket=lambda _bucket: self.store,
            readers=AtOnce(),
            clock=self.clock,
            steady_ms=self.steady_ms,
            pace=UploadPace(),
            retention_s=retention_s,
            patience_s=60.0,
            random=self.random,
        )
        self.queue = TaskQueue(TASK, self.shared, ())

    def steady_ms(self) -> int:
        return round(self.clock.monotonic() * 1000)

    def add(self, number: int) -> None:
        """A new slice."""
        self.queue.add(self.spool.add(number, self.steady_ms()))

    def end_task(self) -> None:
        self.shared.progress.end(self.database.connection, [TASK.task_id])
        self.queue.end()

    def count(self, kind: type) -> int:
        """How many events of a kind were recorded."""
        return sum(isinstance(event, kind) for event in self.kept.events)


async def deliver(rig: Rig, count: int, spread_s: float) -> None:
    """Slices come over a time, some of them together, and the task ends after the last."""
    recording = asyncio.create_task(rig.shared.receipts.run())
    running = asyncio.create_task(rig.queue.run())
    for number in range(count):
        rig.add(number)
        if rig.random.random() < 0.5:
            await asyncio.sleep(rig.random.uniform(0, 2 * spread_s / count))
    rig.end_task()
    async with asyncio.timeout(86000):
        await running
    recording.cancel()


def assert_all_delivered(rig: Rig, count: int) -> None:
    """Each slice is in the bucket, told once and gone from the spool; 1005 is the last word."""
    assert len(set(rig.store.stored)) == count
    assert sorted(rig.spool.removed) == sorted(set(rig.store.stored))
    assert rig.count(SliceStored) == count
    assert rig.count(UploadsStarted) == 1
    assert isinstance(rig.kept.events[-1], UploadsEnded)
    rows = rig.database.connection.execute("SELECT * FROM uploads").fetchall()
    assert rows == []


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(2, 12),
    refusal=st.sampled_from([0.3, 0.5]),
    upload_s=st.sampled_from([0.3, 1.0, 3.0]),
    database_s=st.sampled_from([0.1, 0.5]),
    spread_s=st.sampled_from([0.5, 5.0, 60.0]),
)
def test_every_slice_is_uploaded_whenever_uploads_fail(
    seed: int, count: int, refusal: float, upload_s: float, database_s: float, spread_s: float
) -> None:
    """And 1005 comes: what waits has a next try, whatever was awaited when it failed."""

    async def run() -> None:
        rig = Rig(seed, Chances(refusal, upload_s=upload_s, database_s=database_s))
        await deliver(rig, count, spread_s)
        assert_all_delivered(rig, count)

    run_in_virtual_time(run())


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(2, 12),
    refusal=st.sampled_from([0.0, 0.3]),
    upload_bug=st.sampled_from([0.0, 0.3]),
    database_bug=st.sampled_from([0.05, 0.3]),
    spread_s=st.sampled_from([0.5, 60.0]),
)
def test_every_slice_is_uploaded_whatever_else_fails(
    seed: int,
    count: int,
    refusal: float,
    upload_bug: float,
    database_bug: float,
    spread_s: float,
) -> None:
    """Exceptions that nobody foresaw, in the store or the database, cost a pause and no slice."""

    async def run() -> None:
        rig = Rig(seed, Chances(refusal, upload_bug, database_bug))
        await deliver(rig, count, spread_s)
        assert_all_delivered(rig, count)

    run_in_virtual_time(run())


def test_a_failing_bucket_is_tried_by_one_slice_at_a_time() -> None:
    """Ever more rarely, and told once for each reason."""

    async def run() -> None:
        rig = Rig(1, Chances(refusal=1.0, upload_s=0.0, database_s=0.0))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(rig.queue.run())
            for number in range(20):
                rig.add(number)
            await asyncio.sleep(600)
            running.cancel()
        # Four at first, then one after a pause that doubles to a minute.
        pauses = [after - before for before, after in pairwise(rig.store.tries)]
        assert pauses[:3] == [0, 0, 0]
        assert all(0.5 <= pause <= 61 for pause in pauses[3:])
        assert pauses[-1] >= 30
        assert rig.count(UploadFailed) == 1

    run_in_virtual_time(run())


def test_a_store_that_asks_for_patience_gets_it() -> None:
    """Retry-After is longer than our own pause."""

    async def run() -> None:
        rig = Rig(1, Chances(refusal=1.0, upload_s=0.0, database_s=0.0))
        rig.store.retry_after_s = 100
        async with asyncio.TaskGroup() as group:
            running = group.create_task(rig.queue.run())
            rig.add(0)
            await asyncio.sleep(350)
            running.cancel()
        pauses = [after - before for before, after in pairwise(rig.store.tries)]
        assert len(pauses) == 3
        assert all(pause >= 100 for pause in pauses)

    run_in_virtual_time(run())


def test_what_waits_too_long_is_given_up_and_the_task_ends() -> None:
    """With 1006 for the loss, and 1005 that does not claim that all were stored."""

    async def run() -> None:
        rig = Rig(1, Chances(refusal=1.0), retention_s=300.0)
        await deliver(rig, 5, 10.0)
        assert (rig.store.stored, rig.count(SliceStored)) == ([], 0)
        assert rig.shared.counters.given_up == 5
        last = rig.kept.events[-1]
        assert isinstance(last, UploadFailed | UploadsEnded)
        assert [event.outcome for event in rig.kept.events if isinstance(event, UploadsEnded)] == [
            1
        ]

    run_in_virtual_time(run())


def test_slices_are_tried_in_the_order_of_their_age_after_an_outage() -> None:
    async def run() -> None:
        chances = Chances(refusal=1.0, upload_s=0.0, database_s=0.0)
        rig = Rig(1, chances)
        async with asyncio.TaskGroup() as group:
            group.create_task(rig.shared.receipts.run())
            running = group.create_task(rig.queue.run())
            for number in range(8):
                rig.add(number)
                await asyncio.sleep(1)
            await asyncio.sleep(200)
            chances.refusal = 0.0
            await asyncio.sleep(100)
            assert rig.queue.size == 0
            for task in (running, *asyncio.all_tasks() - {asyncio.current_task()}):
                task.cancel()
        first, *others = rig.store.stored
        assert others == sorted(others)
        assert {first, *others} == {f"key{n}" for n in range(8)}

    run_in_virtual_time(run())


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(2, 12),
    refusal=st.sampled_from([0.3, 1.0]),
    database_bug=st.sampled_from([0.0, 0.3]),
    drops=st.integers(1, 4),
)
def test_what_is_dropped_counts_at_the_end(
    seed: int, count: int, refusal: float, database_bug: float, drops: int
) -> None:
    """Whenever room is made: each slice is stored or told as lost, and 1005 says which."""

    async def run() -> None:
        rig = Rig(seed, Chances(refusal, database_bug=database_bug), retention_s=3600.0)
        error = StorageError(0, "SpoolFull", "Room was made.")
        dropped = 0

        async def drop() -> None:
            nonlocal dropped
            for _ in range(drops):
                await asyncio.sleep(rig.random.uniform(0, 3))
                names = {each.name for each in rig.queue.droppable()[: rig.random.randint(1, 6)]}
                try:
                    dropped += await rig.queue.drop(names, error)
                except BugError:
                    continue

        dropping = asyncio.create_task(drop())
        await deliver(rig, count, 5.0)
        await dropping
        given_up = dropped + rig.shared.counters.given_up
        assert len(set(rig.store.stored)) + given_up == count
        assert len(rig.spool.removed) == count
        ends = [event.outcome for event in rig.kept.events if isinstance(event, UploadsEnded)]
        assert (ends[-1] == UploadsOutcome.INCOMPLETE) == (given_up > 0)
        assert UploadsOutcome.ALL_STORED not in ends or len(ends) == 1
        assert rig.database.connection.execute("SELECT * FROM uploads").fetchall() == []

    run_in_virtual_time(run())
