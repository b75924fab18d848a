"""The uploads of one task against stores and databases that fail at any moment.

Everything runs in virtual time, and a seed decides how long each wait takes and what fails. So
failures come while the queue of uploads awaits this or that, which is where a slice's next try
could be lost.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.config import StorageSettings
from cloudslice.database import Database, Operation
from cloudslice.delivery import consignors, slices
from cloudslice.delivery.lane import Lane
from cloudslice.delivery.ledger import Ledger
from cloudslice.delivery.retries import UploadPace
from cloudslice.delivery.slices import SliceRecord
from cloudslice.delivery.spool import Spool
from cloudslice.delivery.uploads import UploadContext
from cloudslice.uploads.objects import Content, StoredObject
from cloudslice.uploads.storage_errors import StorageError
from helpers.delivery import APP, AUDIO, BOX, TASK, make_test_bucket, open_memory
from cloudslice.events import SliceStored, UploadsEnded
from helpers.delivery import AUDIO, BOX, TASK, KeptEvents, make_test_bucket, open_memory
from helpers.virtual_time import LoopClock, run_in_virtual_time

T = TypeVar("T")


class BugError(Exception):
    """Something that nobody foresaw."""


@dataclass
class Chances:
    """How likely it is that something fails, and how long it takes at most, in seconds."""

    refusal: float = 0.0
    upload_bug: float = 0.0
    database_bug: float = 0.0
    upload_s: float = 0.5
    database_s: float = 0.5


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

    async def put(self, item: StoredObject) -> None:
        await asyncio.sleep(self.randomness.uniform(0, self.chances.upload_s))
        chance = self.randomness.random()
        if chance < self.chances.refusal:
            raise StorageError(503, "SlowDown", "Please reduce your request rate.")
        if chance < self.chances.refusal + self.chances.upload_bug:
            raise BugError("upload")
        self.stored.append(item.key)


class NoSpool:
    """No files: only their removal is noted."""

    def __init__(self) -> None:
        self.removed: list[str] = []

    async def read(self, record: SliceRecord) -> Content:
        return Content.of(b"")

    def remove(self, record: SliceRecord) -> None:
        self.removed.append(record.object_key)


class Rig:
    """A queue of uploads with all around it."""

    def __init__(self, seed: int, chances: Chances) -> None:
        self.random = random.Random(seed)
        self.clock = LoopClock()
        self.store = FlakyStore(self.random, chances)
        self.database = SlowDatabase(self.random, chances)
        self.spool = NoSpool()
        self.kept = KeptEvents()
        consignors.insert(self.database.connection, TASK, make_test_bucket(), BOX)
        self.context = UploadContext(
            database=cast(Database, self.database),
            spool=cast(Spool, self.spool),
            ledger=Ledger(self.kept.bus, BOX, StorageSettings()),
            open_bucket=lambda _bucket: self.store,
            clock=self.clock,
            steady_ms=lambda: round(self.clock.monotonic() * 1000),
            pace=UploadPace(),
            retention_s=86400.0,
            patience_s=60.0,
            random=self.random,
        )
        self.lane = Lane(TASK.task_id, self.context, is_behind=False)

    def add(self, number: int) -> SliceRecord:
        """A new slice, on record."""
        connection = self.database.connection
        slice_id = slices.register(connection, AUDIO, 1000 * number, self.context.steady_ms())
        slices.describe(connection, slice_id, 15000, {})
        return slices.mark_waiting(connection, slice_id, 5, "ab")

    def end_task(self) -> None:
        consignors.mark_ended(self.database.connection, TASK.task_id)
        self.lane.end()

    @property
    def event_types(self) -> list[type]:
        return [type(event) for event in self.kept.events]


async def deliver(rig: Rig, count: int, spread_s: float) -> None:
    """Slices come over a time, some of them together, and the task ends after the last."""
    recording = asyncio.create_task(rig.context.receipts.run())
    running = asyncio.create_task(rig.lane.run())
    for number in range(count):
        rig.lane.take(rig.add(number))
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
    assert rig.event_types.count(SliceStored) == count
    assert rig.event_types[-1] is UploadsEnded
    assert consignors.find(rig.database.connection, TASK.task_id) is None


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
