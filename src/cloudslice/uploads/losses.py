"""Puts on record, and so tells, what the spool has lost (`SliceLost`): events 1006.

While the database refuses, losses are kept in memory. At a stop on a full disk, room that was held
on it is given up for them: what is lost by then is known to nobody else.
"""

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import structlog

from cloudslice.bus import Bus
from cloudslice.database import Database
from cloudslice.events import LossRecorded, SliceLost
from cloudslice.faults import Faults
from cloudslice.gathering import Gatherer
from cloudslice.slices import SliceKind, TaskRef
from cloudslice.uploads.progress import Progress
from cloudslice.uploads.storage_errors import StorageError

_RESERVE_BYTES = 1024 * 1024
"""The database's log of about a thousand losses of as many tasks."""

_log = structlog.get_logger(__name__)


class Losses:
    """Records losses until it is left, and then the last ones; an async context manager.

    To be entered before the spool, which may tell of losses until it is left.

    Attributes:
        count: how many slices, or ends of slices, the spool could not keep.
        faults: errors that nobody foresaw; the losses that they befell are recorded later.
    """

    def __init__(
        self,
        database: Database,
        bus: Bus,
        find_task: Callable[[str], TaskRef | None],
        reserve: Path,
    ) -> None:
        """
        Args:
            database: open, with the SCHEMA of `uploads.progress`.
            find_task: a task as its events name it.
            reserve: a file that holds some room on the database's disk.
        """
        self.count = 0
        self.faults = Faults("losses")
        self._bus = bus
        self._progress = Progress(bus)
        self._find_task = find_task
        self._reserve = reserve
        self._waiting: Counter[str] = Counter()
        """Losses of each task that are not on record."""
        self._gatherer = Gatherer(
            database,
            self._record,
            self._note_recorded,
            within_s=0,
            what="record losses",
            caught=self.faults.caught,
        )
        self._recorder: asyncio.Task[None] | None = None
        bus.listen(SliceLost, self._note)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._hold_room)
        self._recorder = asyncio.create_task(self._gatherer.run())
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._waiting.total():
            await asyncio.to_thread(self._release_room)
        if self._recorder is not None:
            self._recorder.cancel()
            await asyncio.wait([self._recorder])

    def are_waiting(self, task_id: str) -> bool:
        """Whether a task has lost something that is not on record yet."""
        return self._waiting[task_id] > 0

    def _note(self, lost: SliceLost) -> None:
        self.count += 1
        origin = lost.origin
        self._waiting[origin.task_id] += 1
        self._gatherer.add(lost)
        _log.error(
            "end of slice lost" if lost.is_partial else "slice lost",
            task_id=origin.task_id,
            user_id=origin.user_id,
            kind=origin.kind.value,
            why=lost.reason,
        )

    def _record(self, connection: sqlite3.Connection, losses: Sequence[SliceLost]) -> None:
        for lost, count in Counter(losses).items():
            if task := self._find_task(lost.origin.task_id):
                self._progress.lose(connection, task, _explain(lost, count), count)

    def _note_recorded(self, losses: Sequence[SliceLost]) -> None:
        recorded = Counter(lost.origin.task_id for lost in losses)
        self._waiting -= recorded  # keeps those that are left
        for task_id in recorded.keys() - self._waiting.keys():
            self._bus.publish(LossRecorded(task_id))

    def _hold_room(self) -> None:
        try:
            with self._reserve.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, _RESERVE_BYTES)
        except OSError as error:
            _log.warning("no room on the disk is reserved", why=error.strerror)
            self._release_room()

    def _release_room(self) -> None:
        try:
            self._reserve.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("the reserve cannot be released", why=error.strerror)


def _explain(lost: SliceLost, count: int) -> StorageError:
    origin = lost.origin
    what = f"{'audio' if origin.kind is SliceKind.AUDIO else 'picture'} of {origin.user_id}"
    amount = "The end of a slice" if lost.is_partial else "A slice"
    if count > 1:
        amount = f"{'The ends of' if lost.is_partial else ''} {count} slices".strip()
    return StorageError(0, "SpoolFailure", f"{amount} ({what}) could not be kept: {lost.reason}.")
