"""Puts on record, and so tells, what the spool has lost (`SliceLost`): events 1006.

While the database refuses, losses are kept in memory. At a stop on a full disk, room that was held
on it is given up for them: what is lost by then is known to nobody else.
"""

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from cloudslice.database import Database
from cloudslice.events import Bus, LossRecorded, SliceLost
from cloudslice.faults import Faults
from cloudslice.slices import SliceKind, TaskRef
from cloudslice.sqlite_file import DatabaseError
from cloudslice.uploads.progress import Progress
from cloudslice.uploads.storage_errors import StorageError

_RESERVE_BYTES = 1024 * 1024
"""The database's log of about a thousand losses of as many tasks."""

_RETRY_S = 2.0

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
            bus: tells of losses.
            find_task: a task as its events name it.
            reserve: a file that holds some room on the database's disk.
        """
        self.count = 0
        self._bus = bus
        self._database = database
        self._progress = Progress(bus)
        self._find_task = find_task
        self._reserve = reserve
        self._losses: Counter[SliceLost] = Counter()
        self._added = asyncio.Event()
        self._recorder: asyncio.Task[None] | None = None
        self.faults = Faults("losses")
        bus.listen(SliceLost, self._note)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._hold_room)
        self._recorder = asyncio.create_task(self._record_forever())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._recorder is not None:
            self._recorder.cancel()
            await asyncio.wait([self._recorder])
        try:
            await self._record()
        except DatabaseError:
            await asyncio.to_thread(self._release_room)
            try:
                await self._record()
            except DatabaseError as error:
                _log.error("losses cannot be put on record", error=str(error))

    def are_waiting(self, task_id: str) -> bool:
        """Whether a task has lost something that is not on record yet."""
        return any(lost.origin.task_id == task_id for lost in self._losses)

    def _note(self, lost: SliceLost) -> None:
        self.count += 1
        self._losses[lost] += 1
        self._added.set()
        origin = lost.origin
        _log.error(
            "end of slice lost" if lost.is_partial else "slice lost",
            task_id=origin.task_id,
            user_id=origin.user_id,
            kind=origin.kind.value,
            why=lost.reason,
        )

    async def _record_forever(self) -> None:
        while True:
            await self._added.wait()
            self._added.clear()
            try:
                await self._record()
            except DatabaseError as error:
                _log.error("losses wait to be put on record", error=str(error))
            if self._losses and not self._added.is_set():
                await asyncio.sleep(_RETRY_S)
                self._added.set()

    async def _record(self) -> None:
        """Put on record all that is not; what meets a fault stays, and holds up no other.

        Raises:
            DatabaseError: the database refuses it.
        """
        if not (losses := Counter(self._losses)):
            return
        try:
            await self._record_these(losses)
        except DatabaseError:
            raise
        except Exception as error:
            self.faults.caught(error)
            for lost, count in losses.items():
                await self._record_one(lost, count)

    async def _record_one(self, lost: SliceLost, count: int) -> None:
        try:
            await self._record_these(Counter({lost: count}))
        except DatabaseError:
            raise
        except Exception as error:
            self.faults.caught(error, task_id=lost.origin.task_id)

    async def _record_these(self, losses: Counter[SliceLost]) -> None:
        await self._database.run(partial(self._write, losses))
        self._losses -= losses
        for task_id in {lost.origin.task_id for lost in losses}:
            if not self.are_waiting(task_id):
                self._bus.publish(LossRecorded(task_id))

    def _write(self, losses: Mapping[SliceLost, int], connection: sqlite3.Connection) -> None:
        for lost, count in losses.items():
            if task := self._find_task(lost.origin.task_id):
                self._progress.lose(connection, task, _explain(lost, count), count)

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
