"""A spool's directory, and what the spools that are opened over it have told."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cloudslice.bus import Bus
from cloudslice.clock import SystemClock
from cloudslice.database import Database
from cloudslice.events import SliceGone, SliceLost, SliceReady
from cloudslice.secrets import SecretBox
from cloudslice.slices import (
    Bucket,
    Repaired,
    Slice,
    SliceKind,
    SliceOrigin,
    TaskRef,
    Vendor,
)
from cloudslice.spool.spool import Spool

TASK = TaskRef("9-EXAMPLE+TaskId..", 1400000000, 150, "slice_bot_150")
AUDIO = SliceOrigin(TASK.task_id, "anchor_1", SliceKind.AUDIO, "ogg")
PICTURE = SliceOrigin(TASK.task_id, "anchor_1", SliceKind.IMAGE, "png")
BUCKET = Bucket(Vendor.COS, "ap-guangzhou", "demo-125", "AKID", "SecretExample", ("prefix1",))
BOX = SecretBox(bytes(32))
START_MS = 1_700_000_001_007
KEY = "prefix1/9-EXAMPLE+TaskId../anchor_1/audios/1400000000_150_anchor_1_202311142213{}.ogg"
"""Of an audio slice: with the second in it, which is 21 for one that starts at `START_MS`."""


def repair_by_length(data: bytes) -> Repaired | None:
    """Stands in for the repair of Ogg files: a byte is a millisecond; nothing is worth nothing."""
    return Repaired(data + b" repaired", len(data)) if data else None


class SpoolSite:
    """A directory and the spools over it, one after the other.

    Attributes:
        ready, lost, gone: what they have published.
        sizes: of the files of those that are ready.
        now_ms: what their clock says; None: the machine's time.
    """

    def __init__(self, directory: Path, database: Database | None = None) -> None:
        """
        Args:
            directory: the spool's.
            database: of the bus; nothing of it is used.
        """
        self.directory = directory
        self.repairs = {SliceKind.AUDIO: repair_by_length}
        self.bus = Bus(database or Database(directory.parent / "test.db", []))
        self.ready: list[Slice] = []
        self.lost: list[SliceLost] = []
        self.gone: list[str] = []
        self.now_ms: int | None = None
        self.is_new_clock = False
        self.sync_interval_s = 1.0
        self.known: dict[str, tuple[TaskRef, Bucket]] = {}
        self.sizes: list[int] = []
        self.bus.listen(SliceReady, self._note_ready)
        self.bus.listen(SliceLost, self.lost.append)
        self.bus.listen(SliceGone, lambda event: self.gone.append(event.task_id))

    def _note_ready(self, event: SliceReady) -> None:
        self.ready.append(event.slice)
        self.sizes.append(event.file_size)

    def make_spool(self) -> Spool:
        """A spool over the directory, not open yet."""
        return Spool(
            self.directory,
            BOX,
            self.repairs,
            self.bus,
            lambda: SystemClock().utc_ms() if self.now_ms is None else self.now_ms,
            is_new_clock=self.is_new_clock,
            sync_interval_s=self.sync_interval_s,
            known=self.known,
        )

    @asynccontextmanager
    async def open(self, *tasks: TaskRef) -> AsyncIterator[Spool]:
        """A spool that takes slices of tasks; without any: as a former process has left it. What
        grew then is complete, if the disk took it."""
        async with self.make_spool() as spool:
            await spool.flush()
            for task in tasks:
                await spool.open(task, BUCKET)
            yield spool

    def copy(self, directory: Path) -> "SpoolSite":
        """The site as it is now, as if the process were killed."""
        shutil.copytree(self.directory, directory, symlinks=True)
        return SpoolSite(directory)

    def task_path(self, task: TaskRef = TASK) -> Path:
        """The directory of a task."""
        return self.directory / task.task_id

    def files(self, suffix: str) -> list[Path]:
        """The files of slices with that ending, the oldest first."""
        paths = self.directory.glob(f"*/*{suffix}")
        return sorted(path for path in paths if path.parent.name != "quarantine")

    @property
    def parts(self) -> list[Path]:
        """The files of slices that grow."""
        return self.files(".part")

    @property
    def wholes(self) -> list[Path]:
        """The files of slices that are whole."""
        return self.files(".slice")

    @property
    def quarantined(self) -> dict[str, bytes]:
        """The files that were set aside."""
        directory = self.directory / "quarantine"
        paths = directory.rglob("*") if directory.exists() else ()
        return {
            str(path.relative_to(directory)): path.read_bytes() for path in paths if path.is_file()
        }


def read_waiting(spool: Spool) -> list[tuple[Slice, bytes]]:
    """All that waits at a start, with its content, the oldest of each task first; call it once."""
    return [
        spool.read(task.task_id, each.name)
        for task, waiting in spool.take_waiting().items()
        for each in waiting
    ]


def read_contents(spool: Spool) -> list[bytes]:
    """The contents of all that waits at a start; call it once."""
    return [content for _, content in read_waiting(spool)]
