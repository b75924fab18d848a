"""Puts a spool right after the process was killed at any moment, or with another record than it
had. Everything here blocks.

Only those files are removed of which the record says that they may go: slices that are in their
bucket or were given up, and beginnings that hold nothing. What else the record does not know is
set aside.
"""

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from cloudslice import vetting
from cloudslice.database import Database
from cloudslice.delivery import consignors, odd_rows, slices
from cloudslice.delivery.losses import Loss, RecordLoss
from cloudslice.delivery.quarantine import Quarantine, find_id
from cloudslice.delivery.slice_files import (
    PART,
    WHOLE,
    DamagedFileError,
    Sealed,
    check_regular,
    has_content,
    part_path,
    seal,
    slice_path,
    sync_directory,
)
from cloudslice.delivery.slices import UnfinishedRecord
from cloudslice.slices import Repair, SliceKind

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Repaired:
    sealed: Sealed
    duration_ms: int | None
    """What the repaired file covers; None if it was whole and what it covers is on record."""


@dataclass(slots=True)
class Recovery:
    """What a spool held at start."""

    used_bytes: int = 0
    lost: list[Loss] = field(default_factory=list)


def recover(
    directory: Path,
    database: Database,
    repairs: Mapping[SliceKind, Repair],
    quarantine: Quarantine,
    record_loss: RecordLoss,
) -> Recovery:
    """Take up every slice that is whole or can be made so, forget the rest, set strays aside.

    Raises:
        OSError: the directory cannot be read or written.
        DatabaseError: the record cannot be read or written.
    """
    return _Recoverer(directory, database, repairs, quarantine, record_loss).run()


class _Recoverer:
    def __init__(
        self,
        directory: Path,
        database: Database,
        repairs: Mapping[SliceKind, Repair],
        quarantine: Quarantine,
        record_loss: RecordLoss,
    ) -> None:
        self._directory = directory
        self._database = database
        self._repairs = repairs
        self._quarantine = quarantine
        self._record_loss = record_loss
        self._lost: list[Loss] = []
        self._reasons: dict[int, str] = {}
        """Why a slice's file is set aside, where more is known than that the record does not
        know it."""

    def run(self) -> Recovery:
        self._database.perform(self._forget_odd_rows)
        self._repair_unfinished()
        self._database.perform(self._forget_missing)
        used_bytes = self._sort_files()
        return Recovery(used_bytes, self._lost)

    def _forget_odd_rows(self, connection: sqlite3.Connection) -> None:
        lost = []
        consignors.forget_odd(connection)
        vetting.forget_odd(connection, "names")
        for row in odd_rows.forget_odd(connection):
            self._reasons[row.id] = f"its record cannot be used: {row.fault}"
            lost.append(Loss(row.origin, f"the record of it cannot be used: {row.fault}"))
        self._record_losses(connection, lost)

    def _repair_unfinished(self) -> None:
        repaired: list[_Repaired] = []
        unused: list[int] = []
        lost: list[Loss] = []
        for record in self._database.perform(slices.find_unfinished):
            if record.is_waiting and not slice_path(self._directory, record.id).exists():
                continue  # it is missing
            try:
                result = self._repair(record)
            except Exception as error:  # the repair of a damaged file may fail in any way
                log = _log.error if isinstance(error, OSError | ValueError) else _log.exception
                who = {"task_id": record.origin.task_id, "slice": record.id}
                log("slice repair failed", **who, error=str(error))
                why = error.strerror if isinstance(error, DamagedFileError) else str(error)
                self._reasons[record.id] = f"it cannot be repaired: {why}"
                lost.append(Loss(record.origin, f"its file cannot be repaired: {why}"))
                result = None
            if result is None:
                unused.append(record.id)
            else:
                repaired.append(result)
        sync_directory(self._directory)

        def record_results(connection: sqlite3.Connection) -> None:
            for item in repaired:
                _record_repaired(connection, item)
            slices.delete_unused(connection, unused)
            self._record_losses(connection, lost)

        self._database.perform(record_results)

    def _repair(self, record: UnfinishedRecord) -> _Repaired | None:
        """The slice made whole, or None if nothing was in it, which is gone then."""
        repair = self._repairs.get(record.origin.kind)
        whole = slice_path(self._directory, record.id)
        if os.path.lexists(whole):
            check_regular(whole)
            return self._take_up_whole(whole, record, repair)
        part = part_path(self._directory, record.id)
        if not os.path.lexists(part):
            return None
        check_regular(part)
        duration_ms = None if repair is None else repair(part)
        if duration_ms is None:
            part.unlink()
            return None
        _log.info("slice repaired", key=record.object_key, duration_ms=duration_ms)
        return _Repaired(seal(self._directory, record.id), duration_ms)

    def _take_up_whole(
        self, path: Path, record: UnfinishedRecord, repair: Repair | None
    ) -> _Repaired:
        duration_ms = None
        if record.duration_ms is None:
            # The record is older than the file.
            duration_ms = 0 if repair is None else repair(path)
            if duration_ms is None:
                raise ValueError("nothing in it can be delivered")
        data = path.read_bytes()
        sealed = Sealed(record.id, len(data), hashlib.sha256(data).hexdigest())
        return _Repaired(sealed, duration_ms)

    def _forget_missing(self, connection: sqlite3.Connection) -> None:
        """Slices on record whose file somebody has taken away, or that went before the record."""
        lost = []
        for record in slices.find_waiting(connection):
            if not slice_path(self._directory, record.id).exists():
                slices.delete(connection, record.id)
                lost.append(Loss(record.origin, "its file is gone from the spool"))
        self._record_losses(connection, lost)

    def _sort_files(self) -> int:
        """Remove the files that may go, set strays aside; the bytes of the others."""
        sizes = self._database.perform(slices.find_sizes)
        removals = self._database.perform(slices.find_removals)
        for path in sorted(self._directory.iterdir()):
            slice_id = find_id(path.name)
            if path.suffix not in (PART, WHOLE) or (
                path.name == f"{slice_id}{WHOLE}" and slice_id in sizes
            ):
                continue
            if slice_id in removals and _is_file(path, *removals[slice_id]):
                path.unlink()
            else:
                reason = self._reasons.get(slice_id or 0, "no slice on record has this file")
                self._quarantine.take(path.name, reason)
        sync_directory(self._directory)

        def settle(connection: sqlite3.Connection) -> None:
            slices.note_removed(connection, removals)
            slices.skip_ids(connection)

        self._database.perform(settle)
        return sum(sizes.values())

    def _record_losses(self, connection: sqlite3.Connection, lost: list[Loss]) -> None:
        """Within an operation: what is lost, those of a kind together."""
        for loss, count in Counter(lost).items():
            self._record_loss(connection, loss, count)
        self._database.after_commit(lambda: self._lost.extend(lost))


def _record_repaired(connection: sqlite3.Connection, item: _Repaired) -> None:
    sealed = item.sealed
    if item.duration_ms is not None:
        slices.describe(connection, sealed.slice_id, item.duration_ms, {"repaired": "true"})
    slices.mark_waiting(connection, sealed.slice_id, sealed.size, sealed.sha256)


def _is_file(path: Path, size: int | None, sha256: str | None) -> bool:
    """Whether a file is the one that may go; in doubt not."""
    if size is None or sha256 is None:
        return False
    try:
        return has_content(path, size, sha256)
    except OSError:
        return False
