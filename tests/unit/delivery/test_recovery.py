"""A spool is right again after a kill at any moment, and loses nothing with another record."""

import hashlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.delivery import consignors, odd_rows, slices
from cloudslice.slices import SliceKind
from helpers.delivery import AUDIO, BOX, PICTURE, START_MS, TASK, open_memory, repair_by_length
from helpers.odd_files import ODD_FILES, make_odd_file
from helpers.spool_bench import BUCKET, Bench, open_bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as bench:
        yield bench


async def test_a_growing_slice_is_repaired_at_the_next_start(bench: Bench) -> None:
    """What was written until the end of the process is delivered, and says that it was repaired."""
    async with bench.open() as spool:
        spool.grow(AUDIO, START_MS).append(b"heard")
    async with bench.open() as spool:
        (record,) = await bench.records()
        assert spool.path(record).read_bytes() == b"heard repaired"
        assert (record.duration_ms, record.details) == (5, {"repaired": "true"})
        assert record.sha256 == hashlib.sha256(b"heard repaired").hexdigest()
        assert spool.used_bytes == record.size == 14


CRASHES = [
    pytest.param({"duration_ms": None, "waiting": False}, None, id="on record, no file yet"),
    pytest.param(
        {"duration_ms": None, "waiting": False, "part": b"heard"}, (b"heard repaired", 5),
        id="growing",
    ),
    pytest.param({"duration_ms": None, "waiting": False, "part": b""}, None, id="nothing in it"),
    pytest.param(
        {"duration_ms": 9, "waiting": False, "part": b"heard"}, (b"heard repaired", 5),
        id="about to be finished",
    ),
    pytest.param(
        {"duration_ms": 9, "waiting": False, "slice": b"whole"}, (b"whole", 9),
        id="whole, not on record as such",
    ),
    pytest.param(
        {"duration_ms": 9, "waiting": True, "slice": b"whole"}, (b"whole", 9),
        id="waiting",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("left", "expected"), CRASHES)
async def test_every_crash_point_is_put_right(
    bench: Bench, left: dict[str, object], expected: tuple[bytes, int] | None
) -> None:
    """Whatever step a kill came after: the slice is taken up whole, or was never there."""
    await bench.prepare(**left)
    async with bench.open() as spool:
        records = await bench.records()
        found = [(spool.path(record).read_bytes(), record.duration_ms) for record in records]
        assert found == ([] if expected is None else [expected])
        assert len(bench.files) == len(records)
    assert bench.lost == []
    assert await bench.database.run(slices.find_unfinished) == []


async def test_a_file_that_somebody_took_away_is_told(bench: Bench) -> None:
    await bench.prepare(duration_ms=9, waiting=True)
    async with bench.open():
        assert await bench.records() == []
    assert [loss.reason for loss in bench.lost] == ["its file is gone from the spool"]


async def test_an_unfinished_picture_is_discarded(bench: Bench) -> None:
    """There is no repair for it."""
    async with bench.open() as spool:
        spool.grow(PICTURE, START_MS).append(b"half a picture")
    async with bench.open():
        assert (bench.files, await bench.records()) == ([], [])


async def test_a_repair_that_fails_spoils_only_its_slice(bench: Bench) -> None:
    """The others are taken up, and the loss is told."""

    def repair(path: Path) -> int | None:
        if path.read_bytes() == b"bad":
            raise ValueError("cannot be parsed")
        return repair_by_length(path)

    bench.repairs[SliceKind.AUDIO] = repair
    for data in (b"bad", b"good"):
        await bench.prepare(duration_ms=None, waiting=False, part=data)
    async with bench.open():
        assert [record.duration_ms for record in await bench.records()] == [4]
    assert [loss.reason for loss in bench.lost] == ["its file cannot be repaired: cannot be parsed"]


async def test_files_that_the_record_does_not_know_are_set_aside(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever their names; each is told with its size, and counted."""
    await bench.prepare(duration_ms=9, waiting=True, slice=b"whole")
    strays = {
        "77.slice": b"finished",
        "78.part": b"heard",
        "1.part": b"of another life",
        "-1.slice": b"-1",
        "x.slice": b"x",
    }
    for name, data in strays.items():
        (bench.directory / name).write_bytes(data)
    async with bench.open() as spool:
        assert bench.files == ["1.slice"]
        assert bench.quarantined == strays
        assert (spool.files_set_aside, spool.used_bytes) == (5, 5)
    told = capsys.readouterr().out
    assert "77.slice" in told
    assert "size=8" in told


async def test_what_was_set_aside_is_never_replaced(bench: Bench) -> None:
    """Another file of the same name is kept beside it."""
    bench.directory.mkdir()
    for data in (b"first", b"second"):
        (bench.directory / "1.slice").write_bytes(data)
        async with bench.open() as spool:
            spool.grow(AUDIO, START_MS).append(b"new")
            await spool.flush()
            (bench.directory / bench.files[-1]).unlink()
    assert bench.quarantined == {"1.slice": b"first", "1.2.slice": b"second"}


@pytest.mark.parametrize("is_fresh", [True, False], ids=["fresh database", "copy of it"])
async def test_a_file_of_another_database_is_no_slice_on_record(
    tmp_path: Path, is_fresh: bool
) -> None:
    """Two databases that know nothing of each other never give the same id. What one had spooled
    is not delivered by the other, to whose bucket it would go."""
    first, second = tmp_path / "first", tmp_path / "second"
    shared = tmp_path / "spool"
    first.mkdir()
    async with open_bench(first):
        pass
    if is_fresh:
        second.mkdir()
    else:
        shutil.copytree(first, second)
    async with open_bench(first, shared) as bench:
        async with bench.open() as spool:
            for _ in range(20):
                spool.grow(AUDIO, START_MS).append(b"heard")
        for name in bench.files:
            (shared / name).unlink()
    async with open_bench(second, shared) as bench:
        async with bench.open() as spool:
            for _ in range(20):
                spool.put(AUDIO, START_MS, b"another", {})
        foreign = bench.files
    async with open_bench(first, shared) as bench:
        async with bench.open():
            assert await bench.records() == []
        assert bench.quarantined == dict.fromkeys(foreign, b"another")
    assert len(foreign) == 20


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("suffix", ["slice", "part"])
@pytest.mark.parametrize("duration_ms", [None, 9])
async def test_what_is_no_regular_file_is_set_aside(
    bench: Bench, kind: str, suffix: str, duration_ms: int | None
) -> None:
    """Nobody reads it, which would take for ever with a FIFO; the others are taken up."""
    odd = await bench.prepare(duration_ms=duration_ms, waiting=False)
    await bench.prepare(duration_ms=9, waiting=True, slice=b"whole")
    name = f"{odd}.{suffix}"
    make_odd_file(bench.directory / name, kind)
    make_odd_file(bench.directory / f"77.{suffix}", kind)
    bench.repairs[SliceKind.AUDIO] = lambda path: len(path.read_bytes())
    async with bench.open() as spool:
        assert [record.id for record in await bench.records()] == [2]
        assert spool.files_set_aside == 2
    assert {path.name for path in (bench.directory / "quarantine").iterdir()} == {
        name,
        f"77.{suffix}",
    }
    assert [loss.reason for loss in bench.lost] == [
        "its file cannot be repaired: it is no regular file"
    ]


async def test_ids_go_on_whatever_the_files_are_called(bench: Bench) -> None:
    """Somebody's file with the highest number of all does not use up the ids."""
    bench.directory.mkdir()
    strays = {f"{id_}.slice": b"stray" for id_ in (10**18 - 1, 2**63 - 1, 10**30)}
    for name, data in strays.items():
        (bench.directory / name).write_bytes(data)
    ids = [0]
    for _ in range(3):
        async with bench.open() as spool:
            spool.put(PICTURE, START_MS, b"picture", {})
            await spool.flush()
        ids.append((await bench.records())[-1].id)
    assert ids == sorted(set(ids))
    assert len(bench.files) == 3
    assert bench.quarantined == strays


async def test_a_delivered_file_is_removed(bench: Bench) -> None:
    """One whose slice went off the record just before the end; not another one of that name."""
    ids = []
    async with bench.open() as spool:
        for data in (b"delivered", b"given up"):
            spool.put(PICTURE, START_MS, data, {})
        await spool.flush()
        for record in await bench.records():
            ids.append(record.id)
            await bench.database.run(lambda c, id_=record.id: slices.delete(c, id_))
    assert len(bench.files) == 2
    (bench.directory / f"{ids[1]}.slice").write_bytes(b"altered!")
    async with bench.open() as spool:
        assert (bench.files, spool.used_bytes) == ([], 0)
    assert bench.quarantined == {f"{ids[1]}.slice": b"altered!"}
    assert await bench.database.run(slices.find_removals) == {}


async def test_a_removal_is_forgotten_when_the_file_is_gone(bench: Bench) -> None:
    async with bench.open() as spool:
        spool.put(PICTURE, START_MS, b"first", {})
        await spool.flush()
        (record,) = await bench.records()
        await bench.database.run(lambda c: slices.delete(c, record.id))
        spool.remove(record)
        spool.put(PICTURE, START_MS, b"second", {})
        await spool.flush()
        assert await bench.database.run(slices.find_removals) == {}


async def alter(bench: Bench, column: str, value: object) -> None:
    await bench.database.run(
        lambda c: c.execute(f"UPDATE slices SET {column} = ? WHERE id = 1", (value,))  # noqa: S608
    )


@pytest.mark.parametrize(
    ("column", "waiting"),
    [("duration_ms", True), ("duration_ms", False), ("size", True), ("sha256", True)],
)
async def test_what_a_row_does_not_know_is_taken_from_the_file(
    bench: Bench, column: str, waiting: bool
) -> None:
    """A row without duration, as an older copy of the database has it for a newer file."""
    await bench.prepare(duration_ms=5, waiting=waiting, slice=b"whole")
    await alter(bench, column, None)
    bench.repairs[SliceKind.AUDIO] = lambda path: path.stat().st_size
    async with bench.open():
        (record,) = await bench.records()
    assert (record.duration_ms, record.size) == (5, 5)
    assert record.sha256 == hashlib.sha256(b"whole").hexdigest()
    assert (bench.lost, bench.quarantined) == ([], {})


async def test_a_row_without_duration_whose_file_is_no_slice(bench: Bench) -> None:
    """The file is set aside, and the loss is told."""
    await bench.prepare(duration_ms=None, waiting=False, slice=b"")
    async with bench.open():
        assert await bench.records() == []
    assert bench.quarantined == {"1.slice": b""}
    assert [loss.reason for loss in bench.lost] == [
        "its file cannot be repaired: nothing in it can be delivered"
    ]
    assert bench.recorded == {bench.lost[0]: 1}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("kind", "smells"),
        ("kind", b"\x00"),
        ("details", "{"),
        ("details", '{"k": 1}'),
        ("start_ms", "yesterday"),
        ("duration_ms", "long"),
        ("sha256", b"hash"),
        ("object_key", b"key"),
        ("due_at", "soon"),
    ],
)
async def test_a_row_that_cannot_be_understood(bench: Bench, column: str, value: object) -> None:
    """Its file is set aside, the loss is told, and the other slices are taken up."""
    await bench.prepare(duration_ms=9, waiting=True, slice=b"whole")
    await bench.prepare(duration_ms=9, waiting=True, slice=b"other")
    await alter(bench, column, value)
    async with bench.open():
        assert [record.id for record in await bench.records()] == [2]
    assert bench.quarantined == {"1.slice": b"whole"}
    assert [loss.reason[:33] for loss in bench.lost] == ["the record of it cannot be used: "]
    assert sum(bench.recorded.values()) == 1


