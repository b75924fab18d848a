"""Carries out the spool's orders on the disk and in the database, a batch at a time.

A slice goes through four steps, each of which can be repeated and none skipped: its row is on
record (with what it covers, if it is being finished) before its file is touched; the file is
written and flushed as ``<id>.part``; it is renamed to ``<id>.slice``, which says that it is whole;
it is marked as waiting. A kill between any two of them is put right by `recovery`. Steps are taken
for a whole batch together: two transactions and one flush of the directory, however many slices.

Everything here blocks: it belongs on the spool's own thread.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from cloudslice.database import Database, DatabaseError, Operation
from cloudslice.delivery import consignors, slices
from cloudslice.delivery.model import SliceOrigin

_COMMIT_PAUSES_S = (0.5, 1, 2, 4)
"""A full or stuck disk may come to itself; meanwhile the spool's orders wait in memory."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Draft:
    """A slice that is being written."""

    origin: SliceOrigin
    start_ms: int
    created_ms: int
    id: int | None = None
    """Its row and file; given by the writer, which alone touches this and the next two."""
    written: int = 0
    """Bytes that count as the spool's."""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    draft: Draft


@dataclass(frozen=True, slots=True)
class Append:
    draft: Draft
    data: bytes


@dataclass(frozen=True, slots=True)
class Finish:
    draft: Draft
    duration_ms: int
    details: Mapping[str, str]
    head: bytes


@dataclass(frozen=True, slots=True)
class Discard:
    draft: Draft


