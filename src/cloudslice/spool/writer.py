"""Carries out on the disk what slices are handed in, a batch at a time.

A slice is whole once its file, with all that is known of it, is on the device and has its final
name. What the disk refuses is tried again later; until then the slice waits with all that is to be
written of it, in memory, and the others go on. The spool bounds that memory: a slice that passes
the bound is cut, which means that it ends with what came before.

Everything here blocks: it belongs on the spool's own thread.
"""

from collections.abc import Callable, Mapping

import structlog

from cloudslice.events import SliceLost, SliceReady
from cloudslice.faults import Faults
from cloudslice.slices import Repair, SliceKind
from cloudslice.spool import slice_files
from cloudslice.spool.drafts import Draft, Finish, Outcome
from cloudslice.spool.files import sync_directory
from cloudslice.spool.quarantine import Quarantine
from cloudslice.spool.refusals import Refusals, Verdict, explain
from cloudslice.spool.slice_files import part_path
from cloudslice.spool.spooled_tasks import SpooledTasks, remove_file
from cloudslice.spool.task_directory import TaskDirectory

_AT_ONCE = 64
"""Files that are open at a time, and slices that were cut whose contents are in memory."""

_log = structlog.get_logger(__name__)


class SliceWriter:
    """Writes drafts into files. What is handed in is carried out by `work`.

    Attributes:
        bytes_out: of all that was ever handed in, what does not wait in memory any more.
        faults: errors that nobody foresaw; each has cost a slice.
        has_written: files were written that may not be on the device; to be set back by who has
            flushed them.
    """

    def __init__(
        self,
        tasks: SpooledTasks,
        repairs: Mapping[SliceKind, Repair],
        quarantine: Quarantine,
        monotonic: Callable[[], float],
    ) -> None:
        """
        Args:
            repairs: for each kind how a slice that is cut is made valid; without: lost whole.
        """
        self.bytes_out = 0
        self.faults = Faults("spool")
        self._tasks = tasks
        self._repairs = repairs
        self._quarantine = quarantine
        self._monotonic = monotonic
        self._pending: dict[Draft, None] = {}
        """Drafts for which something is still to be done, in the order in which that came."""
        self._renamed: dict[Draft, SliceReady] = {}
        """Drafts whose files have their final names, but not durably."""
        self._outcome = Outcome()
        self._refusals = Refusals()
        self.has_written = False
        self._taken_bytes = 0

    @property
    def is_behind(self) -> bool:
        """Whether something was refused and is to be tried again."""
        return bool(self._pending or self._renamed)

    def take(self, draft: Draft, step: Callable[[Draft], None], size: int = 0) -> None:
        """Do one of the steps below, which hands in `size` bytes. If it meets an error that nobody
        foresaw, the slice ends with what came before."""
        self._taken_bytes += size
        size_before = draft.size
        try:
            step(draft)
        except Exception as error:
            self.faults.caught(error, task_id=draft.origin.task_id, name=draft.name)
            self._outcome.freed += size - (draft.size - size_before)
            self.abandon(draft, "a fault of the server cut it off")

    def append(self, draft: Draft, data: bytes) -> None:
        """A slice begins, or goes on."""
        if not draft.takes_more:
            self._outcome.freed += len(data)
            return
        draft.pieces.append(data)
        draft.size += len(data)
        self._pending[draft] = None

    def finish(self, draft: Draft, finish: Finish) -> None:
        """A slice is complete."""
        if draft.takes_more:
            draft.finish = finish
            self._pending[draft] = None

    def resume(self, draft: Draft) -> None:
        """A slice of a former process ends with what is on the disk."""
        self._pending[draft] = None

    def abandon(self, draft: Draft, reason: str) -> None:
        """What comes now of a slice cannot be kept, for a reason that lies before the disk."""
        if draft.takes_more:
            self._cut(draft, reason)

    def work(self) -> Outcome:
        """Carry out what was handed in, and what was refused before if its time has come."""
        now = self._monotonic()
        # A slice that is cut comes to its end in two turns.
        while due := [draft for draft in self._pending if draft.retry_at <= now]:
            self._advance(due[:_AT_ONCE], now)
        self._flush_names()
        self._refusals.note_work(self._pending)
        waiting = sum(len(piece) for draft in self._pending for piece in draft.pieces)
        self.bytes_out = self._taken_bytes - waiting
        outcome, self._outcome = self._outcome, Outcome()
        outcome.freed += self._tasks.take_freed()
        return outcome

    def close(self) -> Outcome:
        """Try all that was refused once more. What is on the disk then is repaired by the next
        start; what is not is lost."""
        for draft in self._pending:
            draft.retry_at = 0.0
        outcome, reason = self.work(), "the process ended before the disk took it"
        for draft in self._pending:
            directory = self._tasks.find(draft.origin.task_id)
            if directory is not None and slice_files.is_complete(directory, draft):
                continue  # all that it lacks is its name
            if draft.origin.kind not in self._repairs or not draft.kept:
                outcome.lost.append(SliceLost(draft.origin, reason))
            elif draft.pieces:
                outcome.lost.append(SliceLost(draft.origin, reason, is_partial=True))
        return outcome

    def _advance(self, due: list[Draft], now: float) -> None:
        """Take drafts as far as they go. Each is done with then, waits, or has come further."""
        finished: dict[Draft, TaskDirectory] = {}
        for draft in due:
            directory = self._tasks.find(draft.origin.task_id)
            if directory is None:
                self._lose(draft, "its task is not known")
            elif draft.finish is not None:
                finished[draft] = directory
            else:
                self._grow(directory, draft, now)
        for draft, result in slice_files.complete(finished).items():
            self.has_written = True
            if isinstance(result, Exception):
                self._hold(finished[draft], draft, result, now)
            else:
                self._renamed[draft] = result
                self._tasks.note_whole(draft.name, result.file_size)
                self._outcome.freed += draft.size - result.file_size
                self._done(draft)

    def _grow(self, directory: TaskDirectory, draft: Draft, now: float) -> None:
        try:
            if draft.pieces:
                slice_files.append(directory, draft)
                self.has_written = True
            if draft.is_cut:
                self._end_cut(directory, draft)
            else:
                del self._pending[draft]
        except Exception as error:  # one that nobody foresaw is its slice's alone
            self._hold(directory, draft, error, now)
        else:
            draft.failing_since = None

    def _end_cut(self, directory: TaskDirectory, draft: Draft) -> None:
        """All that is kept of a slice that was cut is written: make it a valid file."""
        try:
            if not slice_files.end_cut(directory, draft, self._repairs.get(draft.origin.kind)):
                self._forget(draft)
        except ValueError as error:
            self._set_aside(directory, draft, f"it cannot be repaired: {error}")

    def _hold(self, directory: TaskDirectory, draft: Draft, error: Exception, now: float) -> None:
        """A draft cannot be written: leave it alone for a while, or end it."""
        if not isinstance(error, OSError):
            self.faults.caught(error, task_id=draft.origin.task_id, name=draft.name)
            self._set_aside(directory, draft, f"it cannot be completed: {error}")
            return
        match self._refusals.judge(draft, error, now):
            case Verdict.GONE:
                self._lose(draft, "its file is gone from the spool")
            case Verdict.CUT:
                self._cut(draft, explain(error), up_to_disk=True)
            case Verdict.SET_ASIDE:
                self._set_aside(directory, draft, explain(error))
            case Verdict.WAIT:
                pass

    def _cut(self, draft: Draft, reason: str, *, up_to_disk: bool = False) -> None:
        """Have a slice end with what was handed in until now, or with what is on the disk."""
        if draft.origin.kind not in self._repairs or not draft.size:
            self._lose(draft, reason)
            return
        if up_to_disk:
            draft.pieces.clear()
            self._outcome.freed += draft.size - draft.kept
            draft.size = draft.kept
        draft.is_cut, draft.finish = True, None
        self._pending[draft] = None
        self._outcome.lost.append(SliceLost(draft.origin, reason, is_partial=True))

    def _flush_names(self) -> None:
        """Make final names durable, which is what makes slices whole."""
        by_task: dict[str, list[Draft]] = {}
        for draft in self._renamed:
            by_task.setdefault(draft.origin.task_id, []).append(draft)
        for task_id, drafts in by_task.items():
            try:
                if (directory := self._tasks.find(task_id)) is not None:
                    sync_directory(directory.path)
            except FileNotFoundError:
                pass  # somebody has taken it away: who reads the slices finds out
            except OSError as error:
                _log.error("a directory cannot be flushed", task_id=task_id, why=error.strerror)
                continue
            except Exception as error:
                self.faults.caught(error, task_id=task_id)
                continue
            self._outcome.ready += [self._renamed.pop(draft) for draft in drafts]

    def _lose(self, draft: Draft, reason: str) -> None:
        """Nothing of a slice can be kept."""
        self._outcome.lost.append(SliceLost(draft.origin, reason))
        self._forget(draft)

    def _set_aside(self, directory: TaskDirectory, draft: Draft, reason: str) -> None:
        """Nothing of a slice can be delivered; its file stays for somebody to look at."""
        if not self._quarantine.take(part_path(directory, draft.name), reason):
            draft.has_file = False  # nor is it removed: the next start looks at it again
        self._lose(draft, reason)

    def _forget(self, draft: Draft) -> None:
        """Leave nothing of a slice."""
        self._outcome.freed += draft.size
        self._outcome.gone.append(draft.origin.task_id)
        self._done(draft)
        directory = self._tasks.find(draft.origin.task_id)
        if draft.has_file and directory is not None:
            remove_file(part_path(directory, draft.name))

    def _done(self, draft: Draft) -> None:
        draft.is_gone = True
        draft.pieces.clear()
        self._pending.pop(draft, None)
