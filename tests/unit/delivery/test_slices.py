"""Records of slices: names that are used once, and slices found when they are due."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cloudslice.delivery import consignors, slices
from cloudslice.slices import Bucket, SliceOrigin, Vendor
from helpers.delivery import AUDIO, BOX, PICTURE, START_MS, TASK, open_memory

KEY = "prefix1/9-EXAMPLE+TaskId../anchor_1/audios/1400000000_150_anchor_1_202311142213{}.ogg"


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = open_memory()
    bucket = Bucket(Vendor.COS, "r", "b", "AK", "SK", ("prefix1",))
    consignors.insert(connection, TASK, bucket, BOX)
    yield connection
    connection.close()


def key_of(connection: sqlite3.Connection, slice_id: int) -> str:
    row = connection.execute("SELECT object_key FROM slices WHERE id = ?", (slice_id,)).fetchone()
    key: str = row[0]
    return key


def register(
    connection: sqlite3.Connection, offset_ms: int = 0, origin: SliceOrigin = AUDIO
) -> str:
    slice_id = slices.register(connection, origin, START_MS + offset_ms, 0)
    return key_of(connection, slice_id)


def add_waiting(connection: sqlite3.Connection, size: int = 10, created_ms: int = 0) -> int:
    slice_id = slices.register(connection, AUDIO, START_MS, created_ms)
    slices.describe(connection, slice_id, 15000, {"channels": "2"})
    slices.mark_waiting(connection, slice_id, size, "hash")
    return slice_id


def test_a_key_has_the_second_of_the_first_sample(connection: sqlite3.Connection) -> None:
    """Milliseconds are cut off, not rounded."""
    assert register(connection, 0) == KEY.format(21)
    assert register(connection, 1992) == KEY.format(22)
    assert register(connection, 1993) == KEY.format(23)


def test_a_used_name_gives_the_next_free_second(connection: sqlite3.Connection) -> None:
    """Free seconds in between are found; the ones behind are not disturbed."""
    taken = [register(connection, offset) for offset in (0, 0, 3000, 0, 0, 0)]
    assert taken == [KEY.format(second) for second in (21, 22, 24, 23, 25, 26)]


def test_names_are_apart_by_kind_anchor_and_extension(connection: sqlite3.Connection) -> None:
    """Only what would be the same key is in the way."""
    origins = [
        AUDIO,
        PICTURE,
        replace(PICTURE, extension="jpg"),
        replace(AUDIO, user_id="anchor_2"),
    ]
    keys = [register(connection, 0, origin) for origin in origins]
    assert all("20231114221321" in key for key in keys)
    assert len(set(keys)) == 4


def test_a_delivered_slices_name_stays_used(connection: sqlite3.Connection) -> None:
    """Its object is in the bucket, and would be replaced."""
    slices.delete(connection, add_waiting(connection))
    assert register(connection) == KEY.format(22)


def test_a_discarded_slices_name_is_free_again(connection: sqlite3.Connection) -> None:
    """No object has it."""
    slices.delete_unused(connection, [add_waiting(connection)])
    assert register(connection) == KEY.format(21)


def test_a_slice_of_an_unknown_task_is_refused(connection: sqlite3.Connection) -> None:
    with pytest.raises(slices.UnknownTaskError, match="no task other"):
        register(connection, 0, replace(AUDIO, task_id="other"))


def test_a_record_has_all_that_was_handed_in(connection: sqlite3.Connection) -> None:
    slice_id = add_waiting(connection, size=7, created_ms=5)
    assert slices.find_due(connection, TASK.task_id, 0, 10) == [
        slices.SliceRecord(
            id=slice_id,
            origin=AUDIO,
            object_key=KEY.format(21),
            start_ms=START_MS,
            duration_ms=15000,
            details={"channels": "2"},
            size=7,
            sha256="hash",
            created_ms=5,
            attempts=0,
        )
    ]


def test_due_slices_come_oldest_first_and_not_while_postponed(
    connection: sqlite3.Connection,
) -> None:
    """A postponed slice comes after its time; one that grows, or is under way, does not."""
    first, second, third, fourth = (add_waiting(connection) for _ in range(4))
    slices.register(connection, AUDIO, START_MS, 0)
    slices.postpone(connection, first, due_at=50.0)

    def due(now: float, limit: int = 10) -> list[int]:
        found = slices.find_due(connection, TASK.task_id, now, limit, exclude=(third,))
        return [record.id for record in found]

    assert due(49.9) == [second, fourth]
    assert due(50.0) == [second, fourth, first]
    assert due(50.0, limit=1) == [second]
    assert slices.find_next_due(connection, TASK.task_id, (second, third, fourth)) == 50.0
    slices.hasten(connection)
    assert due(0) == [first, second, fourth]


def test_the_oldest_slices_make_room(connection: sqlite3.Connection) -> None:
    """As many as are needed, those under way left out."""
    ids = [add_waiting(connection, size=100) for _ in range(5)]
    found = slices.find_oldest(connection, 150, exclude=(ids[0],))
    assert [record.id for record in found] == ids[1:3]


def test_a_finished_slices_name_is_that_of_its_start(connection: sqlite3.Connection) -> None:
    """The second that was reserved at its beginning is free again, for whom it is right."""
    slice_id = slices.register(connection, AUDIO, START_MS + 3000, 0)
    slices.fix_start(connection, slice_id, START_MS + 100)
    slices.describe(connection, slice_id, 15000, {})
    found = slices.mark_waiting(connection, slice_id, 1, "hash")
    assert found is not None
    assert (found.object_key, found.start_ms) == (KEY.format(21), START_MS + 100)
    assert register(connection, 3000) == KEY.format(24)
    assert register(connection, 0) == KEY.format(22)


def test_a_name_is_fixed_as_the_next_free_second(connection: sqlite3.Connection) -> None:
    """What was delivered keeps its name; nothing is replaced in the bucket."""
    slices.delete(connection, add_waiting(connection))
    slice_id = slices.register(connection, AUDIO, START_MS + 3000, 0)
    slices.fix_start(connection, slice_id, START_MS)
    assert key_of(connection, slice_id) == KEY.format(22)


def test_a_start_in_the_same_second_keeps_the_name(connection: sqlite3.Connection) -> None:
    register(connection)
    slice_id = slices.register(connection, AUDIO, START_MS, 0)
    for _ in range(2):
        slices.fix_start(connection, slice_id, START_MS - 7)
        assert key_of(connection, slice_id) == KEY.format(22)
    slices.fix_start(connection, 77, START_MS)
