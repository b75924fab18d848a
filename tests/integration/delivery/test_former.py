"""What a version has left that kept its slices on record in the database is delivered."""

import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from cloudslice.migrations import migrate
from cloudslice.spool import former
from helpers.delivery import (
    AUDIO,
    BOX,
    CALLBACK_KEY,
    DATABASE,
    PICTURE,
    START_MS,
    TASK,
    Site,
    make_test_bucket,
)
from helpers.former_schema import SCHEMA as FORMER
from helpers.webhooks import WebhookReceiver

SECOND = START_MS // 1000
KEY = "prefix1/9-EXAMPLE+TaskId../anchor_1/{}/1400000000_150_anchor_1_202311142213{}.{}"


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        yield receiver


@pytest.fixture
def site(tmp_path: Path, receiver: WebhookReceiver) -> Site:
    """With a task, a picture that waits, audio that grew, and one slice that is damaged."""
    site = Site(tmp_path / "data", f"file://{tmp_path}/buckets", receiver.url)
    spool = site.data_dir / "spool"
    spool.mkdir(parents=True)
    bucket = make_test_bucket()
    keys = BOX.seal(json.dumps([bucket.access_key, bucket.secret_key]), f"bucket of {TASK.task_id}")
    with closing(sqlite3.connect(site.data_dir / DATABASE)) as connection, connection:
        migrate(connection, [FORMER])
        connection.execute(
            "INSERT INTO consignors VALUES (?, ?, '150', ?, 0, ?, ?, ?, ?, 0, 1, 0, 2)",
            (
                TASK.task_id, TASK.sdk_app_id, TASK.robot_user_id, bucket.region, bucket.name,
                json.dumps(bucket.prefix), keys,
            ),
        )  # fmt: skip
        connection.execute(
            "INSERT INTO name_lanes VALUES (1, ?, 'anchor_1', 'audios', 'ogg')", (TASK.task_id,)
        )
        connection.executemany("INSERT INTO names VALUES (1, ?)", [(SECOND,), (SECOND + 1,)])
        slices = [
            (5, PICTURE, KEY.format("images", 21, "png"), 1, 0, b"picture", b"picture"),
            (6, AUDIO, KEY.format("audios", 22, "ogg"), 0, None, b"heard", b"heard"),
            (7, PICTURE, KEY.format("images", 23, "png"), 1, 0, b"damaged", b"written"),
        ]
        for number, origin, key, waiting, duration_ms, content, written in slices:
            sha256 = hashlib.sha256(written).hexdigest() if waiting else None
            connection.execute(
                "INSERT INTO slices (id, task_id, user_id, kind, extension, object_key, utc_second,"
                " start_ms, created_ms, waiting, duration_ms, details, size, sha256)"
                " VALUES (?, ?, 'anchor_1', ?, ?, ?, ?, ?, 5, ?, ?, '{\"k\": \"v\"}', 7, ?)",
                (
                    number, TASK.task_id, origin.kind.value, origin.extension, key, SECOND,
                    START_MS, waiting, duration_ms, sha256,
                ),
            )  # fmt: skip
            (spool / f"{number}.{'slice' if waiting else 'part'}").write_bytes(content)
    return site


