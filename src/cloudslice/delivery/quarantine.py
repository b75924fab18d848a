"""Keeps apart the files of the spool that nobody understands.

A file that the record does not know, or does not know as it is, may be all that is left of what
somebody said. So it is moved, told and counted, never deleted: what becomes of it is for people to
decide (docs/operations.md says how).
"""

import itertools
import os
import re
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)

DIRECTORY = "quarantine"
_ID = re.compile(r"([1-9][0-9]*)\.", re.ASCII)
"""A slice's id at the beginning of a file's name."""


def find_id(name: str) -> int | None:
    """The id of the slice that a file's name speaks of."""
    match = _ID.match(name)
    return int(match[1]) if match else None


class Quarantine:
    """A directory within the spool; for the spool's thread only, but for `count`. Blocking.

    Attributes:
        count: files set aside since the start.
    """

    def __init__(self, spool: Path) -> None:
        self.count = 0
        self._spool = spool

    def take(self, name: str, reason: str) -> bool:
        """Move the spool's file `name` here, beside all others of that name; whether it is here.

        A file that cannot be moved stays where it is, which is logged.
        """
        source = self._spool / name
        try:
            size = source.lstat().st_size
            self._directory.mkdir(exist_ok=True)
            target = self._free_path(name)
            source.rename(target)
        except FileNotFoundError:
            return False
        except OSError as error:
            _log.warning("file cannot be set aside", name=name, why=reason, error=str(error))
            return False
        self.count += 1
        _log.warning("file set aside", name=name, size=size, why=reason, to=str(target))
        return True

    @property
    def _directory(self) -> Path:
        return self._spool / DIRECTORY

    def _free_path(self, name: str) -> Path:
        stem, suffix = Path(name).stem, Path(name).suffix
        names = itertools.chain([name], (f"{stem}.{n}{suffix}" for n in itertools.count(2)))
        return next(path for each in names if not os.path.lexists(path := self._directory / each))
