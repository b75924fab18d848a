"""Rows of slices that cannot be what we wrote: of a damaged database, or of somebody's hand."""

import json
import sqlite3
from dataclasses import dataclass

from cloudslice import vetting
from cloudslice.slices import SliceKind, SliceOrigin


@dataclass(frozen=True, slots=True)
class OddSlice:
    """A row that no slice can be made of, and why."""

    id: int
    origin: SliceOrigin
    """As far as it can be read."""
    fault: str


def forget_odd(connection: sqlite3.Connection) -> list[OddSlice]:
    """Forget the rows of slices that cannot be understood, but not their names; those rows."""
    tasks = {task_id for (task_id,) in connection.execute("SELECT task_id FROM consignors")}
    kinds = {each.value for each in SliceKind}

    def find_fault(row: vetting.Row) -> str | None:
        if row["kind"] not in kinds:
            return "its kind is unknown"
        if not _is_object(str(row["details"])):
            return "its details cannot be read"
        return None if row["task_id"] in tasks else "its task is not on record"

    odd = vetting.find_odd(connection, "slices", find_fault)
    for each in odd:
        vetting.delete(connection, "slices", each)
    return [OddSlice(int(str(each.row["id"])), _guess_origin(each.row), each.fault) for each in odd]


def _is_object(text: str) -> bool:
    try:
        details = json.loads(text)
    except ValueError:
        return False
    return isinstance(details, dict) and all(isinstance(each, str) for each in details.values())


def _guess_origin(row: vetting.Row) -> SliceOrigin:
    task_id, user_id, kind, extension = (
        str(row[name]) for name in ("task_id", "user_id", "kind", "extension")
    )
    is_audio = kind == SliceKind.AUDIO.value or extension == "ogg"
    return SliceOrigin(
        task_id, user_id, SliceKind.AUDIO if is_audio else SliceKind.IMAGE, extension
    )