def test_a_row_of_no_task_is_odd() -> None:
    """Nobody could say where the slice is to go."""
    connection = open_memory()
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(
        "INSERT INTO slices (task_id, user_id, kind, extension, object_key, utc_second, start_ms,"
        " created_ms) VALUES ('gone', 'anchor_1', 'audios', 'ogg', 'key', 0, 0, 0)"
    )
    (row,) = odd_rows.forget_odd(connection)
    assert row.fault == "its task is not on record"
    assert row.origin == replace(AUDIO, task_id="gone")
    assert odd_rows.forget_odd(connection) == []
    connection.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("room_id", "g{"),
        ("room_id", "[1]"),
        ("room_id", "null"),
        ("room_id", b"150"),
        ("prefix", "g{"),
        ("prefix", '"text"'),
        ("prefix", "[1]"),
        ("vendor", 77),
        ("vendor", "cos"),
        ("sdk_app_id", "x"),
        ("credentials", "text"),
        ("ended", "yes"),
        ("lost", "many"),
    ],
)
async def test_a_task_whose_row_cannot_be_understood(
    bench: Bench, capsys: pytest.CaptureFixture[str], column: str, value: object
) -> None:
    """Its slices are set aside and told as lost, and those of other tasks are taken up."""
    other = replace(TASK, task_id="other")
    await bench.database.run(lambda c: consignors.insert(c, other, BUCKET, BOX))
    async with bench.open() as spool:
        spool.put(replace(PICTURE, task_id="other"), START_MS, b"picture", {})
    await bench.prepare(duration_ms=9, waiting=True, slice=b"whole")
    await bench.prepare(duration_ms=9, waiting=True)
    await bench.prepare(duration_ms=None, waiting=False, part=b"grows")
    await bench.database.run(
        lambda c: c.execute(
            f"UPDATE consignors SET {column} = ? WHERE task_id != 'other'",  # noqa: S608
            (value,),
        )
    )
    async with bench.open() as spool:
        (record,) = await bench.records()
        assert record.origin.task_id == "other"
        assert spool.files_set_aside == 2
    assert [loss.reason for loss in bench.lost] == [
        "the record of it cannot be used: its task is not on record"
    ] * 3
    told = capsys.readouterr().out
    assert "row deleted that cannot be read" in told
    assert TASK.task_id in told


