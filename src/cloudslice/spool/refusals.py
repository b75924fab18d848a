"""What is to be done about a slice that the disk refuses: decisions, and two lines in the log."""

import errno
from collections.abc import Iterable
from enum import Enum

import structlog

from cloudslice.spool.drafts import Draft

RETRY_S = 0.5
"""Seconds until what was refused is tried again."""
_PATIENCE_S = 60.0
"""Seconds for which a file may be refused for another reason than a full disk."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_log = structlog.get_logger(__name__)


class Verdict(Enum):
    """What is to be done."""

    WAIT = "wait"
    """It is tried again."""
    GONE = "gone"
    """Somebody has taken its file away."""
    CUT = "cut"
    """It ends with what is on the disk."""
    SET_ASIDE = "set aside"
    """It can never be completed."""


class Refusals:
    """Judges refusals; a full disk is waited for, however long it takes."""

    def __init__(self) -> None:
        self._is_refused = False

    def judge(self, draft: Draft, error: OSError, now: float) -> Verdict:
        """The disk has refused a draft at monotonic second `now`; it is left alone for a while."""
        if not self._is_refused:
            self._is_refused = True
            _log.error("the disk refuses slices: they wait in memory", why=explain(error))
        if draft.failing_since is None:
            draft.failing_since = now
        draft.retry_at = now + RETRY_S
        if isinstance(error, FileNotFoundError) and draft.has_file:
            return Verdict.GONE
        if error.errno in _FULL or now - draft.failing_since < _PATIENCE_S:
            return Verdict.WAIT
        if draft.is_cut or not draft.kept:
            return Verdict.SET_ASIDE
        draft.failing_since = None
        return Verdict.CUT

    def note_work(self, pending: Iterable[Draft]) -> None:
        """Work was done, and these drafts still wait."""
        if self._is_refused and all(draft.failing_since is None for draft in pending):
            self._is_refused = False
            _log.info("the disk takes slices again")


def explain(error: OSError) -> str:
    """An error of the disk in words."""
    return error.strerror or str(error)
