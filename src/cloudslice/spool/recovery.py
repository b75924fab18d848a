"""Takes up what a directory holds, after the process was killed at any moment: whole slices wait
for their upload, growing ones are to be completed, and what nobody understands is set aside.

Nothing else is looked at: the files say themselves what they are. Everything here blocks.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

import structlog

from cloudslice.events import SliceLost
from cloudslice.secrets import SecretBox
from cloudslice.slices import (
    Bucket,
    DamagedSliceError,
    SliceKind,
    SliceOrigin,
    TaskRef,
    WaitingSlice,
)
from cloudslice.spool import quarantine as quarantine_module
from cloudslice.spool.drafts import Draft
from cloudslice.spool.files import read_regular
from cloudslice.spool.moving import COPY
from cloudslice.spool.quarantine import Quarantine
from cloudslice.spool.slice_format import (
    HEAD_BYTES,
    PART,
    WHOLE,
    has_content,
    is_name,
    new_name,
    read_head,
)
from cloudslice.spool.spooled_tasks import SpooledTasks
from cloudslice.spool.task_directory import DRAFT, FILE, OURS, DamagedTaskError, TaskDirectory

NO_TASKS = (quarantine_module.DIRECTORY, "lost+found")
"""What is in a spool besides the directories of tasks."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class TakenUp:
    """What a spool held at the start, besides its tasks."""

    waiting: dict[str, list[WaitingSlice]] = field(default_factory=dict)
    """The whole slices of each task, oldest first."""
    growing: list[Draft] = field(default_factory=list)
    """Slices that were cut off."""
    lost: list[SliceLost] = field(default_factory=list)


class Recovery:
    """One reading of a spool."""

    def __init__(
        self,
        spool: Path,
        tasks: SpooledTasks,
        box: SecretBox,
        quarantine: Quarantine,
        *,
        now_ms: int | None,
        known: Mapping[str, tuple[TaskRef, Bucket]],
    ) -> None:
        """
        Args:
            tasks: the tasks that it holds are added to them.
            now_ms: if given, the age of all slices counts from now: the clock is another one.
            known: what others know of tasks, by their TaskIds: for those whose file is damaged.
        """
        self._spool = spool
        self._tasks = tasks
        self._box = box
        self._quarantine = quarantine
        self._now_ms = now_ms
        self._known = known
        self._taken_up = TakenUp()
        self._renamed = 0

    def run(self) -> TakenUp:
        """Take up what is there.

        Raises:
            OSError: the spool cannot be read or written.
        """
        for entry in _scan(self._spool):
            if entry.name in NO_TASKS:
                continue
            path = Path(entry.path)
            if not entry.is_dir(follow_symlinks=False):
                self._quarantine.take(path, "it is not in the directory of a task")
            elif (directory := self._load(path)) is not None:
                self._tasks.add(directory)
                self._take_up_task(directory)
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
        for entry in _scan(directory.path):
            if not entry.is_file(follow_symlinks=False):
                self._quarantine.take(Path(entry.path), "it is no regular file")
                continue
            if entry.name in OURS:
                continue
            name, suffix = os.path.splitext(entry.name)
            if is_name(name) and suffix == COPY:
                os.unlink(entry.path)
                continue
            if not is_name(name) or suffix not in (PART, WHOLE):
                self._quarantine.take(Path(entry.path), "it is no slice")
                continue
            size = entry.stat(follow_symlinks=False).st_size
            if self._now_ms is not None:
                self._renamed += 1
                name = new_name(self._now_ms, self._renamed)
                os.rename(entry.path, directory.path / (name + suffix))
            if suffix == WHOLE:
                self._tasks.note_whole(name, size)
                waiting.append(WaitingSlice(name, size))
            else:
                self._take_up_growing(directory, directory.path / (name + suffix), size)

    def _take_up_growing(self, directory: TaskDirectory, path: Path, size: int) -> None:
        """Have a slice completed, if there is anything of it."""
        task_id = directory.task.task_id
        try:
            try:
                head, content_at = read_head(data := read_regular(path, first=HEAD_BYTES))
            except DamagedSliceError:
                if has_content(read_regular(path)):
                    raise
                path.unlink()
                return
        except (OSError, DamagedSliceError) as error:
            self._quarantine.take(path, f"it cannot be repaired: {error}")
            origin = SliceOrigin(task_id, "?", SliceKind.AUDIO, "ogg")
            self._taken_up.lost.append(SliceLost(origin, f"its file cannot be repaired: {error}"))
            return
        if head.origin.task_id != task_id:
            self._quarantine.take(path, "it is another task's")
            return
        draft = Draft(head.origin, head.start_ms, path.stem, data[:content_at])
        draft.written = draft.size = size
        draft.has_file = draft.is_cut = True
        self._taken_up.growing.append(draft)


def _scan(directory: Path) -> list[os.DirEntry[str]]:
    """What is in a directory, by name."""
    with os.scandir(directory) as entries:
        return sorted(entries, key=attrgetter("name"))
