"""The boundary to those who receive media: what they raise must not stop anybody else's."""

import structlog

_log = structlog.get_logger(__name__)


class Guard:
    """Counts what callbacks raise and logs the first of it.

    Only the first, with its traceback: what fails for one packet is likely to fail for each.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.errors = 0

    def caught(self, error: Exception) -> None:
        """A callback raised `error`; it is on record now, and the caller goes on."""
        self.errors += 1
        if self.errors == 1:
            _log.error("a receiver of media failed", what=self._what, exc_info=error)
