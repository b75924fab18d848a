"""The object names that a task has used: none of them is ever given to another slice.

Names differ by their second (docs/wire.md, 9.2). A file in the task's directory keeps them, a line
for each. As a rule a slice begins later than all before it of the same anchor and kind, which
memory alone can tell. The file is read when one does not: an anchor came back within a second, the
wall clock was set back, or a slice of a former process is repaired.

A power cut may take the last lines, or somebody the file. So slices that wait and are not in it are
asked what they are called, once, before the first name is given. If the file goes later, no second
is given again up to the last one that was in it.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from cloudslice.ids import ObjectName
from cloudslice.slices import DamagedSliceError, SliceOrigin
from cloudslice.spool.checked_lines import from_line, to_line
from cloudslice.spool.files import open_regular, read_regular, write_all
from cloudslice.spool.slice_format import PART, TAIL_BYTES, WHOLE, read_key

FILE = "names"
_FIRST_READ = 1 << 12
"""Bytes of the file's end that are read at first: some dozen names."""
_NEVER = 1 << 62

_Series = tuple[str, str]
"""Anchor and extension: whose names could be alike."""


class _Use(NamedTuple):
    """A line of the file."""

    second: int
    latest: int
    """The latest second in this line and all before it: whoever looks for later ones need not
    read on."""
    user_id: str
    extension: str
    slice_name: str = ""
    """Of its file in the spool."""


class UsedNames:
    """The names of one task; for the spool's thread only. Blocking."""

    def __init__(self, directory: Path) -> None:
        """Takes the task's directory.

        Raises:
            OSError: what is on the disk cannot be read.
        """
        self._path = directory / FILE
        self._unwritten: list[_Use] = []
        waiting = {path.stem: path for path in directory.glob(f"*{WHOLE}")}
        uses = self._read_back(lambda uses: waiting.keys() <= {each.slice_name for each in uses})
        self._latest = max((each.latest for each in uses), default=0)
        self._size = self._measure()
        """Bytes of the file, as far as we know."""
        self._written = self._latest
        """The latest second in it."""
        self._lost = 0
        """The latest second of which the file was taken away."""
        self._last: dict[_Series, int] = {}
        self._used: dict[_Series, tuple[int, set[int]]] = {}
        """Of series that need more than their last second: all seconds from the first one on."""
        for each in uses:
            waiting.pop(each.slice_name, None)
        # Growing ones are not in it until they are about to be whole.
        self._ask((*waiting.values(), *directory.glob(f"*{PART}")))
        self._before = self._latest
        """Memory knows nothing of the names up to this second."""

    def take(self, origin: SliceOrigin, second: int, slice_name: str) -> int:
        """The first second from `second` on that names no slice of the kind; it is used now, by the
        slice whose file has that name.

        Raises:
            OSError: the file cannot be read.
        """
        series = (origin.user_id, origin.extension)
        last = self._last.get(series, self._before)
        if second > last:
            self._used.pop(series, None)
        else:
            self._note_loss(self._measure())
            second = max(second, self._lost + 1)
            since, used = self._used.get(series, (_NEVER, set()))
            if second < since:
                used = self._find(series, second)
                self._used[series] = (second, used)
            while second in used:
                second += 1
            used.add(second)
        self._last[series] = max(last, second)
        self._add(second, *series, slice_name)
        return second

    def note(self, name: ObjectName, slice_name: str) -> None:
        """A slice that has come from elsewhere has this name."""
        series = (name.user_id, name.extension)
        self._used.pop(series, None)  # to be read anew
        self._last[series] = max(self._last.get(series, self._before), name.utc_second)
        self._add(name.utc_second, *series, slice_name)

    def write(self) -> None:
        """Put into the file what was taken: before a slice of that name is whole.

        Raises:
            OSError: the disk refuses it; to be tried again.
        """
        if not self._unwritten:
            return
        data = b"".join(map(to_line, self._unwritten))
        descriptor = open_regular(self._path, os.O_RDWR | os.O_CREAT)
        try:
            end = os.fstat(descriptor).st_size
            self._note_loss(end)
            if end and os.pread(descriptor, 1, end - 1) != b"\n":
                data = b"\n" + data  # behind a line that was cut off
            write_all(descriptor, data, end)
            self._size, self._written = end + len(data), self._latest
        finally:
            os.close(descriptor)
        self._unwritten.clear()

    def _measure(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _note_loss(self, size: int) -> None:
        """Remember what was in the file if it has become smaller."""
        if size < self._size:
            self._size, self._lost = size, self._written

    def _add(self, second: int, user_id: str, extension: str, slice_name: str) -> None:
        self._latest = max(self._latest, second)
        self._unwritten.append(_Use(second, self._latest, user_id, extension, slice_name))

    def _ask(self, paths: Iterable[Path]) -> None:
        """Put down what slices are called, as far as their files say it."""
        for path in paths:
            try:
                name = ObjectName.from_key(read_key(read_regular(path, last=TAIL_BYTES)))
            except (OSError, DamagedSliceError, ValueError):
                continue  # it is found out by who reads all of it
            self._add(name.utc_second, name.user_id, name.extension, path.stem)

    def _find(self, series: _Series, since: int) -> set[int]:
        """The seconds that a series has used, from a second on."""
        uses = self._read_back(lambda uses: bool(uses) and uses[0].latest < since)
        uses += self._unwritten
        return {each.second for each in uses if (each.user_id, each.extension) == series}

    def _read_back(self, is_enough: Callable[[list[_Use]], bool]) -> list[_Use]:
        """The lines at the end of the file, as far back as is enough."""
        length = _FIRST_READ
        while True:
            try:
                data = read_regular(self._path, last=length)
            except FileNotFoundError:
                return []
            uses = _parse(data)
            if len(data) < length or is_enough(uses):
                return uses
            length *= 4


def _parse(data: bytes) -> list[_Use]:
    """The lines that are whole."""
    uses = []
    for line in data.splitlines(keepends=True):
        try:
            uses.append(_Use(*from_line(line)))
        except ValueError:
            continue
    return uses
