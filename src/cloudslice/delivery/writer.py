"""Carries out the spool's orders on the disk and in the database, a batch at a time.

A slice goes through four steps, each of which can be repeated and none skipped: its row is on
record (with what it covers, if it is being finished) before its file is touched; the file is
written and flushed as ``<id>.part``; it is renamed to ``<id>.slice``, which says that it is whole;
it is marked as waiting. A kill between any two of them is put right by `recovery`. Steps are taken
for a whole batch together: two transactions and one flush of the directory, however many slices,
and each file is opened once, however much there is to write to it.

A step that the disk or the database refuses is taken again later; until then the slice waits with
all that is to be written of it, in memory, and the others go on. The spool bounds that memory: a
slice that passes the bound is cut, which means that it ends with what came before.

Everything here blocks: it belongs on the spool's own thread.
"""

import errno
from collections.abc import Callable, Mapping, Sequence

import structlog

from cloudslice.delivery.losses import Loss
from cloudslice.delivery.orders import (
    Abandon,
    Append,
    Begin,
    Discard,
    Draft,
    Finish,
    Order,
    Remove,
    SetAside,
)
from cloudslice.delivery.slice_files import PART, WHOLE, Sealed, SliceFiles
from cloudslice.delivery.slice_recorder import Outcome, SliceRecorder
from cloudslice.slices import Repair, SliceKind

