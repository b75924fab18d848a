"""Moves files of whole slices into a spool from elsewhere. Everything here blocks.

A kill at any moment leaves a slice in one of the two places, or the same bytes in both.
"""

import errno
import os
import shutil
from pathlib import Path
from typing import Self

from cloudslice.spool.files import open_regular, sync_directory

COPY = ".copy"
"""What a file's name ends with while it is copied: a start deletes it, as there is another one."""


class Moving:
    """Moves files; all are durably at their new places, and gone from the old ones, when this
    context is left, which raises OSError if that cannot be."""

    def __init__(self) -> None:
        self._copied: list[Path] = []
        self._sources: set[Path] = set()
        self._targets: set[Path] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for directory in self._targets:
            sync_directory(directory)
        for source in self._copied:
            source.unlink()
        for directory in self._sources:
            sync_directory(directory)

    def move(self, source: Path, target: Path) -> None:
        """Have a file at `target`.

        Raises:
            OSError: it is at `source` only.
        """
        self._sources.add(source.parent)
        self._targets.add(target.parent)
        try:
            source.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(source, target)
            self._copied.append(source)


def _copy(source: Path, target: Path) -> None:
    draft = target.with_suffix(COPY)
    try:
        with (
            os.fdopen(open_regular(source), "rb") as reader,
            os.fdopen(open_regular(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as writer,
        ):
            shutil.copyfileobj(reader, writer)
            writer.flush()
            os.fsync(writer.fileno())
        draft.rename(target)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
