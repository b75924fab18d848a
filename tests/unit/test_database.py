"""The database: group commit, failures that stay alone, migrations."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cloudslice.database import Database
from cloudslice.migrations import Schema
from cloudslice.sqlite_file import DatabaseError

NUMBERS = Schema("numbers", ("CREATE TABLE numbers (n INTEGER UNIQUE, filler BLOB);",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "test.db"


@pytest.fixture
def text_file(path: Path) -> Path:
    path.parent.mkdir()
    path.write_text("this is not a database, however long it may be" * 10)
    return path


def insert(n: int):
    return lambda c: c.execute("INSERT INTO numbers (n) VALUES (?)", (n,)).lastrowid


def count_pages(connection: sqlite3.Connection) -> int:
    pages: int
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return pages


def all_numbers(connection: sqlite3.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT n FROM numbers ORDER BY rowid")]


async def test_results_come_back_and_survive(path: Path) -> None:
    """What was run is there when the file is opened again."""
    async with Database(path, [NUMBERS]) as database:
        assert await database.run(insert(7)) == 1
    async with Database(path, [NUMBERS]) as database:
        assert await database.run(all_numbers) == [7]


async def test_an_operation_that_fails_fails_alone(path: Path) -> None:
    """Of operations committed together, only the bad one is undone, and its caller told."""
    async with Database(path, [NUMBERS]) as database:

        def insert_then_fail(connection: sqlite3.Connection) -> None:
            insert(3)(connection)
            raise ValueError("no")

        results = await asyncio.gather(
            database.run(insert(1)),
            database.run(insert_then_fail),
            database.run(insert(1)),
            database.run(insert(2)),
            return_exceptions=True,
        )
        assert isinstance(results[1], ValueError)
        assert isinstance(results[2], sqlite3.IntegrityError)
        assert await database.run(all_numbers) == [1, 2]


async def test_operations_queued_together_share_a_commit(path: Path) -> None:
    """A hundred operations take a few transactions, not a hundred."""
    async with Database(path, [NUMBERS]) as database:
        statements: list[str] = []
        await database.run(lambda c: c.set_trace_callback(statements.append))
        await asyncio.gather(*(database.run(insert(n)) for n in range(100)))
        await database.run(lambda c: c.set_trace_callback(None))
        assert await database.run(all_numbers) == list(range(100))
        assert statements.count("COMMIT") < 20


async def test_posted_operations_keep_their_turn(path: Path) -> None:
    """Without being waited for, they are carried out in order, and before the file is closed."""
    async with Database(path, [NUMBERS]) as database:
        database.post(insert(1), "insert 1")
        assert await database.run(all_numbers) == [1]
        database.post(insert(2), "insert 2")
    async with Database(path, [NUMBERS]) as database:
        assert await database.run(all_numbers) == [1, 2]


async def test_what_is_in_no_hurry_goes_along_with_what_is(path: Path) -> None:
    """It waits for another operation and is committed with it, before it, in one transaction."""
    async with Database(path, [NUMBERS]) as database:
        statements: list[str] = []
        await database.run(lambda c: c.set_trace_callback(statements.append))
        statements.clear()
        waiting = asyncio.create_task(database.run(insert(1), within_s=3600))
        await asyncio.sleep(0)
        assert await database.run(all_numbers) == [1]
        assert await waiting == 1
        assert statements.count("COMMIT") == 1


async def test_what_is_in_no_hurry_waits_for_so_long_only(path: Path) -> None:
    """Without another operation it is carried out when its time has come, the shortest counts."""
    async with Database(path, [NUMBERS]) as database, asyncio.timeout(10):
        late = asyncio.create_task(database.run(insert(1), within_s=3600))
        await asyncio.sleep(0)
        await database.run(insert(2), within_s=0.01)
        await late
        assert await database.run(all_numbers) == [1, 2]


async def test_a_call_comes_after_the_commit(path: Path) -> None:
    """What an operation has called is called once it is durable, and not if it came to nothing."""
    async with Database(path, [NUMBERS]) as database:
        calls: list[int] = []
        commits: list[int] = []

        def insert_and_call(n: int):
            def operation(connection: sqlite3.Connection) -> None:
                database.after_commit(lambda: calls.append(n))
                insert(n)(connection)

            return operation

        def trace(statement: str) -> None:
            if statement == "COMMIT":
                commits.append(len(calls))

        await database.run(lambda c: c.set_trace_callback(trace))
        await asyncio.gather(
            *(database.run(insert_and_call(n)) for n in (1, 2, 1, 3)), return_exceptions=True
        )
        assert calls == [1, 2, 3]
        assert commits[0] == 0
        with pytest.raises(RuntimeError, match="only an operation"):
            database.after_commit(commits.clear)


async def test_a_failed_post_is_counted(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody waits for it, so it is logged and counted."""
    async with Database(path, [NUMBERS]) as database:
        database.post(insert(1), "the first")
        database.post(insert(1), "the second")
        await database.run(all_numbers)
        assert database.faults.errors == 1
    assert "the second" in capsys.readouterr().out


