"""The object names that a task has used: none of them is ever given to another slice.

Names differ by their second (docs/wire.md, 9.2). The seconds are kept in a file in the task's
directory, a line for each: the second, the latest second so far, the anchor, the extension. As a
rule a slice begins later than all before it of the same anchor and kind, which memory alone can
tell; the file is read when one does not: an anchor came back within a second, the wall clock was
set back, or a slice of a former process is repaired.
"""

import errno
import os
from pathlib import Path
from urllib.parse import quote

from cloudslice.slices import SliceOrigin

FILE = "names"
_LAST_LINE = 256
"""Bytes; a line is shorter."""

_Series = tuple[str, str]
"""Anchor (percent-encoded) and extension: whose names could be alike."""


class UsedNames:
    """The names of one task; for the spool's thread only. Blocking."""

    def __init__(self, directory: Path) -> None:
        """Takes the task's directory.

        Raises:
            OSError: what is on the disk cannot be read.
        """
        self._path = directory / FILE
        self._unwritten: list[str] = []
        self._latest = self._read_latest()
        self._before = self._latest
        """Nothing is known here of the names up to this second, which a former process used."""
        self._last: dict[_Series, int] = {}
        self._used: dict[_Series, set[int]] = {}
        """Of the series that need more than their last second, all seconds."""

    def take(self, origin: SliceOrigin, second: int) -> int:
        """The first second from `second` on that names no slice of the kind; it is used now.

        Raises:
            OSError: the file cannot be read.
        """
        series = (quote(origin.user_id, safe=""), origin.extension)
        last = self._last.get(series, self._before)
        if second > last:
            self._used.pop(series, None)
        else:
            used = self._used.get(series)
            if used is None:
                used = self._used[series] = self._read(series)
            while second in used:
                second += 1
            used.add(second)
        self._last[series] = max(last, second)
        self._latest = max(self._latest, second)
        self._unwritten.append(f"{second} {self._latest} {' '.join(series)}\n")
        return second

    def write(self) -> None:
        """Put on the disk what was taken: before a slice of that name is whole.

        Raises:
            OSError: the disk refuses it; to be tried again.
        """
        if not self._unwritten:
            return
        with self._path.open("ab", buffering=0) as file:
            size = file.tell()
            data = "".join(self._unwritten).encode()
            if file.write(data) < len(data):
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._unwritten.clear()

    def _read_latest(self) -> int:
        """The latest second of a former process; 0 if there is none."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _LAST_LINE, 0))
                data = file.read()
        except FileNotFoundError:
            return 0
        if not data.endswith(b"\n"):
            self._unwritten.append("\n")  # a power cut has torn the last line
        lines = [line.split() for line in data.splitlines()]
        return next((int(line[1]) for line in reversed(lines) if _is_whole(line)), 0)

    def _read(self, series: _Series) -> set[int]:
        """All seconds that a series has used."""
        lines = [line.encode() for line in self._unwritten]
        if self._path.exists():
            lines += self._path.read_bytes().splitlines()
        wanted = [each.encode() for each in series]
        split = (line.split() for line in lines)
        return {int(line[0]) for line in split if _is_whole(line) and line[2:] == wanted}


def _is_whole(line: list[bytes]) -> bool:
    return len(line) == 4 and line[0].isdigit() and line[1].isdigit()
