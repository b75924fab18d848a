"""Fences: an exception that nobody foresaw ends what it befell, and nothing beside it.

Who catches such an exception passes it to a `Faults`, which counts it and logs it at a bounded
rate, so that a fault of every packet does not fill the disk and a second fault is not hidden
behind the first.
"""

import time
from collections.abc import Callable

import structlog

_REPEAT_S = 60.0
_MAX_KINDS = 16
"""Kinds of errors told apart; those beyond it share one line a minute."""

_Kind = tuple[object, ...]

_log = structlog.get_logger(__name__)


class Faults:
    """Counts the unforeseen exceptions of one part and logs them.

    A kind is an exception's type and the line that raised it. The first of a kind is logged at
    once, those that follow once a minute at most, with how many there were. Each line has the
    traceback.

    Attributes:
        errors: how many exceptions there were.
    """

    __slots__ = ("_clock", "_kinds", "_what", "errors")

    def __init__(self, what: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            what: names the part in the log.
            clock: seconds of a clock that never steps.
        """
        self.errors = 0
        self._what = what
        self._clock = clock
        self._kinds: dict[_Kind, tuple[float, int]] = {}  # when logged last, and how many since

    def caught(self, error: Exception, **fields: object) -> None:
        """The part has raised `error`, and the caller goes on.

        Args:
            error: what was raised.
            fields: what else the log line says, such as a task_id.
        """
        self.errors += 1
        kind, now = self._find_kind(error), self._clock()
        logged_at, unlogged = self._kinds.get(kind, (-float("inf"), 0))
        if now - logged_at < _REPEAT_S:
            self._kinds[kind] = (logged_at, unlogged + 1)
            return
        self._kinds[kind] = (now, 0)
        _log.error(
            "unforeseen error", what=self._what, times=unlogged + 1, exc_info=error, **fields
        )

    def _find_kind(self, error: Exception) -> _Kind:
        kind = (type(error), *_find_place(error))
        return kind if kind in self._kinds or len(self._kinds) < _MAX_KINDS else ()


def _find_place(error: Exception) -> tuple[object, ...]:
    """The code and line that raised an exception; empty if it was never raised."""
    trace = error.__traceback__
    if trace is None:
        return ()
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno
