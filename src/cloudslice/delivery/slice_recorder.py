"""Puts on record what the spool's thread does; what the database refuses is kept and tried again.

Everything here blocks: it belongs on the spool's own thread.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import structlog

from cloudslice.database import Database, DatabaseError, Operation, is_refusal
from cloudslice.delivery import slices
from cloudslice.delivery.losses import Loss, RecordLoss
from cloudslice.delivery.orders import Draft
from cloudslice.delivery.slice_files import Sealed
from cloudslice.delivery.slices import SliceRecord

_log = structlog.get_logger(__name__)


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

        if drafts and self._commit(register):
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
        orphans: list[Sealed] = []

        def record(connection: sqlite3.Connection) -> None:
            orphans.clear()
            outcome.waiting.clear()
            for each in self.sealed:
                found = slices.mark_waiting(connection, each.slice_id, each.size, each.sha256)
                if found is None:
                    orphans.append(each)
                else:
                    outcome.waiting.append(found)
            slices.delete_unused(connection, self.unused)
            slices.note_removed(connection, self.removed)
            for loss, count in self.losses.items():
                self._record_loss(connection, loss, count)
            self._database.after_commit(lambda: self._report(outcome))

        if self._commit(record):
            for results in (self.sealed, self.unused, self.removed, self.losses):
                results.clear()
            for each in orphans:
                _log.error("whole slice is not on record", slice=each.slice_id)
        else:
            outcome.waiting.clear()
            self._report(outcome)

    def _commit(self, operation: Operation[None]) -> bool:
        """Whether `operation` is on record; an error is logged when it is the first of a row."""
        try:
            self._database.perform(operation)
        except Exception as error:
            if not self._is_refused:
                log = _log.error if isinstance(error, DatabaseError) else _log.exception
                log("database write refused: the spool's records wait", error=str(error))
            self._is_refused = True
            return False
        if self._is_refused:
            _log.info("the database takes the spool's records again")
        self._is_refused = False
        return True
