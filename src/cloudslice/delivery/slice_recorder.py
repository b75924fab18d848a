"""Puts on record what the spool's thread does; what the database refuses is kept and tried again.

An entry that fails for a reason of its own ends alone: the others of its batch are recorded.

Everything here blocks: it belongs on the spool's own thread.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from cloudslice.database import Database, Operation, is_refusal
from cloudslice.delivery import slices
from cloudslice.delivery.losses import Loss, RecordLoss
from cloudslice.delivery.orders import Draft
from cloudslice.delivery.slice_files import Sealed
from cloudslice.delivery.slices import SliceRecord
from cloudslice.faults import Faults

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Outcome:
    """What became of a batch."""

    waiting: list[SliceRecord] = field(default_factory=list)
    """Slices that are to be uploaded now."""
    gone: set[str] = field(default_factory=set)
    """Tasks of which a slice that came to nothing is off the record."""
    lost: list[Loss] = field(default_factory=list)
    freed: int = 0
    """Bytes that the spool holds no more."""

    @property
    def is_empty(self) -> bool:
        return not (self.waiting or self.gone or self.lost or self.freed)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Something to put on record."""

    record: Callable[[sqlite3.Connection, Outcome], object]
    """An operation; what it has led to is in the outcome after its commit."""
    forget: Callable[[], object]
    """It is on record, or never will be."""


class SliceRecorder:
    """Keeps the record of the spool's slices.

    Attributes:
        sealed: slices that are whole and durable.
        unused: rows of slices that came to nothing.
        removed: slices off the record whose files are gone, durably.
        losses: what is to be told as lost, and how often.
    """

    def __init__(
        self, database: Database, record_loss: RecordLoss, report: Callable[[Outcome], None]
    ) -> None:
        self.sealed: list[Sealed] = []
        self.unused: list[int] = []
        self.removed: list[int] = []
        self.losses: Counter[Loss] = Counter()
        self._database = database
        self._record_loss = record_loss
        self._report = report
        self._is_refused = False
        self._faults = Faults("the spool's records")

    @property
    def is_behind(self) -> bool:
        """Whether something is to be put on record that the database has refused."""
        return bool(self.sealed or self.unused or self.losses)

    def register(self, drafts: Collection[Draft]) -> dict[Draft, str]:
        """Put on record what must be there before the drafts' files are touched; those that
        never can be, and why. Drafts that the database refuses stay as they are."""
        new_ids: dict[Draft, int] = {}
        described: list[Draft] = []
        impossible: dict[Draft, str] = {}

        def register(connection: sqlite3.Connection) -> None:
            for results in (new_ids, described, impossible):
                results.clear()
            for draft in drafts:
                try:
                    slice_id = draft.id
                    if slice_id is None:
                        slice_id = new_ids[draft] = slices.register(
                            connection, draft.origin, draft.start_ms, draft.created_ms
                        )
                    if (finish := draft.finish) is not None:
                        slices.fix_start(connection, slice_id, finish.start_ms)
                        slices.describe(connection, slice_id, finish.duration_ms, finish.details)
                        described.append(draft)
                except Exception as error:  # an odd one is not to hold up the others
                    if is_refusal(error):
                        raise
                    impossible[draft] = str(error)

        if drafts and self._commit(register) is None:
            for draft, slice_id in new_ids.items():
                draft.id = slice_id
            for draft in described:
                draft.is_described = True
            return impossible
        return {}

    def record(self, outcome: Outcome) -> None:
        """Put on record what is to be, then report the outcome: with the slices that wait before
        anybody can find them in the database, so that nobody is told of one that he knows."""
        if not self.is_behind:
            self._report(outcome)
            return
        entries = self._entries()
        error = self._record_together(entries, outcome)
        if error is None:
            for each in entries:
                each.forget()
            return
        if not is_refusal(error):
            self._record_singly(entries)
        self._report(outcome)

    def _entries(self) -> list[_Entry]:
        entries = [
            _Entry(partial(self._mark_waiting, each), partial(self.sealed.remove, each))
            for each in self.sealed
        ]
        entries += [
            _Entry(partial(self._delete_unused, slice_id), partial(self.unused.remove, slice_id))
            for slice_id in self.unused
        ]
        removed = tuple(self.removed)
        entries.append(_Entry(lambda c, _: slices.note_removed(c, removed), self.removed.clear))
        entries += [
            _Entry(partial(self._lose, loss, count), partial(self.losses.pop, loss))
            for loss, count in self.losses.items()
        ]
        return entries

    def _record_together(self, entries: Sequence[_Entry], outcome: Outcome) -> Exception | None:
        """Record entries and report what came of them, or why nothing did."""

        def record(connection: sqlite3.Connection) -> None:
            for each in entries:
                each.record(connection, outcome)
            self._database.after_commit(lambda: self._report(outcome))

        return self._commit(record)

    def _record_singly(self, entries: Sequence[_Entry]) -> None:
        """Record each entry that can be, until the database refuses; one that cannot is dropped.

        The file of a slice that is dropped so stays, and the next start takes it up.
        """
        for each in entries:
            error = self._record_together([each], Outcome())
            if error is not None and is_refusal(error):
                return
            each.forget()

    def _mark_waiting(
        self, sealed: Sealed, connection: sqlite3.Connection, outcome: Outcome
    ) -> None:
        found = slices.mark_waiting(connection, sealed.slice_id, sealed.size, sealed.sha256)
        if found is None:
            _log.error("whole slice is not on record", slice=sealed.slice_id)
        else:
            self._database.after_commit(partial(outcome.waiting.append, found))

    def _delete_unused(
        self, slice_id: int, connection: sqlite3.Connection, outcome: Outcome
    ) -> None:
        gone = slices.delete_unused(connection, [slice_id])
        self._database.after_commit(partial(outcome.gone.update, gone))

    def _lose(
        self, loss: Loss, count: int, connection: sqlite3.Connection, _outcome: Outcome
    ) -> None:
        self._record_loss(connection, loss, count)

    def _commit(self, operation: Operation[None]) -> Exception | None:
        """Why `operation` is not on record; a refusal is logged when it is the first of a row."""
        try:
            self._database.perform(operation)
        except Exception as error:
            if not is_refusal(error):
                self._faults.caught(error)
            elif not self._is_refused:
                _log.error("database write refused: the spool's records wait", error=str(error))
                self._is_refused = True
            return error
        if self._is_refused:
            _log.info("the database takes the spool's records again")
        self._is_refused = False
        return None
