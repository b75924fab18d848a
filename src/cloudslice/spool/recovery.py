"""Takes up what a directory holds, after the process was killed at any moment: growing slices are
made whole, whole ones wait for their upload, and what nobody understands is set aside.

Nothing else is looked at: the files say themselves what they are. Everything here blocks.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from cloudslice.events import SliceLost, SliceReady
from cloudslice.secrets import SecretBox
from cloudslice.slices import (
    Bucket,
    DamagedSliceError,
    Repair,
    SliceKind,
    SliceOrigin,
    TaskRef,
    WaitingSlice,
)
from cloudslice.spool import quarantine as quarantine_module
from cloudslice.spool import slice_files
from cloudslice.spool.drafts import Draft, Finish
from cloudslice.spool.files import read_regular, sync_directory
from cloudslice.spool.quarantine import Quarantine
from cloudslice.spool.slice_format import (
    PART,
    WHOLE,
    has_content,
    is_name,
    new_name,
    read_head,
    read_slice,
)
from cloudslice.spool.spooled_tasks import SpooledTasks
from cloudslice.spool.task_directory import DRAFT, FILE, OURS, DamagedTaskError, TaskDirectory

_TOGETHER = 64
"""Growing slices whose contents are in memory at a time, and those of one task more."""
_NO_TASKS = (quarantine_module.DIRECTORY, "lost+found")

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class TakenUp:
    """What a spool held at the start, besides its tasks."""

    waiting: dict[str, list[WaitingSlice]] = field(default_factory=dict)
    """The whole slices of each task, oldest first."""
    refused: list[Draft] = field(default_factory=list)
    """Slices that could be completed, if the disk took it."""
    lost: list[SliceLost] = field(default_factory=list)


class Recovery:
    """One reading of a spool."""

    def __init__(
        self,
        spool: Path,
        tasks: SpooledTasks,
        box: SecretBox,
        repairs: Mapping[SliceKind, Repair],
        quarantine: Quarantine,
        *,
        now_ms: int | None,
        known: Mapping[str, tuple[TaskRef, Bucket]],
    ) -> None:
        """
        Args:
            spool: the directory.
            tasks: the tasks that it holds are added to them.
            box: decrypts storage keys.
            repairs: for each kind how a file that was cut off is made valid.
            quarantine: takes what nobody understands.
            now_ms: if given, the age of all slices counts from now: the clock is another one.
            known: what others know of tasks, by their TaskIds: for those whose file is damaged.
        """
        self._spool = spool
        self._tasks = tasks
        self._box = box
        self._repairs = repairs
        self._quarantine = quarantine
        self._now_ms = now_ms
        self._known = known
        self._taken_up = TakenUp()
        self._growing: dict[Draft, TaskDirectory] = {}
        """Slices that are to be completed."""
        self._changed: set[Path] = set()
        """Directories in which names were made that are to be durable."""
        self._renamed = 0

    def run(self) -> TakenUp:
        """Take up what is there.

        Raises:
            OSError: the spool cannot be read or written.
        """
        for path in sorted(self._spool.iterdir()):
            if path.name in _NO_TASKS:
                continue
            if not stat.S_ISDIR(path.lstat().st_mode):
                self._quarantine.take(path, "it is not in the directory of a task")
                continue
            if (directory := self._load(path)) is not None:
                self._tasks.add(directory)
                self._take_up_task(directory)
        self._complete()
        for waiting in self._taken_up.waiting.values():
            waiting.sort(key=lambda each: each.name)
        for changed in self._changed:
            sync_directory(changed)
        return self._taken_up

    def _load(self, path: Path) -> TaskDirectory | None:
        """The task of a directory, if anybody knows it."""
        try:
            return TaskDirectory.load(path, self._box)
        except DamagedTaskError as error:
            if path.name not in self._known:
                self._take_up_unknown(path, str(error))
                return None
            _log.error("task in the spool made anew", task_id=path.name, why=str(error))
        self._quarantine.take(path / FILE, "it is no task")
        directory = TaskDirectory.make(path, *self._known[path.name], self._box)
        directory.write()
        return directory

    def _take_up_unknown(self, path: Path, reason: str) -> None:
        """Nobody can say where the slices of a task go."""
        try:
            (path / DRAFT).unlink(missing_ok=True)
            path.rmdir()  # its making, or its removal, was cut off
        except OSError:
            self._quarantine.take(path, f"its task is not known: {reason}")

    def _take_up_task(self, directory: TaskDirectory) -> None:
        waiting = self._taken_up.waiting[directory.task.task_id] = []
        for path in sorted(directory.path.iterdir()):
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                self._quarantine.take(path, "it is no regular file")
                continue
            if path.name in OURS:
                continue
            if not is_name(path.stem) or path.suffix not in (PART, WHOLE):
                self._quarantine.take(path, "it is no slice")
                continue
            if self._now_ms is not None:
                self._renamed += 1
                name = new_name(self._now_ms, self._renamed)
                path = path.rename(path.with_name(name + path.suffix))
            if path.suffix == WHOLE:
                waiting.append(self._note_whole(path.stem, found.st_size))
            elif (draft := self._take_up_growing(directory, path)) is not None:
                self._growing[draft] = directory
        if len(self._growing) >= _TOGETHER:
            self._complete()

    def _complete(self) -> None:
        """Make growing slices whole, many together: they share commits of the file system."""
        for draft, result in slice_files.complete(self._growing).items():
            if isinstance(result, SliceReady):
                _log.info("slice completed", key=result.slice.object_key)
                found = self._note_whole(draft.name, result.file_size)
                self._taken_up.waiting[draft.origin.task_id].append(found)
                self._changed.add(self._growing[draft].path)
            else:
                self._taken_up.refused.append(draft)
        self._growing.clear()

    def _note_whole(self, name: str, size: int) -> WaitingSlice:
        self._tasks.note_whole(name, size)
        return WaitingSlice(name, size)

    def _take_up_growing(self, directory: TaskDirectory, path: Path) -> Draft | None:
        """A slice that is to be completed; None if nothing is left of it."""
        task_id = directory.task.task_id
        origin = SliceOrigin(task_id, "?", SliceKind.AUDIO, "ogg")
        try:
            data = read_regular(path)
            if not has_content(data):
                path.unlink()
                return None
            head, content_at = read_head(data)
            origin = head.origin
            if origin.task_id != task_id:
                self._quarantine.take(path, "it is another task's")
                return None
            finish, key = _find_finish(path.stem, data)
            repair = self._repairs.get(origin.kind)
            repaired = repair(data[content_at:]) if repair and finish is None else None
            if repaired is not None:
                finish = Finish.of_repaired(head.start_ms, repaired)
        except Exception as error:  # the repair of a damaged file may fail in any way
            is_foreseen = isinstance(error, OSError | DamagedSliceError | ValueError)
            log = _log.error if is_foreseen else _log.exception
            log("slice repair failed", path=str(path), error=str(error))
            self._quarantine.take(path, f"it cannot be repaired: {error}")
            self._taken_up.lost.append(SliceLost(origin, f"its file cannot be repaired: {error}"))
            return None
        if finish is None:
            path.unlink()
            return None
        draft = Draft(origin, head.start_ms, path.stem, data[:content_at])
        draft.written = draft.size = len(data)
        draft.has_file = draft.is_cut = True
        draft.finish, draft.object_key = finish, key
        return draft


def _find_finish(name: str, data: bytes) -> tuple[Finish | None, str | None]:
    """How a slice ended that was about to get its final name, and its object key."""
    try:
        whole, content = read_slice(name, data)
    except DamagedSliceError:
        return None, None
    finish = Finish(whole.start_ms, whole.duration_ms, whole.details, content=content)
    return finish, whole.object_key
