"""The spool: a finished slice is durable here before anything else happens to it.

Its calls come from the event loop and return at once; a thread carries them out in order.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Self

from cloudslice.bus import Bus
from cloudslice.events import SliceGone
from cloudslice.faults import Faults
from cloudslice.secrets import SecretBox
from cloudslice.slices import (
    Bucket,
    Details,
    Repair,
    Slice,
    SliceKind,
    SliceOrigin,
    TaskRef,
    WaitingSlice,
)
from cloudslice.slicing.slice_store import GrowingSlice
from cloudslice.spool.directory_lock import locked
from cloudslice.spool.drafts import Outcome
from cloudslice.spool.files import sync_directory
from cloudslice.spool.intake import Intake
from cloudslice.spool.quarantine import Quarantine
from cloudslice.spool.recovery import Recovery
from cloudslice.spool.spool_thread import SpoolThread
from cloudslice.spool.spooled_tasks import SpooledTasks
from cloudslice.spool.task_directory import TaskDirectory
from cloudslice.spool.writer import SliceWriter


class Spool:
    """A directory of slices that wait for their upload; a `SliceStore` and async context manager.

    It publishes `SliceReady`, `SliceLost` and `SliceGone`.
    """

    def __init__(
        self,
        directory: Path,
        box: SecretBox,
        repairs: Mapping[SliceKind, Repair],
        bus: Bus,
        now_ms: Callable[[], int],
        *,
        is_new_clock: bool = False,
        sync_interval_s: float = 1.0,
        known: Mapping[str, tuple[TaskRef, Bucket]] | None = None,
    ) -> None:
        """
        Args:
            directory: made if it is not there.
            box: encrypts storage keys.
            repairs: for each kind how a file that was cut off is made valid; without: discarded.
            now_ms: the time from which a slice's age counts, of a clock that never steps.
            is_new_clock: whether that clock is another one than that of the files there.
            sync_interval_s: so often growing slices reach the device; 0: when the kernel likes.
            known: what others know of tasks, by their TaskIds: for those whose file is damaged.
        """
        self._directory = directory
        self._box = box
        self._bus = bus
        self._now_ms = now_ms
        self._is_new_clock = is_new_clock
        self._known = known or {}
        self._waiting: dict[str, list[WaitingSlice]] = {}
        self._are_taken = False
        self._quarantine = Quarantine(directory)
        self._tasks = SpooledTasks(self._quarantine)
        self._writer = SliceWriter(self._tasks, repairs, self._quarantine, time.monotonic)
        self._thread = SpoolThread(directory, self._writer, self._report, sync_interval_s)
        self._intake = Intake(self._writer, self._thread.gather, now_ms)
        self._lock = ExitStack()

    async def __aenter__(self) -> Self:
        """Take up what the directory holds, then be ready for more.

        Raises:
            OSError: the directory cannot be made, read or written, or another process uses it.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        sync_directory(self._directory.parent)
        recovery = Recovery(
            self._directory,
            self._tasks,
            self._box,
            self._quarantine,
            now_ms=self._now_ms() if self._is_new_clock else None,
            known=self._known,
        )
        with ExitStack() as stack:
            stack.enter_context(locked(self._directory))
            stack.callback(self._thread.end)
            taken_up = await self._thread.start(recovery)
            self._lock = stack.pop_all()
        for task_id, slices in taken_up.waiting.items():
            self._waiting.setdefault(task_id, []).extend(slices)
        self._intake.note_taken_up(taken_up)
        for lost in taken_up.lost:
            self._bus.publish(lost)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Carry out what was handed in; slices that still grow are repaired at the next start."""
        await self._thread.stop()
        self._lock.close()

    def take_waiting(self) -> dict[TaskRef, list[WaitingSlice]]:
        """The tasks known at the start, each with its whole slices, the oldest first. Once only:
        from then on `SliceReady` tells of new ones, also of those that grew at the start."""
        waiting, self._waiting, self._are_taken = self._waiting, {}, True
        return {
            directory.task: sorted(slices, key=attrgetter("name"))
            for task_id, slices in waiting.items()
            if (directory := self._tasks.find(task_id)) is not None
        }

    async def open(self, task: TaskRef, bucket: Bucket, *, names_after_s: int = 0) -> None:
        """Be ready for a task's slices, in this and later processes; harmless when it is.

        Args:
            task: the task.
            bucket: where its slices go.
            names_after_s: no slice is named by a second up to this one.

        Raises:
            OSError: the disk refuses it.
        """
        if self._tasks.is_open(task.task_id, bucket, names_after_s):
            return
        directory = TaskDirectory.make(self._directory / task.task_id, task, bucket, self._box)
        directory.names_after_s = names_after_s
        await self._thread.run(partial(self._tasks.open, directory))

    def close(self, task_id: str) -> None:
        """A task has no slices any more, and there will be none: forget it."""
        self._intake.forget(task_id)
        self._tasks.closing.add(task_id)
        self._thread.gather(partial(self._tasks.close, task_id))

    def find_task(self, task_id: str) -> TaskRef | None:
        """The task as its events name it, if the spool knows it."""
        directory = self._tasks.find(task_id)
        return None if directory is None else directory.task

    def load_bucket(self, task_id: str) -> Bucket:
        """Where a task's slices go.

        Raises:
            KeyError: no such task.
            SecretKeyError: its storage keys were encrypted with another key.
        """
        if (directory := self._tasks.find(task_id)) is None:
            raise KeyError(task_id)
        return directory.load_bucket()

    def grow(self, origin: SliceOrigin, start_utc_ms: int) -> GrowingSlice:
        """See `SliceStore`."""
        return self._intake.grow(origin, start_utc_ms)

    def put(self, origin: SliceOrigin, start_utc_ms: int, data: bytes, details: Details) -> None:
        """See `SliceStore`."""
        growing = self.grow(origin, start_utc_ms)
        growing.append(data)
        growing.finish(start_utc_ms, 0, details)

    async def take_in(
        self,
        task_id: str,
        coming: Mapping[WaitingSlice, Path],
        on_moved: Callable[[WaitingSlice], object],
    ) -> None:
        """Move whole slices here from another spool; see `SpooledTasks.take_in`."""
        moved: list[WaitingSlice] = []
        try:
            await self._thread.run(partial(self._tasks.take_in, task_id, coming, moved))
        finally:
            for each in moved:
                self._intake.used_bytes += each.size
                on_moved(each)

    def count_open(self, task_id: str) -> int:
        """How many slices of a task were begun and are not whole or lost yet."""
        return self._intake.count_open(task_id)

    def read(self, task_id: str, name: str) -> tuple[Slice, bytes]:
        """A whole slice and its content. Blocks; for any thread.

        Raises:
            DamagedSliceError: it is not what was written.
            OSError: it cannot be read.
        """
        return self._tasks.read(task_id, name)

    def is_there(self, task_id: str, name: str) -> bool:
        """Whether the file of a whole slice is still there; for any thread."""
        return self._tasks.is_there(task_id, name)

    def remove(self, task_id: str, name: str) -> None:
        """A whole slice is done with: remove its file."""
        self._thread.gather(partial(self._tasks.remove, task_id, name))

    def set_aside(self, task_id: str, name: str, reason: str) -> None:
        """Keep the file of a whole slice apart."""
        self._thread.gather(partial(self._tasks.set_aside, task_id, name, reason))

    @property
    def used_bytes(self) -> int:
        """What the slices in it take, growing ones included."""
        return self._intake.used_bytes

    @property
    def files_set_aside(self) -> int:
        """How many files were set aside since the start."""
        return self._quarantine.count

    @property
    def faults(self) -> Faults:
        """Errors that nobody foresaw."""
        return self._writer.faults

    async def watch(self) -> None:
        """Never returns; raises what ended the spool's thread, should that ever happen."""
        await self._thread.watch()

    async def flush(self) -> None:
        """Wait until all that was handed in so far is whole and durable, or lost, and that is
        published. What a full disk refuses meanwhile is not waited for."""
        await self._thread.run(lambda: None)

    def _report(self, outcome: Outcome) -> None:
        self._intake.note(outcome)
        for ready in outcome.ready:
            if not self._are_taken:
                waiting = self._waiting.setdefault(ready.slice.origin.task_id, [])
                waiting.append(WaitingSlice(ready.slice.name, ready.file_size))
            self._bus.publish(ready)
        for lost in outcome.lost:
            self._bus.publish(lost)
        for task_id in outcome.gone:
            self._bus.publish(SliceGone(task_id))
