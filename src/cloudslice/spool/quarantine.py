"""Keeps apart the files of the spool that nobody understands.

A file that is not what we wrote may be all that is left of what somebody said. So it is moved,
told and counted, never deleted: what becomes of it is for people to decide (docs/operations.md
says how). The directory of a task that cannot be told is moved as a whole.
"""

import itertools
import os
import stat
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)

DIRECTORY = "quarantine"


class Quarantine:
    """A directory within the spool; for the spool's thread only, but for `count`. Blocking.

    Attributes:
        count: files set aside since the start.
    """

    def __init__(self, spool: Path) -> None:
        self.count = 0
        self._directory = spool / DIRECTORY

    def take(self, source: Path, reason: str) -> bool:
        """Move a file here, beside all others of its name; whether it is here.

        A file that cannot be moved stays where it is, which is logged.
        """
        try:
            found = source.lstat()
            self._directory.mkdir(exist_ok=True)
            target = self._free_path(source.name)
            source.rename(target)
        except FileNotFoundError:
            return False
        except OSError as error:
            _log.warning("file cannot be set aside", path=str(source), why=reason, error=str(error))
            return False
        self.count += 1
        # A directory's own size says nothing of what is in it.
        size = {} if stat.S_ISDIR(found.st_mode) else {"size": found.st_size}
        _log.warning("file set aside", path=str(source), **size, why=reason, to=str(target))
        return True

    def _free_path(self, name: str) -> Path:
        stem, suffix = Path(name).stem, Path(name).suffix
        names = itertools.chain([name], (f"{stem}.{n}{suffix}" for n in itertools.count(2)))
        return next(path for each in names if not os.path.lexists(path := self._directory / each))