async def test_a_cancelled_operation_that_was_not_begun_is_not_carried_out(path: Path) -> None:
    """Cancellation reaches what still waits in the queue."""
    async with Database(path, [NUMBERS]) as database:
        loop = asyncio.get_running_loop()
        begun, go_on = asyncio.Event(), asyncio.Event()

        def block(_: sqlite3.Connection) -> None:
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()

        blocking = asyncio.create_task(database.run(block))
        await begun.wait()
        waiting = asyncio.create_task(database.run(insert(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go_on.set()
        await blocking
        assert await database.run(all_numbers) == []


async def test_a_full_disk_fails_operations_and_passes(path: Path) -> None:
    """A write that has no room is an error of its caller; later ones work when there is room."""
    async with Database(path, [NUMBERS]) as database:
        (pages,) = await database.run(lambda c: c.execute("PRAGMA page_count").fetchone())
        await database.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 1}").fetchone())
        with pytest.raises((DatabaseError, sqlite3.Error), match="full"):
            await database.run(
                lambda c: c.execute("INSERT INTO numbers VALUES (1, zeroblob(100000))")
            )
        await database.run(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
        await database.run(insert(2))
        assert await database.run(all_numbers) == [2]


async def test_what_must_not_be_left_out_waits_for_a_full_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where SQLite says so within the operation, not only at its commit."""
    monkeypatch.setattr("cloudslice.database._RETRY_S", 0.01)
    async with Database(path, [NUMBERS]) as database, asyncio.timeout(10):
        (pages,) = await database.run(lambda c: c.execute("PRAGMA page_count").fetchone())
        await database.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 1}").fetchone())
        tries: list[int] = []

        def insert_much(connection: sqlite3.Connection) -> None:
            tries.append(len(tries))
            if len(tries) == 3:
                connection.execute("PRAGMA max_page_count = 100000").fetchone()
            connection.execute("INSERT INTO numbers VALUES (1, zeroblob(100000))")

        await database.persist(insert_much)
        assert await database.run(all_numbers) == [1]


def damage(path: Path, from_page: int) -> None:
    """Overwrite the headers of a file's pages from one on, as a bad disk or copy does."""
    with path.open("r+b") as file:
        for page in range(from_page, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)


async def test_a_damaged_file_is_refused_in_one_sentence(path: Path) -> None:
    """At the start, before anything hangs on it, with what to do."""
    async with Database(path, [NUMBERS]) as database:
        await database.run(lambda c: c.execute("INSERT INTO numbers VALUES (1, zeroblob(50000))"))
        for n in range(2, 500):
            database.post(insert(n), "insert")
    damage(path, from_page=2)
    with pytest.raises(DatabaseError, match=r"test\.db: .*: the database is damaged; put a copy"):
        async with Database(path, [NUMBERS]):
            pass


async def test_an_index_that_lacks_rows_is_made_anew(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Queries by it would not find them; the table itself has all."""
    indexed = Schema("numbers", (*NUMBERS.migrations, "CREATE INDEX by_n ON numbers (n);"))
    async with Database(path, [indexed]) as database:
        for n in range(1, 100):
            await database.run(insert(n))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX by_n")
        connection.execute("CREATE INDEX by_n ON numbers (n) WHERE n % 2")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = 'CREATE INDEX by_n ON numbers (n)' WHERE name = 'by_n'"
        )
        connection.commit()
    query = "SELECT count(*) FROM numbers INDEXED BY by_n WHERE n > 0"
    for _ in range(2):
        async with Database(path, [indexed]) as database:
            assert await database.run(lambda c: c.execute(query).fetchone()) == (99,)
    assert capsys.readouterr().out.count("indexes of the database made anew") == 1


async def test_an_index_that_cannot_be_made_anew_is_damage(path: Path) -> None:
    """Such as one that says that rows are unique which are not."""
    async with Database(path, [NUMBERS]) as database:
        await database.run(lambda c: c.execute("INSERT INTO numbers VALUES (1, 'x'), (2, 'x')"))
        await database.run(lambda c: c.execute("CREATE INDEX by_filler ON numbers (filler)"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = 'CREATE UNIQUE INDEX by_filler ON numbers (filler)'"
            " WHERE name = 'by_filler'"
        )
        connection.commit()
    with pytest.raises(DatabaseError, match="index by_filler: the database is damaged"):
        async with Database(path, [NUMBERS]):
            pass


async def test_damage_that_is_met_later_is_told_as_such(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operation that meets it gets the sentence, not SQLite's error."""
    monkeypatch.setattr("cloudslice.sqlite_file._CHECK_LIMIT_BYTES", 0)
    async with Database(path, [NUMBERS]) as database:
        for n in range(2, 2000):
            database.post(insert(n), "insert")
    damage(path, from_page=4)
    async with Database(path, [NUMBERS]) as database:
        with pytest.raises(DatabaseError, match="the database is damaged"):
            await database.run(lambda c: c.execute("SELECT sum(n + rowid) FROM numbers").fetchall())


async def test_a_second_opener_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes over one data directory would deliver each other's slices."""
    monkeypatch.setattr("cloudslice.sqlite_file._BUSY_TIMEOUT_S", 0.05)
    async with Database(path, [NUMBERS]):
        with pytest.raises(DatabaseError, match=r"test\.db: is in use by another process"):
            async with Database(path, [NUMBERS]):
                pass


async def test_migrations_are_carried_out_once_and_in_order(path: Path) -> None:
    """A newer schema is brought about from whatever version the file has; data is kept."""
    added = "ALTER TABLE numbers ADD COLUMN name TEXT;\nUPDATE numbers SET name = 'x; y';"
    newer = Schema("numbers", (*NUMBERS.migrations, added))
    other = Schema("other", ("CREATE TABLE others (o);",))
    async with Database(path, [NUMBERS]) as database:
        await database.run(insert(1))
    for _ in range(2):
        async with Database(path, [newer, other]) as database:
            rows = await database.run(lambda c: c.execute("SELECT n, name FROM numbers").fetchall())
            assert rows == [(1, "x; y")]


async def test_a_failed_migration_changes_nothing(path: Path) -> None:
    """It is undone as a whole and named."""
    broken = Schema("numbers", (*NUMBERS.migrations, "CREATE TABLE a (b);\nCREATE TABLE a (b);"))
    async with Database(path, [NUMBERS]):
        pass
    with pytest.raises(DatabaseError, match="table a already exists"):
        async with Database(path, [broken]):
            pass
    async with Database(path, [NUMBERS]) as database:
        tables = await database.run(
            lambda c: c.execute("SELECT name FROM sqlite_master").fetchall()
        )
        assert ("a",) not in tables


@pytest.mark.parametrize(
    ("statement"),
    [
        pytest.param("UPDATE schema_versions SET version = 2", id="a part's tables"),
        pytest.param("PRAGMA user_version = 99", id="the file"),
    ],
)
async def test_a_file_of_a_newer_version_is_refused(path: Path, statement: str) -> None:
    """An older program does not guess at what it does not know."""
    async with Database(path, [NUMBERS]):
        pass
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(DatabaseError, match="newer version of cloudslice"):
        async with Database(path, [NUMBERS]):
            pass


async def test_a_file_that_is_no_database_is_refused(text_file: Path) -> None:
    """The error names the file."""
    with pytest.raises(DatabaseError, match=r"test\.db: file is not a database"):
        async with Database(text_file, [NUMBERS]):
            pass


async def test_a_file_of_mostly_free_pages_is_compacted_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a backlog has left behind goes back to the disk; what is on record stays."""
    monkeypatch.setattr("cloudslice.sqlite_file._COMPACT_FROM_BYTES", 100_000)
    path = tmp_path / "test.db"
    blobs = Schema("blobs", ("CREATE TABLE blobs (data BLOB);",))
    async with Database(path, [NUMBERS, blobs]) as database:
        await database.run(insert(5))
        for _ in range(100):
            await database.run(lambda c: c.execute("INSERT INTO blobs VALUES (randomblob(10000))"))
        await database.run(lambda c: c.execute("DELETE FROM blobs"))
    assert path.stat().st_size > 1_000_000
    async with Database(path, [NUMBERS, blobs]) as database:
        assert path.stat().st_size < 100_000
        assert await database.run(all_numbers) == [5]


async def test_a_file_that_is_in_use_is_not_compacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start does not copy a large backlog for a few free pages."""
    monkeypatch.setattr("cloudslice.sqlite_file._COMPACT_FROM_BYTES", 100_000)
    path = tmp_path / "test.db"
    blobs = Schema("blobs", ("CREATE TABLE blobs (data BLOB);",))
    async with Database(path, [blobs]) as database:
        for _ in range(100):
            await database.run(lambda c: c.execute("INSERT INTO blobs VALUES (randomblob(10000))"))
        await database.run(lambda c: c.execute("DELETE FROM blobs WHERE rowid <= 30"))
    async with Database(path, [blobs]):
        assert path.stat().st_size > 1_000_000


async def test_a_file_shrinks_while_it_is_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small steps, after what others do; some free pages are kept for new rows."""
    monkeypatch.setattr("cloudslice.sqlite_file._SPARE_PAGES", 100)
    async with Database(path, [NUMBERS]) as opened:
        await opened.run(lambda c: c.execute("CREATE TABLE blobs (data BLOB)"))
        for _ in range(8):
            await opened.run(lambda c: c.execute("INSERT INTO blobs VALUES (zeroblob(1000000))"))
        await opened.run(lambda c: c.execute("DELETE FROM blobs"))
        left = [await opened.run(count_pages) for _ in range(12)]
    assert 0 < left[0] - left[1] <= 257
    assert left == sorted(left, reverse=True)
    assert left[-1] < 200


async def test_a_file_of_a_former_version_is_made_such_that_it_can_shrink(path: Path) -> None:
    """Its rows are kept."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE kept (n INTEGER)")
        connection.execute("INSERT INTO kept VALUES (7)")
        connection.commit()
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    async with Database(path, [NUMBERS]) as opened:
        mode, n = await opened.run(
            lambda c: (
                c.execute("PRAGMA auto_vacuum").fetchone()[0],
                c.execute("SELECT n FROM kept").fetchone()[0],
            )
        )
    assert (mode, n) == (2, 7)


async def test_a_file_that_cannot_be_made_smaller_works_as_well(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told once a minute at most."""
    monkeypatch.setattr("cloudslice.sqlite_file._SPARE_PAGES", -1)
    monkeypatch.setattr("cloudslice.sqlite_file._PAGES_AT_ONCE", "1) no SQL (")
    async with Database(path, [NUMBERS]) as opened:
        for n in range(3):
            await opened.run(insert(n))
        assert await opened.run(all_numbers) == [0, 1, 2]
    assert capsys.readouterr().out.count("database not made smaller") == 1


async def test_what_comes_after_a_commit_may_raise(path: Path) -> None:
    """It costs nobody else a result, and the thread goes on."""
    async with Database(path, [NUMBERS]) as database:

        def insert_and_fail(connection: sqlite3.Connection) -> int:
            database.after_commit(lambda: 1 // 0)
            insert(1)(connection)
            return 1

        async with asyncio.timeout(5):
            assert await asyncio.gather(database.run(insert_and_fail), database.run(insert(2))) == [
                1,
                2,
            ]
            assert await database.run(all_numbers) == [1, 2]


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), ZeroDivisionError()])
async def test_a_fault_of_a_commit_does_not_leave_others_waiting(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever it is, who waits gets it, and later operations are carried out."""
    async with Database(path, [NUMBERS]) as database:

        def fail(*_args: object) -> None:
            raise error

        async with asyncio.timeout(5):
            with monkeypatch.context() as patch:
                patch.setattr("cloudslice.database._attempt", fail)
                patch.setattr("cloudslice.database.explain", fail)
                with pytest.raises(type(error)):
                    await database.run(insert(1))
            await database.run(insert(2))
            assert await database.run(all_numbers) == [2]
