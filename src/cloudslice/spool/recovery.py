"""Takes up what a directory holds, after the process was killed at any moment: growing slices are
made whole, whole ones wait for their upload, and what nobody understands is set aside.

Nothing else is looked at: the files say themselves what they are. Everything here blocks.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from cloudslice.events import SliceLost
from cloudslice.secrets import SecretBox
from cloudslice.slices import (
    DamagedSliceError,
    DamagedTaskError,
    SliceKind,
    SliceOrigin,
    WaitingSlice,
)
from cloudslice.spool import quarantine as quarantine_module
from cloudslice.spool import slice_files, used_names
from cloudslice.spool.drafts import Draft, Finish, Repair
from cloudslice.spool.quarantine import Quarantine
from cloudslice.spool.slice_files import Completed
from cloudslice.spool.slice_format import (
    PART,
    WHOLE,
    new_name,
    read_created_ms,
    read_head,
    read_slice,
)
from cloudslice.spool.task_directory import (
    FILE,
    TaskDirectory,
    read_regular,
    sync_directory,
)

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class TakenUp:
    """What a spool held at the start."""

    directories: dict[str, TaskDirectory] = field(default_factory=dict)
    """Of the tasks, by their TaskIds."""
    waiting: dict[str, list[WaitingSlice]] = field(default_factory=dict)
    """The whole slices of each task, oldest first."""
    lost: list[SliceLost] = field(default_factory=list)


class Recovery:
    """One reading of a spool."""

    def __init__(
        self,
        spool: Path,
        box: SecretBox,
        repairs: Mapping[SliceKind, Repair],
        quarantine: Quarantine,
        *,
        now_ms: int | None,
    ) -> None:
        """
        Args:
            spool: the directory.
            box: decrypts storage keys.
            repairs: for each kind how a file that was cut off is made valid.
            quarantine: takes what nobody understands.
            now_ms: if given, the age of all slices counts from now: the clock is another one.
        """
        self._spool = spool
        self._box = box
        self._repairs = repairs
        self._quarantine = quarantine
        self._now_ms = now_ms
        self._taken_up = TakenUp()
        self._renamed = 0

    def run(self) -> TakenUp:
        """Take up what is there.

        Raises:
            OSError: the spool cannot be read or written.
        """
        for path in sorted(self._spool.iterdir()):
            if path.name == quarantine_module.DIRECTORY:
                continue
            if not stat.S_ISDIR(path.lstat().st_mode):
                self._quarantine.take(path, "it is not in the directory of a task")
                continue
            try:
                directory = TaskDirectory.load(path, self._box)
            except DamagedTaskError as error:
                self._set_aside_task(path, str(error))
            else:
                self._take_up_task(directory)
        return self._taken_up

    def _set_aside_task(self, path: Path, reason: str) -> None:
        """Nobody can say where the slices of a task go."""
        for each in sorted(path.iterdir()):
            self._quarantine.take(each, f"its task is not known: {reason}")
        try:
            path.rmdir()
        except OSError as error:
            _log.warning("directory cannot be removed", path=str(path), why=error.strerror)

    def _take_up_task(self, directory: TaskDirectory) -> None:
        task_id = directory.task.task_id
        self._taken_up.directories[task_id] = directory
        waiting: list[WaitingSlice] = []
        growing: dict[Draft, TaskDirectory] = {}
        for path in sorted(directory.path.iterdir()):
            if path.name in (FILE, used_names.FILE):
                continue
            if path.name == f"{FILE}.new":
                path.unlink()
            elif read_created_ms(path.stem) is None or path.suffix not in (PART, WHOLE):
                self._quarantine.take(path, "it is no slice")
            elif not stat.S_ISREG(path.lstat().st_mode):
                self._quarantine.take(path, "it is no regular file")
            elif path.suffix == WHOLE:
                waiting.append(self._take_up_whole(path))
            elif (found := self._take_up_growing(directory, path)) is not None:
                if isinstance(found, Draft):
                    growing[found] = directory
                else:
                    waiting.append(self._take_up_whole(found))
        for draft, result in slice_files.complete(growing).items():
            if isinstance(result, Completed):
                _log.info("slice repaired", key=result.slice.object_key)
                waiting.append(WaitingSlice(draft.name, result.file_size))
            else:
                raise result
        sync_directory(directory.path)
        self._taken_up.waiting[task_id] = sorted(waiting, key=lambda each: each.name)

    def _take_up_whole(self, path: Path) -> WaitingSlice:
        if self._now_ms is not None:
            self._renamed += 1
            name = new_name(self._now_ms, self._renamed)
            path = path.rename(path.with_name(f"{name}{WHOLE}"))
        return WaitingSlice(path.stem, path.stat().st_size)

    def _take_up_growing(self, directory: TaskDirectory, path: Path) -> Draft | Path | None:
        """A slice that is to be completed, or the file of one that was; None if nothing is left
        of it."""
        origin = SliceOrigin(directory.task.task_id, "?", SliceKind.AUDIO, "ogg")
        try:
            data = read_regular(path)
            if not data:
                path.unlink()
                return None
            head, content_at = read_head(data)
            origin = head.origin
            if origin.task_id != directory.task.task_id:
                raise DamagedSliceError("it is another task's")  # noqa: TRY301 - one way to tell it
            if _is_whole(path.stem, data):
                return path.rename(path.with_suffix(WHOLE))
            repair = self._repairs.get(origin.kind)
            repaired = None if repair is None else repair(data[content_at:])
        except Exception as error:  # the repair of a damaged file may fail in any way
            log = (
                _log.error
                if isinstance(error, OSError | DamagedSliceError | ValueError)
                else (_log.exception)
            )
            log("slice repair failed", path=str(path), error=str(error))
            if not self._quarantine.take(path, f"it cannot be repaired: {error}"):
                return None
            self._taken_up.lost.append(SliceLost(origin, f"its file cannot be repaired: {error}"))
            return None
        if repaired is None:
            path.unlink()
            return None
        draft = Draft(origin, head.start_ms, path.stem, data[:content_at], has_file=True)
        draft.finish = Finish(
            head.start_ms, repaired.duration_ms, {"repaired": "true"}, content=repaired.content
        )
        return draft


def _is_whole(name: str, data: bytes) -> bool:
    """Whether a growing slice was about to get its final name."""
    try:
        read_slice(name, data)
    except DamagedSliceError:
        return False
    return True
