"""What is told of slices that never reach their bucket."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from cloudslice.slices import SliceOrigin


@dataclass(frozen=True, slots=True)
class Loss:
    """A slice that could not be kept, or its end, and why."""

    origin: SliceOrigin
    reason: str
    is_partial: bool = False
    """The slice's beginning is kept and delivered."""


RecordLoss = Callable[[sqlite3.Connection, Loss, int], None]
"""An operation on the database: puts on record, and tells, so many losses of a kind."""
