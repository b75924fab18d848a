"""What stands in the comment header of a slice's file.

It is written before the audio, and most of what it says is known only at the end. So it has a fixed
size: the spool writes it anew in its place before the slice gets its final name.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from cloudslice.slices import Details
from cloudslice.slicing.audio.ogg_pages import opus_tags
from cloudslice.slicing.slice_notes import TITLE, from_note, to_note

COMMENTS_BYTES = 320
"""Of the comment header. All that is told of an ordinary slice fits: see the tests."""
_NOTE = f"{TITLE.upper()}="


def slice_comments(start_ms: int, details: Details) -> tuple[str, str]:
    """When the slice began, and what is told of it as far as there is room."""
    start = datetime.fromtimestamp(start_ms / 1000, UTC)
    date = f"DATE={start.isoformat(timespec='milliseconds')}"
    room = COMMENTS_BYTES - len(opus_tags((date, _NOTE)))
    return date, _NOTE + to_note(details, room)


def read_comments(comments: Sequence[str]) -> dict[str, int | str]:
    """What they tell of the slice, its `first-sample` at least; nothing if a former version has
    made the file.

    Raises:
        ValueError: they are not what was written.
    """
    for each in comments:
        if each.startswith(_NOTE):
            return {"first-sample": 0, **from_note(each.removeprefix(_NOTE))}
    return {}


def with_details(comments: Sequence[str], details: Details) -> list[str]:
    """The comments with all of these details in place of what they tell."""
    others = [each for each in comments if not each.startswith(_NOTE)]
    return [*others, _NOTE + to_note(details)]
