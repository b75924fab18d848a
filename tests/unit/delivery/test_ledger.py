"""Events 1003, 1005 and 1006: when each is due."""

import sqlite3
from collections.abc import Iterator

import pytest

from cloudslice.config import StorageSettings
from cloudslice.delivery import consignors, slices
from cloudslice.delivery.ledger import Ledger
from cloudslice.delivery.outbox import EventRecorder
from cloudslice.secrets import SecretBox
from cloudslice.slices import Bucket, Vendor
from cloudslice.uploads.storage_errors import StorageError
from helpers.delivery import APP, AUDIO, BOX, START_MS, TASK, open_memory
from helpers.slice_store import ManualClock
from cloudslice.delivery.storage_errors import StorageError
from cloudslice.events import (
    SliceStored,
    UploadFailed,
    UploadsEnded,
    UploadsOutcome,
    UploadsStarted,
)
from cloudslice.slices import Bucket, Slice, Vendor
from helpers.delivery import AUDIO, BOX, START_MS, TASK, KeptEvents, open_memory

DENIED = StorageError(403, "AccessDenied", "Access Denied.")
BUCKET = Bucket(Vendor.COS, "ap-guangzhou", "demo-1250000000", "AK", "SK")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = open_memory()
    consignors.insert(connection, TASK, BUCKET, BOX)
    yield connection
    connection.close()


@pytest.fixture
def kept() -> KeptEvents:
    return KeptEvents()


@pytest.fixture
def ledger(kept: KeptEvents) -> Ledger:
    return Ledger(kept.bus, BOX, StorageSettings())


def add_waiting(connection: sqlite3.Connection) -> slices.SliceRecord:
    slice_id = slices.register(connection, AUDIO, START_MS, 0)
    slices.describe(connection, slice_id, 15000, {})
    slices.mark_waiting(connection, slice_id, 1, "hash")
    return slices.find_due(connection, TASK.task_id, 0, 100)[-1]


def failed(error: StorageError) -> UploadFailed:
    return UploadFailed(TASK, error.status, str(error))


@pytest.mark.parametrize("error", [pytest.param(None, id="ready"), pytest.param(DENIED, id="not")])
def test_uploads_are_announced_once(
    connection: sqlite3.Connection, ledger: Ledger, kept: KeptEvents, error: StorageError | None
) -> None:
    """1003 says whether the first try could be made; it comes never again."""
    for each in (error, None, DENIED):
        ledger.announce_uploads(connection, TASK.task_id, each)
    assert kept.events == [UploadsStarted(TASK, has_failed=error is not None)]


def test_each_reason_is_reported_once(
    connection: sqlite3.Connection, ledger: Ledger, kept: KeptEvents
) -> None:
    """Status and code make the reason; the text may vary."""
    no_bucket, timeout = (
        StorageError(404, "NoSuchBucket", "No."),
        StorageError(0, "Timeout", "Late."),
    )
    errors = [
        DENIED,
        StorageError(403, "AccessDenied", "In other words."),
        no_bucket,
        timeout,
        DENIED,
    ]
    news = [ledger.report(connection, TASK.task_id, error) for error in errors]
    assert news == [True, False, True, True, False]
    assert kept.events == [failed(DENIED), failed(no_bucket), failed(timeout)]
    assert kept.events[0] == UploadFailed(TASK, 403, "AccessDenied: Access Denied.")


def test_a_completed_slice_is_told_once(
    connection: sqlite3.Connection, ledger: Ledger, kept: KeptEvents
) -> None:
    """With all there is to know of it. A repeated upload of one off the record says nothing."""
    record = add_waiting(connection)
    for _ in range(2):
        ledger.complete(connection, record, BUCKET)
    (stored,) = kept.events
    assert isinstance(stored, SliceStored)
    assert stored.task == TASK
    assert stored.slice == Slice(
        str(record.id), AUDIO, record.object_key, START_MS, 15000, {}, 1, "hash"
    )
    assert stored.url.startswith("https://demo-1250000000.cos.ap-guangzhou.myqcloud.com/")
    assert slices.count_waiting(connection) == 0


