"""What the uploads of all tasks have in common."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import structlog

from cloudslice.clock import Clock
from cloudslice.database import Database
from cloudslice.delivery.ledger import Ledger
from cloudslice.delivery.retries import UploadPace
from cloudslice.delivery.slices import SliceRecord
from cloudslice.delivery.spool import Spool
from cloudslice.faults import Faults
from cloudslice.gathering import Gatherer
from cloudslice.slices import Bucket
from cloudslice.uploads.objects import Content, StoredObject
from cloudslice.uploads.stores import BucketOpener

_CONTENT_TYPES = {"ogg": "audio/ogg", "png": "image/png", "jpg": "image/jpeg"}
_HEALTHY = 64
_FAILING = 32
_RETRY_S = 10.0
"""What cannot be put on record is tried again so much later."""
_RECORD_WITHIN_S = 0.25
"""What is stored is on record, and its event on its way, so much later at most."""

_log = structlog.get_logger(__name__)


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
    errors: int = 0
    """Exceptions that nobody foresaw; what they befell is tried again."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A bucket has acknowledged a slice."""

    record: SliceRecord
    bucket: Bucket
    on_recorded: Callable[[SliceRecord], object]


@dataclass(slots=True)
class UploadContext:
    """What all lanes share."""

    database: Database
    spool: Spool
    ledger: Ledger
    open_bucket: BucketOpener
    clock: Clock
    steady_ms: Callable[[], int]
    """The time for the retention, of a clock that is steady over restarts."""
    pace: UploadPace
    retention_s: float
    patience_s: float
    """So long uploads may fail after a task's end before 1005 says that they are incomplete."""
    counters: UploadCounters = field(default_factory=UploadCounters)
    random: Random = field(default_factory=Random)
    healthy: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_HEALTHY))
    """Uploads under way in lanes whose last upload went well."""
    failing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_FAILING))
    """Those in the other lanes, apart: any number of dead buckets leaves the healthy ones room."""
    receipts: Gatherer[Receipt] = field(init=False)
    """Has the events of stored slices on record, then removes their files from the spool."""
    _faults: Faults = field(default_factory=lambda: Faults("uploads"))

    def __post_init__(self) -> None:
        self.receipts = Gatherer(
            self.database,
            self._record,
            self._remove,
            within_s=_RECORD_WITHIN_S,
            what="record stored slices",
            caught=self.caught,
            retry_s=_RETRY_S,
        )

    def caught(self, error: Exception, **fields: object) -> None:
        """Count and log an exception that nobody foresaw."""
        self.counters.errors += 1
        self._faults.caught(error, **fields)

    def _record(self, connection: sqlite3.Connection, receipt: Receipt) -> None:
        self.ledger.complete(connection, receipt.record, receipt.bucket)

    def _remove(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            self.counters.stored += 1
            self.counters.stored_bytes += receipt.record.size
            try:
                receipt.on_recorded(receipt.record)
                self.spool.remove(receipt.record)
            except Exception as error:
                self.caught(error, key=receipt.record.object_key)
        # One line for all of them: making it is among the dearer things done for a slice.
        _log.info("slices stored", keys=[each.record.object_key for each in receipts])


def to_object(record: SliceRecord, content: Content) -> StoredObject:
    """What a slice is in its bucket."""
    return StoredObject(
        key=record.object_key,
        content=content,
        content_type=_CONTENT_TYPES.get(record.origin.extension, "application/octet-stream"),
        metadata={
            **record.details,
            "start-ms": str(record.start_ms),
            "duration-ms": str(record.duration_ms),
            "sha256": record.sha256,
        },
    )