@dataclass(frozen=True, slots=True)
class Abandon:
    """The slice cannot be kept, for a reason that lies before the disk."""

    draft: Draft
    reason: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A waiting slice is off the record: its file may go."""

    slice_id: int
    size: int


@dataclass(frozen=True, slots=True)
class Flush:
    """Nothing to write: `done` is for the spool to set when the batch is carried out."""

    done: Future[None]


Order = Begin | Append | Finish | Discard | Abandon | Remove | Flush


@dataclass(frozen=True, slots=True)
class Sealed:
    """A slice whose file is whole."""

    slice_id: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Loss:
    """A slice that could not be kept, and why."""

    origin: SliceOrigin
    reason: str


@dataclass(slots=True)
class Outcome:
    """What became of a batch."""

    waiting: set[str] = field(default_factory=set)
    """Tasks that have new slices to upload."""
    lost: list[Loss] = field(default_factory=list)
    freed: int = 0
    """Bytes that the spool holds no more."""


def part_path(directory: Path, slice_id: int) -> Path:
    """The file of a slice that grows."""
    return directory / f"{slice_id}.part"


def slice_path(directory: Path, slice_id: int) -> Path:
    """The file of a slice that is whole."""
    return directory / f"{slice_id}.slice"


def seal(directory: Path, slice_id: int) -> Sealed:
    """Flush a grown file and give it its final name; the directory is still to be flushed.

    Raises:
        OSError: it cannot be read or flushed.
    """
    path = part_path(directory, slice_id)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    path.rename(slice_path(directory, slice_id))
    return Sealed(slice_id, size, digest)


def sync_directory(directory: Path) -> None:
    """Make renames and removals in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SliceWriter:
    """Writes drafts into a directory and keeps the record of them."""

    def __init__(self, directory: Path, database: Database) -> None:
        self._directory = directory
        self._database = database
        self._unrecorded: list[tuple[Draft, Sealed]] = []
        """Slices that are whole while the database refuses to be told; the next batch tells it."""

    def carry_out(self, batch: Sequence[Order]) -> Outcome:
        """Carry out orders in order; what fails is lost alone, and named in the outcome."""
        outcome = Outcome()
        self._register(batch, outcome)
        finished: list[Draft] = []
        unused: list[Draft] = []
        for order in batch:
            self._write(order, finished, unused, outcome)
        self._unrecorded += self._seal(finished, outcome)
        self._record(unused, outcome)
        return outcome

    def _register(self, batch: Sequence[Order], outcome: Outcome) -> None:
        announced = [order for order in batch if isinstance(order, Begin | Finish)]
        if not announced:
            return
        refused: dict[Draft, str] = {}

        def register(connection: sqlite3.Connection) -> None:
            for order in announced:
                draft = order.draft
                if isinstance(order, Begin):
                    try:
                        draft.id = slices.register(
                            connection, draft.origin, draft.start_ms, draft.created_ms
                        )
                    except slices.UnknownTaskError as error:
                        refused[draft] = str(error)
                elif draft.id is not None and not draft.lost:
                    slices.describe(connection, draft.id, order.duration_ms, order.details)

        error = self._commit(register)
        if error is not None:
            refused = {order.draft: str(error) for order in announced}
        for draft, reason in refused.items():
            self._lose(draft, reason, outcome)

    def _write(
        self, order: Order, finished: list[Draft], unused: list[Draft], outcome: Outcome
    ) -> None:
        if isinstance(order, Remove):
            _remove(slice_path(self._directory, order.slice_id))
            outcome.freed += order.size
            return
        if isinstance(order, Begin | Flush):
            return
        if order.draft.lost or order.draft.id is None:
            outcome.freed += len(order.data) if isinstance(order, Append) else 0
            return
        draft, path = order.draft, part_path(self._directory, order.draft.id)
        try:
            match order:
                case Append(data=data):
                    draft.written += len(data)
                    with path.open("ab") as file:
                        file.write(data)
                case Finish(head=head):
                    if head:
                        with path.open("r+b") as file:
                            file.write(head)
                    finished.append(draft)
                case Discard():
                    _remove(path)
                    unused.append(draft)
                    outcome.freed += draft.written
                case Abandon(reason=reason):
                    self._lose(draft, reason, outcome)
        except OSError as error:
            self._lose(draft, str(error), outcome)

    def _seal(self, finished: Sequence[Draft], outcome: Outcome) -> list[tuple[Draft, Sealed]]:
        sealed: list[tuple[Draft, Sealed]] = []
        for draft in finished:
            assert draft.id is not None  # noqa: S101 - only registered drafts get this far
            try:
                sealed.append((draft, seal(self._directory, draft.id)))
            except OSError as error:
                self._lose(draft, str(error), outcome)
        if not sealed:
            return []
        try:
            sync_directory(self._directory)
        except OSError as error:
            for draft, _ in sealed:
                self._lose(draft, str(error), outcome)
            return []
        return sealed

    def _record(self, unused: Sequence[Draft], outcome: Outcome) -> None:
        if not self._unrecorded and not unused and not outcome.lost:
            return

        def record(connection: sqlite3.Connection) -> None:
            for _, seal_ in self._unrecorded:
                slices.mark_waiting(connection, seal_.slice_id, seal_.size, seal_.sha256)
            slices.delete_unused(connection, [d.id for d in unused if d.id is not None])
            for loss in outcome.lost:
                consignors.add_lost(connection, loss.origin.task_id)

        if self._commit(record) is None:
            outcome.waiting.update(draft.origin.task_id for draft, _ in self._unrecorded)
            self._unrecorded.clear()

    def _commit(self, operation: Operation[None]) -> Exception | None:
        """Carry `operation` out, if need be after some tries; why it could not be, if it cannot."""
        for pause_s in (*_COMMIT_PAUSES_S, None):
            try:
                self._database.submit(operation).result()
            except (DatabaseError, sqlite3.Error) as error:
                _log.error("database write refused", error=str(error), retry_in_s=pause_s)
                if pause_s is None:
                    return error
                time.sleep(pause_s)
            else:
                break
        return None

    def _lose(self, draft: Draft, reason: str, outcome: Outcome) -> None:
        if draft.lost:
            return
        draft.lost = True
        outcome.lost.append(Loss(draft.origin, reason))
        outcome.freed += draft.written
        if draft.id is None:
            return
        _remove(part_path(self._directory, draft.id))
        _remove(slice_path(self._directory, draft.id))
        slice_id = draft.id
        self._database.post(
            lambda connection: slices.delete_unused(connection, [slice_id]), "forget a lost slice"
        )


def _remove(path: Path) -> None:
    """Remove a file; one that resists is a stray, which the next start tries to remove again."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("file cannot be removed", path=str(path), why=str(error))
