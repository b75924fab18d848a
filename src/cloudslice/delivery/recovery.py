"""Puts a spool right after the process was killed at any moment. Everything here blocks."""

import hashlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from cloudslice.database import Database
from cloudslice.delivery import consignors, slices
from cloudslice.delivery.model import Repair, SliceKind
from cloudslice.delivery.slice_files import (
    PART,
    WHOLE,
    Sealed,
    part_path,
    seal,
    slice_path,
    sync_directory,
)
from cloudslice.delivery.slices import UnfinishedRecord
from cloudslice.delivery.writer import Loss

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Repaired:
    sealed: Sealed
    duration_ms: int | None
    """What the repaired file covers; None if it was whole and what it covers is on record."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a spool held at start."""

    used_bytes: int
    lost: list[Loss]


def recover(directory: Path, database: Database, repairs: Mapping[SliceKind, Repair]) -> Recovery:
    """Take up every slice that is whole or can be made so, forget the rest, remove stray files.

    Raises:
        OSError: the directory cannot be read or written.
        DatabaseError: the record cannot be written.
    """
    unfinished = database.perform(slices.find_unfinished)
    repaired: list[_Repaired] = []
    unused: list[int] = []
    lost: list[Loss] = []
    for record in unfinished:
        try:
            result = _repair(directory, record, repairs.get(record.origin.kind))
        except Exception as error:  # the repair of a damaged file may fail in any way
            _log.exception("slice repair failed", task_id=record.origin.task_id, slice=record.id)
            lost.append(Loss(record.origin, f"its file cannot be repaired: {error}"))
            result = None
        if result is None:
            unused.append(record.id)
        else:
            repaired.append(result)
    sync_directory(directory)
    database.perform(lambda connection: _record(connection, repaired, unused, lost))
    missing = _find_missing(directory, database)
    used = _remove_strays(directory, database)
    return Recovery(used, lost + missing)


def _repair(directory: Path, record: UnfinishedRecord, repair: Repair | None) -> _Repaired | None:
    whole = slice_path(directory, record.id)
    if whole.exists():
        data = whole.read_bytes()
        return _Repaired(
            Sealed(record.id, len(data), hashlib.sha256(data).hexdigest()), duration_ms=None
        )
    part = part_path(directory, record.id)
    if repair is None or not part.exists():
        return None
    duration_ms = repair(part)
    if duration_ms is None:
        return None
    _log.info("slice repaired", key=record.object_key, duration_ms=duration_ms)
    return _Repaired(seal(directory, record.id), duration_ms)


def _record(
    connection: sqlite3.Connection, repaired: list[_Repaired], unused: list[int], lost: list[Loss]
) -> None:
    for item in repaired:
        sealed = item.sealed
        if item.duration_ms is not None:
            slices.describe(connection, sealed.slice_id, item.duration_ms, {"repaired": "true"})
        slices.mark_waiting(connection, sealed.slice_id, sealed.size, sealed.sha256)
    slices.delete_unused(connection, unused)
    for loss in lost:
        consignors.add_lost(connection, loss.origin.task_id)


def _find_missing(directory: Path, database: Database) -> list[Loss]:
    """Slices on record whose file somebody has taken away."""

    def forget_missing(connection: sqlite3.Connection) -> list[Loss]:
        missing = []
        for record in slices.find_waiting(connection):
            if not slice_path(directory, record.id).exists():
                slices.delete(connection, record.id)
                consignors.add_lost(connection, record.origin.task_id)
                missing.append(Loss(record.origin, "its file is gone from the spool"))
        return missing

    return database.perform(forget_missing)


def _remove_strays(directory: Path, database: Database) -> int:
    """Remove files of no slice (their upload is on record already); the bytes of the others."""
    sizes = database.perform(slices.find_sizes)
    for path in directory.iterdir():
        if path.suffix in (PART, WHOLE) and not (
            path.suffix == WHOLE and path.stem.isdecimal() and int(path.stem) in sizes
        ):
            path.unlink()
    return sum(sizes.values())