RETRY_S = 0.5
"""Seconds until what was refused is tried again."""
_PATIENCE_S = 60.0
"""Seconds for which a file may be refused for another reason than a full disk."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_log = structlog.get_logger(__name__)


class SliceWriter:
    """Writes drafts into files and has them recorded."""

    def __init__(
        self,
        files: SliceFiles,
        recorder: SliceRecorder,
        repairs: Mapping[SliceKind, Repair],
        monotonic: Callable[[], float],
    ) -> None:
        """
        Args:
            files: the spool's.
            recorder: puts slices on record.
            repairs: for each kind how a slice that is cut is made valid; without: lost whole.
            monotonic: tells the time in seconds.
        """
        self._files = files
        self._recorder = recorder
        self._repairs = repairs
        self._monotonic = monotonic
        self._pending: dict[Draft, None] = {}
        """Drafts for which something is still to be done, in the order in which that came."""
        self._renamed: dict[Draft, Sealed] = {}
        """Drafts whose files have their final names, but not durably."""
        self._unlinked: list[int] = []
        """Slices off the record whose files are gone, but not durably."""
        self._is_refused = False

    @property
    def backlog_bytes(self) -> int:
        """What waits in memory for the disk."""
        return sum(draft.size - draft.written for draft in self._pending)

    @property
    def is_behind(self) -> bool:
        """Whether something was refused and is to be tried again."""
        return bool(self._pending or self._renamed or self._recorder.is_behind)

    @property
    def is_on_record(self) -> bool:
        """Whether the record knows of all slices, and of all that are whole or lost."""
        return not self._recorder.is_behind and all(d.id is not None for d in self._pending)

    def carry_out(self, batch: Sequence[Order]) -> None:
        """Carry out orders in order, and what was refused before if its time has come."""
        outcome = Outcome()
        for order in batch:
            self._take(order, outcome)
        now = self._monotonic()
        # A slice that is cut comes to its end in two turns.
        while due := [draft for draft in self._pending if draft.retry_at <= now]:
            self._advance(due, now, outcome)
        self._flush_names()
        self._note_recovery()
        self._recorder.record(outcome)

    def close(self, make_room: Callable[[], object]) -> None:
        """Try all that was refused once more. What is on the disk then is left to `recovery`; what
        is not is lost. `make_room` is called if the database has no room to say so."""
        for draft in self._pending:
            draft.retry_at = 0.0
        self.carry_out(())
        outcome, reason = Outcome(), "the process ended before the disk took it"
        for draft in list(self._pending):
            if draft.origin.kind not in self._repairs or not draft.written:
                self._lose(draft, reason, outcome)
            elif draft.pieces:
                self._tell(Loss(draft.origin, reason, is_partial=True), outcome)
        self._recorder.record(outcome)
        if self._recorder.is_behind:
            make_room()
            self._recorder.record(Outcome())

    def _take(self, order: Order, outcome: Outcome) -> None:
        """Carry out an order but for what it has to write."""
        match order:
            case Begin(draft):
                self._pending[draft] = None
            case Append(draft) if draft.takes_more:
                draft.pieces.append(order.data)
                draft.size += len(order.data)
                self._pending[draft] = None
            case Append():
                outcome.freed += len(order.data)
            case Finish(draft) if draft.takes_more:
                draft.finish, draft.start_ms = order, order.start_ms
                self._pending[draft] = None
            case Discard(draft) if not draft.is_gone:
                self._forget(draft, outcome)
            case Abandon(draft) if draft.takes_more:
                self._cut(draft, order.reason, outcome)
            case Remove():
                self._files.remove(order.slice_id, WHOLE)
                self._unlinked.append(order.slice_id)
                outcome.freed += order.size
            case SetAside():
                self._files.set_aside(order.slice_id, WHOLE, order.reason)

    def _advance(self, due: Sequence[Draft], now: float, outcome: Outcome) -> None:
        """Take drafts as far as they go. Each is done with then, waits, or has come further."""
        to_register = [draft for draft in due if not draft.is_on_record]
        for draft, reason in self._recorder.register(to_register).items():
            self._lose(draft, reason, outcome)
        finished: list[Draft] = []
        for draft in due:
            if draft.is_gone:
                continue
            if not draft.is_on_record:
                draft.retry_at = now + RETRY_S
            elif draft.finish is not None:
                finished.append(draft)
            else:
                self._grow(draft, now, outcome)
        for draft, result in self._files.complete(finished).items():
            if isinstance(result, OSError):
                self._hold(draft, result, now, outcome)
            else:
                self._renamed[draft] = result
                outcome.freed += draft.size - result.size
                self._done(draft)

    def _grow(self, draft: Draft, now: float, outcome: Outcome) -> None:
        try:
            if draft.pieces:
                self._files.append(draft)
            if draft.is_cut:
                self._end_cut(draft, outcome)
            else:
                del self._pending[draft]
        except OSError as error:
            self._hold(draft, error, now, outcome)
        else:
            draft.failing_since = None

    def _end_cut(self, draft: Draft, outcome: Outcome) -> None:
        """All that is kept of a slice that was cut is written: make it a valid file."""
        try:
            duration_ms = self._files.repair(draft, self._repairs[draft.origin.kind])
        except OSError:
            raise
        except Exception as error:  # the repair of a damaged file may fail in any way
            _log.exception("slice repair failed", slice=draft.id)
            self._set_aside(draft, f"it cannot be repaired: {error}", outcome)
            return
        if duration_ms is None:
            self._forget(draft, outcome)
            return
        outcome.freed += draft.size - draft.written
        draft.size = draft.written
        draft.finish = Finish(draft, draft.start_ms, duration_ms, {"repaired": "true"}, b"")

    def _hold(self, draft: Draft, error: OSError, now: float, outcome: Outcome) -> None:
        """The disk refuses a draft: leave it alone for a while, or end it."""
        if draft.failing_since is None:
            draft.failing_since = now
        if not self._is_refused:
            self._is_refused = True
            _log.error("the disk refuses slices: they wait in memory", why=_explain(error))
        draft.retry_at = now + RETRY_S
        if isinstance(error, FileNotFoundError) and draft.has_file:
            self._lose(draft, "its file is gone from the spool", outcome)
        elif error.errno in _FULL or now - draft.failing_since < _PATIENCE_S:
            return
        elif draft.is_cut or not draft.written:
            self._set_aside(draft, _explain(error), outcome)
        else:
            draft.failing_since = None
            self._cut(draft, _explain(error), outcome, up_to_disk=True)

    def _cut(
        self, draft: Draft, reason: str, outcome: Outcome, *, up_to_disk: bool = False
    ) -> None:
        """Have a slice end with what was handed in until now, or with what is on the disk."""
        if draft.origin.kind not in self._repairs or not draft.size:
            self._lose(draft, reason, outcome)
            return
        if up_to_disk:
            draft.pieces.clear()
            outcome.freed += draft.size - draft.written
            draft.size = draft.written
        draft.is_cut = True
        draft.finish, draft.is_described = None, False
        self._pending[draft] = None
        self._tell(Loss(draft.origin, reason, is_partial=True), outcome)

    def _flush_names(self) -> None:
        """Make renamed and removed files durable, which is what lets them be recorded so."""
        if not self._renamed:
            return
        try:
            self._files.flush()
        except OSError as error:
            _log.error("the spool's directory cannot be flushed", why=_explain(error))
            return
        self._recorder.sealed += self._renamed.values()
        self._renamed.clear()
        self._recorder.removed += self._unlinked
        self._unlinked.clear()

    def _note_recovery(self) -> None:
        """Log when the disk takes all again."""
        if self._is_refused and all(draft.failing_since is None for draft in self._pending):
            self._is_refused = False
            _log.info("the disk takes slices again")

    def _lose(self, draft: Draft, reason: str, outcome: Outcome) -> None:
        """Nothing of a slice can be kept."""
        self._tell(Loss(draft.origin, reason), outcome)
        self._forget(draft, outcome)

    def _set_aside(self, draft: Draft, reason: str, outcome: Outcome) -> None:
        """Nothing of a slice can be delivered; its file stays for somebody to look at."""
        if draft.id is not None:
            self._files.set_aside(draft.id, PART, reason)
        self._lose(draft, reason, outcome)

    def _tell(self, loss: Loss, outcome: Outcome) -> None:
        outcome.lost.append(loss)
        self._recorder.losses[loss] += 1

    def _forget(self, draft: Draft, outcome: Outcome) -> None:
        """Leave nothing of a slice."""
        outcome.freed += draft.size
        self._done(draft)
        if draft.id is not None:
            if draft.has_file:
                self._files.remove(draft.id, PART)
            self._recorder.unused.append(draft.id)

    def _done(self, draft: Draft) -> None:
        draft.is_gone = True
        draft.pieces.clear()
        self._pending.pop(draft, None)


def _explain(error: OSError) -> str:
    return error.strerror or str(error)