def test_a_task_that_goes_on_is_not_settled(
    connection: sqlite3.Connection, ledger: Ledger, kept: KeptEvents
) -> None:
    assert not ledger.settle(connection, TASK.task_id, is_patience_over=True)
    assert kept.events == []


@pytest.mark.parametrize(
    ("lost", "outcome"),
    [
        pytest.param(0, UploadsOutcome.ALL_STORED, id="all stored"),
        pytest.param(1, UploadsOutcome.INCOMPLETE, id="one was lost"),
    ],
)
def test_an_ended_task_without_slices_is_settled(
    connection: sqlite3.Connection,
    ledger: Ledger,
    kept: KeptEvents,
    lost: int,
    outcome: UploadsOutcome,
) -> None:
    """1005 tells how it went, and the task is forgotten, its keys too."""
    consignors.add_lost(connection, TASK.task_id, lost)
    consignors.mark_ended(connection, TASK.task_id)
    assert ledger.settle(connection, TASK.task_id, is_patience_over=False)
    assert kept.events == [UploadsEnded(TASK, outcome)]
    assert consignors.find(connection, TASK.task_id) is None
    assert ledger.settle(connection, TASK.task_id, is_patience_over=False)
    assert len(kept.events) == 1


@pytest.mark.parametrize(
    ("is_lost", "later"),
    [
        pytest.param(
            False, [UploadsEnded(TASK, UploadsOutcome.LEFTOVERS_STORED)], id="stored later"
        ),
        pytest.param(True, [failed(DENIED)], id="given up"),
    ],
)
def test_leftovers_are_told_when_patience_is_over(
    connection: sqlite3.Connection,
    ledger: Ledger,
    kept: KeptEvents,
    is_lost: bool,
    later: list[object],
) -> None:
    """Status 1 once while slices are left; Status 2 only if they are stored in the end."""
    record = add_waiting(connection)
    consignors.mark_ended(connection, TASK.task_id)
    assert not ledger.settle(connection, TASK.task_id, is_patience_over=False)
    assert kept.events == []
    for _ in range(2):
        assert not ledger.settle(connection, TASK.task_id, is_patience_over=True)
    assert kept.events == [UploadsEnded(TASK, UploadsOutcome.INCOMPLETE)]
    if is_lost:
        assert ledger.give_up(connection, [record], DENIED) == [record]
        assert ledger.give_up(connection, [record], DENIED) == []
    else:
        slices.delete(connection, record.id)
    assert ledger.settle(connection, TASK.task_id, is_patience_over=True)
    assert kept.events[1:] == later


def test_slices_that_are_given_up_are_told_each_time(
    connection: sqlite3.Connection, ledger: Ledger, kept: KeptEvents
) -> None:
    """Once for those of a time, and again for later ones, whatever was reported before."""
    ledger.report(connection, TASK.task_id, DENIED)
    for count in (1, 3):
        records = [add_waiting(connection) for _ in range(count)]
        ledger.give_up(connection, records, DENIED)
    assert kept.events == [failed(DENIED)] * 3
    ending = consignors.find_ending(connection, TASK.task_id)
    assert ending is not None
    assert ending.lost == 4


def test_a_bucket_comes_back_decrypted(connection: sqlite3.Connection, ledger: Ledger) -> None:
    assert ledger.load_bucket(connection, TASK.task_id) == BUCKET
    dump = b"".join(connection.execute("SELECT credentials FROM consignors").fetchone())
    assert b"SK" not in dump


def test_a_bucket_whose_keys_cannot_be_decrypted(
    connection: sqlite3.Connection, kept: KeptEvents
) -> None:
    """It is a storage error like any other, so that it is told and tried again."""
    ledger = Ledger(kept.bus, SecretBox(b"x" * 32), StorageSettings())
    with pytest.raises(StorageError, match="InvalidSecret"):
        ledger.load_bucket(connection, TASK.task_id)
