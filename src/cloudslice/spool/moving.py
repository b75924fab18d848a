"""Moves files of whole slices into a spool from elsewhere. Everything here blocks.

A kill at any moment leaves a slice in one of the two places, or the same bytes in both.
"""

import errno
import os
import shutil
from pathlib import Path

from cloudslice.spool.files import open_regular, sync_directory

COPY = ".copy"
"""What a file's name ends with while it is copied: a start deletes it, as there is another one."""


def move_file(source: Path, target: Path) -> None:
    """Have a file at `target`, durably, and nothing at `source`.

    Raises:
        OSError: it is at `source` still, or at both.
    """
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target)
        source.unlink()
    sync_directory(target.parent)
    sync_directory(source.parent)


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
    sync_directory(target.parent)
