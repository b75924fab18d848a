"""A spool for tests, without the rest of delivery."""

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cloudslice.clock import SystemClock
from cloudslice.database import Database
from cloudslice.delivery import consignors, slices
from cloudslice.delivery.losses import Loss
from cloudslice.delivery.schema import SCHEMA
from cloudslice.delivery.slice_files import PART, WHOLE
from cloudslice.delivery.slices import SliceRecord
from cloudslice.delivery.spool import Spool
from cloudslice.slices import Bucket, Vendor
from helpers.delivery import AUDIO, BOX, REPAIRS, START_MS, TASK

BUCKET = Bucket(Vendor.COS, "r", "b", "AK", "SK")


class Bench:
    """A spool over a directory, and what it has told."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory = directory
        self.database = database
        self.waiting: list[SliceRecord] = []
        self.gone: set[str] = set()
        self.lost: list[Loss] = []
        self.recorded: Counter[Loss] = Counter()
        """Losses that are on record, with 1006 in a whole service."""
        self.repairs = dict(REPAIRS)

    def open(self) -> Spool:
        return Spool(
            self.directory,
            self.database,
            self.repairs,
            SystemClock().utc_ms,
            on_waiting=self.waiting.extend,
            on_gone=self.gone.update,
            on_lost=self.lost.append,
            record_loss=self.record_loss,
        )

    def record_loss(self, connection: sqlite3.Connection, loss: Loss, count: int) -> None:
        """What a whole service does besides telling it."""
        consignors.add_lost(connection, loss.origin.task_id, count)
        self.recorded[loss] += count

    async def records(self) -> list[SliceRecord]:
        return await self.database.run(lambda c: list(slices.find_waiting(c)))

    async def prepare(self, *, duration_ms: int | None, waiting: bool, **files: bytes) -> int:
        """Put a slice on record and files beside it as a killed process may have left them."""

        def insert(connection: sqlite3.Connection) -> int:
            slice_id = slices.register(connection, AUDIO, START_MS, 0)
            if duration_ms is not None:
                slices.describe(connection, slice_id, duration_ms, {"k": "v"})
            if waiting:
                slices.mark_waiting(connection, slice_id, 5, "hash")
            return slice_id

        slice_id = await self.database.run(insert)
        self.directory.mkdir(exist_ok=True)
        for extension, data in files.items():
            (self.directory / f"{slice_id}.{extension}").write_bytes(data)
        return slice_id

    @property
    def files(self) -> list[str]:
        """The names of the files in the spool."""
        return _names(self.directory)

    @property
    def quarantined(self) -> dict[str, bytes]:
        """The files that were set aside."""
        directory = self.directory / "quarantine"
        names = _names(directory) if directory.exists() else []
        return {name: (directory / name).read_bytes() for name in names}


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.suffix in (PART, WHOLE))


@asynccontextmanager
async def open_bench(directory: Path, spool: Path | None = None) -> AsyncIterator[Bench]:
    """A bench with a task on record in the directory's database; its spool is there, too."""
    async with Database(directory / "test.db", [SCHEMA]) as database:
        await database.run(lambda c: consignors.insert(c, TASK, BUCKET, BOX))
        yield Bench(spool or directory / "spool", database)
