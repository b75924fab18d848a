"""Rows of slices that cannot be what we wrote: of a damaged database, or of somebody's hand."""

import json
import sqlite3
from dataclasses import dataclass

from cloudslice.delivery.model import SliceKind, SliceOrigin

_TEXTS = ("task_id", "user_id", "kind", "extension", "object_key", "details")
_NUMBERS = ("start_ms", "created_ms", "attempts", "due_at")
_WHEN_KNOWN = {"duration_ms": int, "size": int, "sha256": str}


@dataclass(frozen=True, slots=True)
class OddRow:
    """A row that no slice can be made of, and why."""

    id: int
    origin: SliceOrigin
    """As far as it can be read."""
    fault: str


def find_odd(connection: sqlite3.Connection) -> list[OddRow]:
    """The rows of slices that cannot be understood."""
    columns = ", ".join(("id", *_TEXTS, *_NUMBERS, *_WHEN_KNOWN))
    cursor = connection.execute(
        f"SELECT {columns}, task_id IN (SELECT task_id FROM consignors) AS has_task"  # noqa: S608
        " FROM slices ORDER BY id"
    )
    names = [column[0] for column in cursor.description]
    rows = (dict(zip(names, values, strict=True)) for values in cursor)
    return [
        OddRow(row["id"], _guess_origin(row), fault)
        for row in rows
        if (fault := _find_fault(row)) is not None
    ]


def delete(connection: sqlite3.Connection, row: OddRow) -> None:
    """Forget an odd row, but not its name."""
    connection.execute("DELETE FROM slices WHERE id = ?", (row.id,))


def _find_fault(row: dict[str, object]) -> str | None:
    for name in _TEXTS:
        if not isinstance(row[name], str):
            return f"its {name} is no text"
    for name in _NUMBERS:
        if not isinstance(row[name], int | float):
            return f"its {name} is no number"
    for name, kind in _WHEN_KNOWN.items():
        if row[name] is not None and not isinstance(row[name], kind):
            return f"its {name} cannot be read"
    if row["kind"] not in {each.value for each in SliceKind}:
        return "its kind is unknown"
    if not _is_object(str(row["details"])):
        return "its details cannot be read"
    return None if row["has_task"] else "its task is not on record"


def _is_object(text: str) -> bool:
    try:
        details = json.loads(text)
    except ValueError:
        return False
    return isinstance(details, dict) and all(isinstance(each, str) for each in details.values())


def _guess_origin(row: dict[str, object]) -> SliceOrigin:
    task_id, user_id, kind, extension = (
        str(row[name]) for name in ("task_id", "user_id", "kind", "extension")
    )
    is_audio = kind == SliceKind.AUDIO.value or extension == "ogg"
    return SliceOrigin(
        task_id, user_id, SliceKind.AUDIO if is_audio else SliceKind.IMAGE, extension
    )