async def test_a_used_name_that_cannot_be_read(bench: Bench) -> None:
    """It is in no new slice's way."""
    await bench.prepare(duration_ms=9, waiting=True, slice=b"whole")
    await bench.database.run(lambda c: c.execute("UPDATE names SET second = 'noon'"))
    async with bench.open() as spool:
        spool.grow(AUDIO, START_MS).append(b"new")
    assert bench.lost == []


async def test_losses_of_a_kind_are_told_together(bench: Bench) -> None:
    """An older copy of the database may miss thousands of files."""
    for _ in range(3):
        await bench.prepare(duration_ms=9, waiting=True)
    async with bench.open():
        assert await bench.records() == []
    assert list(bench.recorded.values()) == [3]


async def test_what_cannot_be_set_aside_stays(bench: Bench) -> None:
    """The start goes on."""
    bench.directory.mkdir()
    (bench.directory / "7.slice").write_bytes(b"stray")
    (bench.directory / "quarantine").write_bytes(b"no directory")
    async with bench.open() as spool:
        spool.put(PICTURE, START_MS, b"picture", {})
        await spool.flush()
        (record,) = await bench.records()
        assert set(bench.files) == {"7.slice", f"{record.id}.slice"}
        assert (bench.directory / "7.slice").read_bytes() == b"stray"


async def test_times_that_were_fixed_before_a_kill_stay(bench: Bench) -> None:
    """Whether its file had become whole or not; its name is that of its start."""
    for left in ({"slice": b"whole"}, {"part": b"heard"}):
        slice_id = await bench.prepare(duration_ms=9, waiting=False, **left)
        await bench.database.run(
            lambda c, slice_id=slice_id: slices.fix_start(c, slice_id, START_MS - 5000)
        )
    async with bench.open():
        records = await bench.records()
    assert [record.start_ms for record in records] == [START_MS - 5000] * 2
    stamps = [record.object_key[-18:] for record in records]
    assert stamps == ["20231114221316.ogg", "20231114221317.ogg"]
