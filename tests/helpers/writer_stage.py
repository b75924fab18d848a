"""A writer of slices without its thread, in front of a test."""

import itertools
from functools import partial
from pathlib import Path

from cloudslice.events import SliceLost
from cloudslice.slices import Slice, SliceKind, SliceOrigin
from cloudslice.spool.drafts import Draft, Finish, Outcome
from cloudslice.spool.quarantine import Quarantine
from cloudslice.spool.refusals import RETRY_S
from cloudslice.spool.slice_format import read_slice
from cloudslice.spool.spooled_tasks import SpooledTasks
from cloudslice.spool.task_directory import TaskDirectory
from cloudslice.spool.writer import SliceWriter
from helpers.slice_store import ManualClock
from helpers.spool_site import AUDIO, BOX, BUCKET, START_MS, TASK, repair_by_length


class WriterStage:
    """A writer whose calls are carried out at once.

    Attributes:
        ready, lost, gone, freed: what it has told.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.clock = ManualClock()
        self.repairs = {SliceKind.AUDIO: repair_by_length}
        self.quarantine = Quarantine(directory)
        self.tasks = SpooledTasks(self.quarantine)
        self.tasks.open(TaskDirectory.make(directory / TASK.task_id, TASK, BUCKET, BOX))
        self.writer = SliceWriter(self.tasks, self.repairs, self.quarantine, self.clock.monotonic)
        self.ready: list[Slice] = []
        self.lost: list[SliceLost] = []
        self.gone: list[str] = []
        self.freed = 0
        self._names = itertools.count(1)

    def work(self) -> None:
        self._note(self.writer.work())

    def close(self) -> None:
        self._note(self.writer.close())

    def _note(self, outcome: Outcome) -> None:
        self.ready += [each.slice for each in outcome.ready]
        self.lost += outcome.lost
        self.gone += outcome.gone
        self.freed += outcome.freed

    def retry(self, after_s: float = RETRY_S) -> None:
        """Time passes, and the writer is woken without anything new to do."""
        self.clock.now += after_s
        self.work()

    def append(self, draft: Draft, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.take(draft, partial(self.writer.append, data=piece), len(piece))
        self.work()

    def begin(self, *pieces: bytes, origin: SliceOrigin = AUDIO) -> Draft:
        draft = Draft(origin, START_MS, f"{next(self._names):013d}-{0:016x}")
        self.append(draft, *pieces)
        return draft

    def finish(self, *drafts: Draft, duration_ms: int = 1) -> None:
        for draft in drafts:
            self.writer.finish(draft, Finish(START_MS, duration_ms, {}))
        self.work()

    def abandon(self, *drafts: Draft) -> None:
        for draft in drafts:
            self.writer.abandon(draft, "no memory")
        self.work()

    def part(self, draft: Draft) -> Path:
        return self.directory / TASK.task_id / f"{draft.name}.part"

    def whole(self, name: str) -> Path:
        return self.directory / TASK.task_id / f"{name}.slice"

    def contents(self) -> list[bytes]:
        """Of the slices that are ready, in that order."""
        found = []
        for each in self.ready:
            whole, content = read_slice(each.name, self.whole(each.name).read_bytes())
            assert whole == each
            found.append(content)
        return found

    def backlog(self) -> int:
        """Bytes that wait in memory."""
        return self.writer._taken_bytes - self.writer.bytes_out

    def slice_files(self) -> list[str]:
        task = self.directory / TASK.task_id
        return sorted(path.name for path in task.iterdir() if "-" in path.name)
