"""Events 1003, 1005 and 1006: when each is due."""

import json
import sqlite3
from collections.abc import Iterator

import pytest

from cloudslice.config import AppSettings, StorageSettings
from cloudslice.delivery import consignors, slices
from cloudslice.delivery.ledger import Ledger
from cloudslice.delivery.outbox import EventRecorder
from cloudslice.secrets import SecretBox
from cloudslice.slices import Bucket, Vendor
from cloudslice.uploads.storage_errors import StorageError
from helpers.delivery import APP, AUDIO, BOX, START_MS, TASK, open_memory
from helpers.slice_store import ManualClock

DENIED = StorageError(403, "AccessDenied", "Access Denied.")
BUCKET = Bucket(Vendor.COS, "ap-guangzhou", "demo-1250000000", "AK", "SK")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = open_memory()
    consignors.insert(connection, TASK, BUCKET, BOX)
    yield connection
    connection.close()


def make_ledger(box: SecretBox = BOX, url: str = "http://hook/") -> Ledger:
    app = AppSettings(sdk_app_id=APP, secret_key="x", callback_url=url)
    recorder = EventRecorder({APP: app}.get, ManualClock(), lambda _app, _event: None)
    return Ledger(recorder, box, StorageSettings())


def add_waiting(connection: sqlite3.Connection) -> slices.SliceRecord:
    slice_id = slices.register(connection, AUDIO, START_MS, 0)
    slices.describe(connection, slice_id, 15000, {})
    slices.mark_waiting(connection, slice_id, 1, "hash")
    return slices.find_due(connection, TASK.task_id, 0, 100)[-1]


def recorded(connection: sqlite3.Connection) -> list[tuple[int, object]]:
    """Type and payload of all events so far."""
    rows = connection.execute("SELECT event_type, body FROM events ORDER BY id")
    return [(kind, json.loads(body)["EventInfo"]["Payload"]) for kind, body in rows]


@pytest.mark.parametrize(
    ("error", "status"), [pytest.param(None, 0, id="ready"), pytest.param(DENIED, 1, id="not")]
)
def test_uploads_are_announced_once(
    connection: sqlite3.Connection, error: StorageError | None, status: int
) -> None:
    """1003 with the Status of the first try, never again."""
    ledger = make_ledger()
    for each in (error, None, DENIED):
        ledger.announce_uploads(connection, TASK.task_id, each)
    assert recorded(connection) == [(1003, {"Status": status})]


def test_each_reason_is_reported_once(connection: sqlite3.Connection) -> None:
    """Status and code make the reason; the text may vary."""
    ledger = make_ledger()
    errors = [
        DENIED,
        StorageError(403, "AccessDenied", "In other words."),
        StorageError(404, "NoSuchBucket", "No."),
        StorageError(0, "Timeout", "Late."),
        DENIED,
    ]
    news = [ledger.report(connection, TASK.task_id, error) for error in errors]
    assert news == [True, False, True, True, False]
    assert recorded(connection) == [
        (1006, {"Code": 403, "Message": "AccessDenied: Access Denied."}),
        (1006, {"Code": 404, "Message": "NoSuchBucket: No."}),
        (1006, {"Code": 0, "Message": "Timeout: Late."}),
    ]


def test_a_completed_slice_is_told_once(connection: sqlite3.Connection) -> None:
    """A repeated upload of a slice that is off the record says nothing more."""
    ledger, record = make_ledger(), add_waiting(connection)
    for _ in range(2):
        ledger.complete(connection, record, BUCKET)
    assert [kind for kind, _ in recorded(connection)] == [1004]


def test_an_app_without_url_gets_no_events(connection: sqlite3.Connection) -> None:
    """Nothing is put on record, and the slice is done with all the same."""
    make_ledger(url="").complete(connection, add_waiting(connection), BUCKET)
    assert recorded(connection) == []
    assert slices.count_waiting(connection) == 0


def test_a_task_that_goes_on_is_not_settled(connection: sqlite3.Connection) -> None:
    assert not make_ledger().settle(connection, TASK.task_id, is_patience_over=True)
    assert recorded(connection) == []


@pytest.mark.parametrize(
    ("lost", "status"),
    [pytest.param(0, 0, id="all stored"), pytest.param(1, 1, id="one was lost")],
)
def test_an_ended_task_without_slices_is_settled(
    connection: sqlite3.Connection, lost: int, status: int
) -> None:
    """1005 tells how it went, and the task is forgotten, its keys too."""
    consignors.add_lost(connection, TASK.task_id, lost)
    consignors.mark_ended(connection, TASK.task_id)
    ledger = make_ledger()
    assert ledger.settle(connection, TASK.task_id, is_patience_over=False)
    assert recorded(connection) == [(1005, {"Status": status})]
    assert consignors.find(connection, TASK.task_id) is None
    assert ledger.settle(connection, TASK.task_id, is_patience_over=False)
    assert len(recorded(connection)) == 1


@pytest.mark.parametrize(
    ("is_lost", "later"),
    [
        pytest.param(False, [(1005, {"Status": 2})], id="stored later"),
        pytest.param(True, [(1006, {"Code": 403, "Message": str(DENIED)})], id="given up"),
    ],
)
def test_leftovers_are_told_when_patience_is_over(
    connection: sqlite3.Connection, is_lost: bool, later: list[tuple[int, object]]
) -> None:
    """Status 1 once while slices are left; Status 2 only if they are stored in the end."""
    ledger, record = make_ledger(), add_waiting(connection)
    consignors.mark_ended(connection, TASK.task_id)
    assert not ledger.settle(connection, TASK.task_id, is_patience_over=False)
    assert recorded(connection) == []
    for _ in range(2):
        assert not ledger.settle(connection, TASK.task_id, is_patience_over=True)
    assert recorded(connection) == [(1005, {"Status": 1})]
    if is_lost:
        assert ledger.give_up(connection, [record], DENIED) == [record]
        assert ledger.give_up(connection, [record], DENIED) == []
    else:
        slices.delete(connection, record.id)
    assert ledger.settle(connection, TASK.task_id, is_patience_over=True)
    assert recorded(connection)[1:] == later


def test_slices_that_are_given_up_are_told_each_time(connection: sqlite3.Connection) -> None:
    """Once for those of a time, and again for later ones, whatever was reported before."""
    ledger = make_ledger()
    ledger.report(connection, TASK.task_id, DENIED)
    for count in (1, 3):
        records = [add_waiting(connection) for _ in range(count)]
        ledger.give_up(connection, records, DENIED)
    message = {"Code": 403, "Message": str(DENIED)}
    assert recorded(connection) == [(1006, message)] * 3
    ending = consignors.find_ending(connection, TASK.task_id)
    assert ending is not None
    assert ending.lost == 4


def test_a_bucket_comes_back_decrypted(connection: sqlite3.Connection) -> None:
    assert make_ledger().load_bucket(connection, TASK.task_id) == BUCKET
    dump = b"".join(connection.execute("SELECT credentials FROM consignors").fetchone())
    assert b"SK" not in dump


def test_a_bucket_whose_keys_cannot_be_decrypted(connection: sqlite3.Connection) -> None:
    """It is a storage error like any other, so that it is told and tried again."""
    with pytest.raises(StorageError, match="InvalidSecret"):
        make_ledger(box=SecretBox(b"x" * 32)).load_bucket(connection, TASK.task_id)
