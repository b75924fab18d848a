"""Carries out the spool's orders on the disk and in the database, a batch at a time.

A slice goes through four steps, each of which can be repeated and none skipped: its row is on
record (with what it covers, if it is being finished) before its file is touched; the file is
written and flushed as ``<id>.part``; it is renamed to ``<id>.slice``, which says that it is whole;
it is marked as waiting. A kill between any two of them is put right by `recovery`. Steps are taken
for a whole batch together: two transactions and one flush of the directory, however many slices,
and each file is opened once, however much there is to write to it.

Everything here blocks: it belongs on the spool's own thread.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import structlog

from cloudslice.database import Database, DatabaseError, Operation
from cloudslice.delivery import consignors, slices
from cloudslice.delivery.model import SliceOrigin
from cloudslice.delivery.orders import Abandon, Append, Begin, Discard, Draft, Finish, Order, Remove
from cloudslice.delivery.slices import SliceRecord

_COMMIT_PAUSES_S = (0.5, 1, 2, 4)
"""A full or stuck disk may come to itself; meanwhile the spool's orders wait in memory."""

_log = structlog.get_logger(__name__)


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

    waiting: list[SliceRecord] = field(default_factory=list)
    """Slices that are to be uploaded now."""
    lost: list[Loss] = field(default_factory=list)
    freed: int = 0
    """Bytes that the spool holds no more."""

    @property
    def is_empty(self) -> bool:
        return not (self.waiting or self.lost or self.freed)


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
        data = file.read()
        os.fsync(file.fileno())
    path.rename(slice_path(directory, slice_id))
    return Sealed(slice_id, len(data), hashlib.sha256(data).hexdigest())


