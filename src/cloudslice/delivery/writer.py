"""Carries out the spool's orders on the disk and in the database, a batch at a time.

A slice goes through four steps, each of which can be repeated and none skipped: its row is on
record (with what it covers, if it is being finished) before its file is touched; the file is
written and flushed as ``<id>.part``; it is renamed to ``<id>.slice``, which says that it is whole;
it is marked as waiting. A kill between any two of them is put right by `recovery`. Steps are taken
for a whole batch together: two transactions and one flush of the directory, however many slices,
and each file is opened once, however much there is to write to it.

Everything here blocks: it belongs on the spool's own thread.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from cloudslice.database import Database, DatabaseError, Operation
from cloudslice.delivery import consignors, slices
from cloudslice.delivery.model import SliceOrigin
from cloudslice.delivery.orders import Abandon, Append, Begin, Discard, Draft, Finish, Order, Remove
from cloudslice.delivery.slice_files import PART, WHOLE, Sealed, SliceFiles
from cloudslice.delivery.slices import SliceRecord

_COMMIT_PAUSES_S = (0.5, 1, 2, 4)
"""A full or stuck disk may come to itself; meanwhile the spool's orders wait in memory."""

_log = structlog.get_logger(__name__)


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


class SliceWriter:
    """Writes drafts into files and keeps the record of them."""

    def __init__(
        self, files: SliceFiles, database: Database, report: Callable[[Outcome], None]
    ) -> None:
        """`report` is called with what became of a batch before anybody can find that in the
        database, so that nobody is told of a slice that he knows already."""
        self._files = files
        self._database = database
        self._report = report
        self._unrecorded: list[Sealed] = []
        """Slices that are whole while the database refuses to be told; the next batch tells it."""

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
                self._files.remove(order.slice_id, WHOLE)
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
                self._files.remove(draft.id, PART)
                unused.append(draft)
                outcome.freed += draft.size
            case Abandon(draft):
                self._lose(draft, order.reason, outcome)
        return None

    def _write(self, drafts: Iterable[Draft], outcome: Outcome) -> None:
        """Bring drafts to the disk; those that are finished durably and by their final names."""
        finished: list[Draft] = []
        for draft in drafts:
            if draft.is_gone:
                continue
            if draft.finish is not None:
                finished.append(draft)
                continue
            try:
                self._files.append(draft)
            except OSError as error:
                self._lose(draft, str(error), outcome)
        sealed: dict[Draft, Sealed] = {}
        for draft, result in self._files.complete(finished).items():
            if isinstance(result, OSError):
                self._lose(draft, str(result), outcome)
            else:
                sealed[draft] = result
        if not sealed:
            return
        try:
            self._files.flush()
        except OSError as error:
            for draft in sealed:
                self._lose(draft, str(error), outcome)
        else:
            self._unrecorded += sealed.values()

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
        for suffix in (PART, WHOLE):
            self._files.remove(draft.id, suffix)
        slice_id = draft.id
        self._database.post(
            lambda connection: slices.delete_unused(connection, [slice_id]), "forget a lost slice"
        )
