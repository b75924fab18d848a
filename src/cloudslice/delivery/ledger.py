"""What becomes of slices and what is said of it, each in one transaction: operations on the
database, so that no event can be without its cause nor a cause without its event."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cloudslice.config import StorageSettings
from cloudslice.delivery import consignors, slices
from cloudslice.delivery.events import (
    EventType,
    Payload,
    UploadStatus,
    file_payload,
    task_event,
)
from cloudslice.delivery.outbox import EventRecorder
from cloudslice.delivery.slices import SliceRecord
from cloudslice.secrets import SecretBox, SecretKeyError
from cloudslice.slices import Bucket
from cloudslice.uploads.endpoints import object_url
from cloudslice.uploads.storage_errors import StorageError
from cloudslice.uploads.stores import locate
from cloudslice.delivery.endpoints import object_url
from cloudslice.delivery.storage import locate
from cloudslice.delivery.storage_errors import StorageError
from cloudslice.events import (
    Bus,
    SliceStored,
    UploadFailed,
    UploadsEnded,
    UploadsOutcome,
    UploadsStarted,
from cloudslice.slices import Bucket, Slice, TaskRef


@dataclass(frozen=True, slots=True)
class Ledger:
    """Records the steps of deliveries, with their events.

    Attributes:
        bus: records events.
        secrets: decrypts storage keys.
        storage: tells where buckets are.
    """

    bus: Bus
    secrets: SecretBox
    storage: StorageSettings

    def load_bucket(self, connection: sqlite3.Connection, task_id: str) -> Bucket:
        """Where a task's slices go; raises StorageError if that cannot be told."""
        try:
            bucket = consignors.find_bucket(connection, task_id, self.secrets)
        except SecretKeyError as error:
            raise StorageError(0, "InvalidSecret", f"{error}.") from error
        if bucket is None:
            raise StorageError(0, "NoSuchTask", "The task is not on record.")
        return bucket

    def announce_uploads(
        self, connection: sqlite3.Connection, task_id: str, error: StorageError | None
    ) -> None:
        """Event 1003, once, before the first upload; with `error` there will be none for now."""
        if consignors.mark_uploads_announced(connection, task_id):
            has_failed = error is not None
            self._record(connection, task_id, lambda task: UploadsStarted(task, has_failed))

    def complete(self, connection: sqlite3.Connection, record: SliceRecord, bucket: Bucket) -> None:
        """The slice is in the bucket: event 1004, once."""
        consignor = consignors.find(connection, record.origin.task_id)
        if not slices.delete(connection, record.id) or consignor is None:
            return
        url = object_url(locate(bucket, self.storage), record.object_key)
        self.bus.record(connection, SliceStored(consignor, _as_slice(record), url))

    def report(self, connection: sqlite3.Connection, task_id: str, error: StorageError) -> bool:
        """Event 1006, once for each reason; whether it was the first time."""
        if not consignors.add_failure(connection, task_id, error.status, error.code):
            return False
        self._tell(connection, task_id, error)
        return True

    def lose(
        self, connection: sqlite3.Connection, task_id: str, error: StorageError, count: int = 1
    ) -> None:
        """So many slices, or ends of slices, will never be in the bucket: event 1006, each time."""
        consignors.add_lost(connection, task_id, count)
        self._tell(connection, task_id, error)

    def give_up(
        self, connection: sqlite3.Connection, records: Iterable[SliceRecord], error: StorageError
    ) -> list[SliceRecord]:
        """The slices will never be in the bucket; those of them that were still on record."""
        given_up = [record for record in records if slices.delete(connection, record.id)]
        for task_id, count in Counter(each.origin.task_id for each in given_up).items():
            self.lose(connection, task_id, error, count)
        return given_up

    def settle(
        self, connection: sqlite3.Connection, task_id: str, *, is_patience_over: bool
    ) -> bool:
        """Event 1005 if it is due; whether nothing is left to do for the task.

        Args:
            connection: the database.
            task_id: the task.
            is_patience_over: whether to say that uploads are incomplete, if they are.
        """
        ending = consignors.find_ending(connection, task_id)
        if ending is None:
            return True
        if not ending.ended:
            return False
        if ending.open_slices == 0:
            if not ending.incomplete_announced:
                outcome = UploadsOutcome.INCOMPLETE if ending.lost else UploadsOutcome.ALL_STORED
                self._stop_uploads(connection, task_id, outcome)
            elif not ending.lost:
                self._stop_uploads(connection, task_id, UploadsOutcome.LEFTOVERS_STORED)
            consignors.delete(connection, task_id)
            return True
        if is_patience_over and not ending.incomplete_announced:
            consignors.mark_incomplete_announced(connection, task_id)
            self._stop_uploads(connection, task_id, UploadsOutcome.INCOMPLETE)
        return False

    def _tell(self, connection: sqlite3.Connection, task_id: str, error: StorageError) -> None:
        self._record(connection, task_id, lambda task: UploadFailed(task, error.status, str(error)))

    def _stop_uploads(
        self, connection: sqlite3.Connection, task_id: str, outcome: UploadsOutcome
    ) -> None:
        self._record(connection, task_id, lambda task: UploadsEnded(task, outcome))

    def _record(
        self, connection: sqlite3.Connection, task_id: str, make: Callable[[TaskRef], object]
    ) -> None:
        """Record an event of a task, if that is on record."""
        consignor = consignors.find(connection, task_id)
        if consignor is not None:
            self.bus.record(connection, make(consignor))


def _as_slice(record: SliceRecord) -> Slice:
    return Slice(
        name=str(record.id),
        origin=record.origin,
        object_key=record.object_key,
        start_ms=record.start_ms,
        duration_ms=record.duration_ms,
        details=record.details,
        size=record.size,
        sha256=record.sha256,
    )