async def test_slices_of_a_former_version_are_delivered(
    site: Site, receiver: WebhookReceiver
) -> None:
    """Under their keys; names that are used stay so, and what is damaged is set aside."""
    former.take_over(site.data_dir / DATABASE, site.data_dir / "spool", BOX)
    async with site.open() as delivery:
        await receiver.wait_for_type(1004, count=2)
        assert delivery.spool.files_set_aside == 1
        await delivery.record_stop()
        await receiver.wait_for_type(1005)
    told = {event["EventInfo"]["Payload"]["FileName"] for event in receiver.of_type(1004)}
    # 21 and 22 were used by audio: the one that grew had not got its name for good.
    assert told == {KEY.format("images", 21, "png"), KEY.format("audios", 23, "ogg")}
    (end,) = receiver.of_type(1005)
    assert end["EventInfo"]["Payload"] == {"Status": 1}  # two slices were lost before
    assert receiver.of_type(1003) == []  # it was told before


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_kill_in_between_changes_nothing(site: Site, kept: int) -> None:
    """Whatever was taken over when it came, the next start does the rest."""
    spool = site.data_dir / "spool"
    before = {path.name: path.read_bytes() for path in spool.iterdir()}
    copy = (site.data_dir / DATABASE).read_bytes()
    former.take_over(site.data_dir / DATABASE, spool, BOX)
    after = {path: path.read_bytes() for path in (spool / TASK.task_id).iterdir()}
    (site.data_dir / DATABASE).write_bytes(copy)
    for name in sorted(before)[kept:]:
        (spool / name).write_bytes(before[name])
    former.take_over(site.data_dir / DATABASE, spool, BOX)
    again = {path: path.read_bytes() for path in (spool / TASK.task_id).iterdir()}
    assert {path: data for path, data in again.items() if path.suffix} == {
        path: data for path, data in after.items() if path.suffix
    }


def test_a_database_of_this_version_is_left_alone(tmp_path: Path) -> None:
    former.take_over(tmp_path / "none.db", tmp_path / "spool", BOX)
    assert not (tmp_path / "spool").exists()


DAMAGED_TASKS = {
    "sdk_app_id": "x",
    "room_id": "{",
    "robot_user_id": b"bytes",
    "vendor": 99,
    "region": b"bytes",
    "bucket": b"\xff",
    "prefix": "7",
    "credentials": "text",
    "task_id": "../outside",
}
DAMAGED_SLICES = {
    "kind": "smells",
    "extension": b"png",
    "user_id": b"\xff",
    "object_key": b"bytes",
    "details": "[",
    "start_ms": "soon",
    "created_ms": "late",
    "duration_ms": "long",
}


def damage(site: Site, table: str, column: str, value: object, condition: str) -> None:
    with closing(sqlite3.connect(site.data_dir / DATABASE)) as connection, connection:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {condition}", (value,))  # noqa: S608


@pytest.mark.parametrize(("column", "value"), DAMAGED_TASKS.items())
async def test_a_task_that_cannot_be_read(site: Site, column: str, value: object) -> None:
    """Nobody can say where its slices go: they are set aside, and the start goes on."""
    damage(site, "consignors", column, value, "1")
    former.take_over(site.data_dir / DATABASE, site.data_dir / "spool", BOX)
    async with site.open() as delivery:
        assert delivery.spool.files_set_aside == 3
        assert delivery.uploader.count_waiting() == 0
    assert not (site.data_dir / "outside").exists()


@pytest.mark.parametrize(("column", "value"), DAMAGED_SLICES.items())
async def test_a_slice_that_cannot_be_read(
    site: Site, receiver: WebhookReceiver, column: str, value: object
) -> None:
    """It is set aside, and the others are delivered."""
    damage(site, "slices", column, value, "id = 5")
    former.take_over(site.data_dir / DATABASE, site.data_dir / "spool", BOX)
    async with site.open() as delivery:
        await receiver.wait_for_type(1004)
        assert delivery.spool.files_set_aside == 2
    (told,) = receiver.of_type(1004)
    assert told["EventInfo"]["Payload"]["FileName"] == KEY.format("audios", 23, "ogg")


async def test_a_text_that_is_no_utf_8(site: Site, receiver: WebhookReceiver) -> None:
    """It ends its slice, not the start."""
    with closing(sqlite3.connect(site.data_dir / DATABASE)) as connection, connection:
        connection.execute("UPDATE slices SET object_key = CAST(x'ff' AS TEXT) WHERE id = 5")
    former.take_over(site.data_dir / DATABASE, site.data_dir / "spool", BOX)
    async with site.open() as delivery:
        await receiver.wait_for_type(1004)
        assert delivery.spool.files_set_aside == 2


async def test_a_name_that_cannot_be_read(site: Site, receiver: WebhookReceiver) -> None:
    damage(site, "names", "second", "x", f"second = {SECOND}")
    former.take_over(site.data_dir / DATABASE, site.data_dir / "spool", BOX)
    async with site.open():
        await receiver.wait_for_type(1004, count=2)