def sync_directory(directory: Path) -> None:
    """Make renames and removals in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SliceWriter:
    """Writes drafts into a directory and keeps the record of them; a context manager."""

    def __init__(
        self, directory: Path, database: Database, report: Callable[[Outcome], None]
    ) -> None:
        """`report` is called with what became of a batch before anybody can find that in the
        database, so that nobody is told of a slice that he knows already."""
        self._directory = directory
        self._descriptor = os.open(directory, os.O_RDONLY)
        self._database = database
        self._report = report
        self._unrecorded: list[Sealed] = []
        """Slices that are whole while the database refuses to be told; the next batch tells it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._descriptor)

    def carry_out(self, batch: Sequence[Order]) -> None:
        """Carry out orders in order; what fails is lost alone, and named in the outcome."""
        outcome = Outcome()
        self._register(batch, outcome)
        unused: list[Draft] = []
        touched = {d: None for order in batch if (d := self._take(order, unused, outcome))}
        self._write(touched, outcome)
        self._record(unused, outcome)

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
                elif draft.id is not None and not draft.is_gone:
                    slices.describe(connection, draft.id, order.duration_ms, order.details)

        error = self._commit(register)
        if error is not None:
            refused = {order.draft: str(error) for order in announced}
        for draft, reason in refused.items():
            self._lose(draft, reason, outcome)

    def _take(self, order: Order, unused: list[Draft], outcome: Outcome) -> Draft | None:
        """Carry out an order but for what it has to write; the draft that this is for."""
        match order:
            case Remove():
                _remove(slice_path(self._directory, order.slice_id))
                outcome.freed += order.size
            case Append(draft) if draft.is_gone:
                outcome.freed += len(order.data)
            case Append(draft):
                draft.pieces.append(order.data)
                draft.size += len(order.data)
                return draft
            case Finish(draft) if not draft.is_gone:
                draft.finish = order
                return draft
            case Discard(draft) if not draft.is_gone and draft.id is not None:
                draft.is_gone = True
                _remove(part_path(self._directory, draft.id))
                unused.append(draft)
                outcome.freed += draft.size
            case Abandon(draft):
                self._lose(draft, order.reason, outcome)
        return None

    def _write(self, drafts: Iterable[Draft], outcome: Outcome) -> None:
        """Bring drafts to the disk; those that are finished durably and by their final names."""
        sealed: list[tuple[Draft, Sealed]] = []
        for draft in drafts:
            if draft.is_gone:
                continue
            try:
                if draft.finish is None:
                    self._append(draft)
                else:
                    sealed.append((draft, self._complete(draft, draft.finish)))
            except OSError as error:
                self._lose(draft, str(error), outcome)
        if not sealed:
            return
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            for draft, _ in sealed:
                self._lose(draft, str(error), outcome)
        else:
            self._unrecorded += [seal_ for _, seal_ in sealed]

    def _append(self, draft: Draft) -> None:
        descriptor = os.open(f"{draft.id}.part", os.O_WRONLY | os.O_CREAT, dir_fd=self._descriptor)
        try:
            _write_rest(descriptor, draft)
        finally:
            os.close(descriptor)

    def _complete(self, draft: Draft, finish: Finish) -> Sealed:
        assert draft.id is not None  # noqa: S101 - only registered drafts get this far
        whole = b"".join(draft.pieces) if not draft.written and not finish.head else None
        descriptor = os.open(f"{draft.id}.part", os.O_RDWR | os.O_CREAT, dir_fd=self._descriptor)
        try:
            _write_rest(descriptor, draft)
            if whole is None:
                os.pwrite(descriptor, finish.head, 0)
                whole = os.pread(descriptor, draft.written, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(
            f"{draft.id}.part",
            f"{draft.id}.slice",
            src_dir_fd=self._descriptor,
            dst_dir_fd=self._descriptor,
        )
        return Sealed(draft.id, len(whole), hashlib.sha256(whole).hexdigest())

    def _record(self, unused: Sequence[Draft], outcome: Outcome) -> None:
        if not self._unrecorded and not unused and not outcome.lost:
            self._report(outcome)
            return

        def record(connection: sqlite3.Connection) -> None:
            outcome.waiting = [
                slices.mark_waiting(connection, seal_.slice_id, seal_.size, seal_.sha256)
                for seal_ in self._unrecorded
            ]
            slices.delete_unused(connection, [d.id for d in unused if d.id is not None])
            for loss in outcome.lost:
                consignors.add_lost(connection, loss.origin.task_id)
            self._database.after_commit(lambda: self._report(outcome))

        if self._commit(record) is None:
            self._unrecorded.clear()
        else:
            outcome.waiting = []
            self._report(outcome)

    def _commit(self, operation: Operation[None]) -> Exception | None:
        """Carry `operation` out, if need be after some tries; why it could not be, if it cannot."""
        for pause_s in (*_COMMIT_PAUSES_S, None):
            try:
                self._database.perform(operation)
            except (DatabaseError, sqlite3.Error) as error:
                _log.error("database write refused", error=str(error), retry_in_s=pause_s)
                if pause_s is None:
                    return error
                time.sleep(pause_s)
            else:
                break
        return None

    def _lose(self, draft: Draft, reason: str, outcome: Outcome) -> None:
        if draft.is_gone:
            return
        draft.is_gone = True
        outcome.lost.append(Loss(draft.origin, reason))
        outcome.freed += draft.size
        if draft.id is None:
            return
        _remove(part_path(self._directory, draft.id))
        _remove(slice_path(self._directory, draft.id))
        slice_id = draft.id
        self._database.post(
            lambda connection: slices.delete_unused(connection, [slice_id]), "forget a lost slice"
        )


def _write_rest(descriptor: int, draft: Draft) -> None:
    """Write a draft's pieces behind what its file holds."""
    rest = memoryview(b"".join(draft.pieces))
    draft.pieces.clear()
    while rest:
        count = os.pwrite(descriptor, rest, draft.written)
        draft.written += count
        rest = rest[count:]


def _remove(path: Path) -> None:
    """Remove a file; one that resists is a stray, which the next start tries to remove again."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("file cannot be removed", path=str(path), why=str(error))
