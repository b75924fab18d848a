"""What the uploads of all tasks have in common."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

import structlog

from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.database import Database
from cloudslice.events import SliceStored
from cloudslice.faults import Faults
from cloudslice.gathering import Gatherer
from cloudslice.slices import Bucket, Slice, TaskRef, WaitingSlice
from cloudslice.uploads.other_nodes import NoOtherNodes, OtherNodes
from cloudslice.uploads.progress import Progress
from cloudslice.uploads.stores import BucketOpener
from cloudslice.uploads.upload_pace import UploadPace

_HEALTHY = 64
_FAILING = 32
_RECORD_WITHIN_S = 0.25
"""After so many seconds at most, what is stored is on record, and its event on its way."""

_log = structlog.get_logger(__name__)


class SliceSource(Protocol):
    """Where the slices wait: what uploads need of the spool."""

    @property
    def used_bytes(self) -> int:
        """What the slices take, growing ones included."""
        ...

    def take_waiting(self) -> Mapping[TaskRef, Sequence[WaitingSlice]]:
        """The tasks known at the start, with the slices that wait, the oldest first; once."""
        ...

    def find_task(self, task_id: str) -> TaskRef | None:
        """The task as its events name it, if it is known."""
        ...

    def load_bucket(self, task_id: str) -> Bucket:
        """Where a task's slices go; raises an error whose text says why it cannot be told."""
        ...

    def count_open(self, task_id: str) -> int:
        """How many slices of a task grow."""
        ...

    def read(self, task_id: str, name: str) -> tuple[Slice, bytes]:
        """A slice and its content; blocking; raises DamagedSliceError and OSError."""
        ...

    def is_there(self, task_id: str, name: str) -> bool:
        """Whether a slice's file is still there; for any thread."""
        ...

    def remove(self, task_id: str, name: str) -> None:
        """A slice is done with."""
        ...

    def set_aside(self, task_id: str, name: str, reason: str) -> None:
        """Keep a slice's file apart, for people to look at."""
        ...

    def close(self, task_id: str) -> None:
        """A task is done with."""
        ...

    async def flush(self) -> None:
        """Wait until what was asked for is done, and counts."""
        ...


@dataclass(slots=True)
class UploadCounters:
    """What has become of uploads since the start."""

    stored: int = 0
    stored_bytes: int = 0
    failed_attempts: int = 0
    given_up: int = 0
    """Slices older than the retention."""
    dropped: int = 0
    """Slices that had to make room in the spool."""
    vanished: int = 0
    """Slices whose file somebody has taken out of the spool."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A bucket has acknowledged a slice."""

    task: TaskRef
    slice: Slice
    url: str
    on_recorded: Callable[[], object]


@dataclass(slots=True)
class Shared:
    """What all queues share."""

    database: Database
    bus: Bus
    spool: SliceSource
    open_bucket: BucketOpener
    readers: Executor
    """Threads that read slices."""
    clock: Clock
    steady_ms: Callable[[], int]
    """The time for the retention, of a clock that is steady over restarts."""
    pace: UploadPace
    retention_s: float
    patience_s: float
    """So long uploads may fail after a task's end before 1005 says that they are incomplete."""
    are_losses_waiting: Callable[[str], bool] = lambda _task_id: False
    """Whether a task has lost something that is to be told before its end."""
    others: OtherNodes = field(default_factory=NoOtherNodes)
    counters: UploadCounters = field(default_factory=UploadCounters)
    random: Random = field(default_factory=Random)
    healthy: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_HEALTHY))
    """Uploads under way in queues whose last upload went well."""
    failing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_FAILING))
    """Those in the others, apart: any number of dead buckets leaves the healthy ones room."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever it is on record what has become of slices that waited."""
    progress: Progress = field(init=False)
    receipts: Gatherer[Receipt] = field(init=False)
    """Has the events of stored slices on record, then has their files removed."""
    _removed: deque[tuple[str, str]] = field(default_factory=deque)
    """Stored slices, by task and name, whose files may still be there."""
    faults: Faults = field(default_factory=lambda: Faults("uploads"))
    """Errors that nobody foresaw; what they befell is tried again."""

    def __post_init__(self) -> None:
        self.progress = Progress(self.bus)
        self.receipts = Gatherer(
            self.database,
            self._record,
            self._note_recorded,
            within_s=_RECORD_WITHIN_S,
            what="record stored slices",
            caught=self.faults.caught,
        )

    def remove(self, task_id: str, name: str) -> None:
        """Remove a stored slice's file; that it was stored is forgotten some time after that."""
        self.spool.remove(task_id, name)
        self._removed.append((task_id, name))

    def _record(self, connection: sqlite3.Connection, receipts: Sequence[Receipt]) -> None:
        for each in receipts:
            self.progress.store(connection, SliceStored(each.task, each.slice, each.url))
        # Along with it, as that takes no transaction of its own.
        gone: list[str] = []
        for _ in range(len(self._removed)):
            task_id, name = self._removed.popleft()
            if self.spool.is_there(task_id, name):
                self._removed.append((task_id, name))
            else:
                gone.append(name)
        self.progress.forget_stored(connection, gone)

    def _note_recorded(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            stored = receipt.slice
            self.counters.stored += 1
            self.counters.stored_bytes += stored.size
            try:
                self.remove(receipt.task.task_id, stored.name)
                receipt.on_recorded()
            except Exception as error:
                self.faults.caught(error, key=stored.object_key)
        # One line for all of them: making it is among the dearer things done for a slice.
        _log.info("slices stored", keys=[each.slice.object_key for each in receipts])
