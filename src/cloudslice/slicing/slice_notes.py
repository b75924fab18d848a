"""What a slice says of itself within its file: one line, `name=value name=value ...`.

Names and values are those of the object's metadata (docs/wire.md, 9.3). One line, because each
format has its own way to name a text, and all of them can carry one.
"""

from cloudslice.slices import Details

TITLE = "cloudslice"
"""What the line is called where a format names its texts."""


def to_note(details: Details, room: int | None = None) -> str:
    """The line. What is 0 is left out.

    Args:
        room: characters that there is room for; the last details are left out where that is
            too little.
    """
    note = " ".join(f"{name}={value}" for name, value in details.items() if value != 0)
    if room is not None and len(note) > room:
        note = note[: room + 1].rpartition(" ")[0]
    return note


def from_note(note: str) -> dict[str, int | str]:
    """What a line says.

    Raises:
        ValueError: it is no such line.
    """
    pairs = (pair.split("=", 1) for pair in note.split())
    return {name: int(value) if value.lstrip("-").isdecimal() else value for name, value in pairs}
