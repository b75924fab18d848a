"""The line in which a slice's file says what is known of it."""

from cloudslice.slicing.audio.slice_comments import COMMENTS_BYTES, slice_comments
from cloudslice.slicing.slice_notes import from_note, to_note

MANY: dict[str, int | str] = {
    "duration-ms": 60_012,
    "first-sample": 12_345_678_901,
    "samples": 2_880_000,
    "silence-samples": 48_000,
    "concealed-samples": 11_520,
    "packets-lost": 123,
    "sender-start-ms": 1_800_000_000_000,
    "sender-end-ms": 1_800_000_060_012,
}


def test_a_note_is_read_as_it_was_written() -> None:
    details = {**MANY, "level": -23, "clock": "fast,slow"}
    assert from_note(to_note(details)) == details


def test_what_is_nothing_is_left_out() -> None:
    assert to_note({"samples": 960, "silence-samples": 0}) == "samples=960"


def test_what_has_no_room_is_left_out_whole() -> None:
    assert to_note({"a": 1, "b": 22}, 8) == "a=1 b=22"
    assert to_note({"a": 1, "b": 22}, 7) == "a=1"
    assert to_note({"a": 1}, 2) == ""


def test_the_comments_of_a_slice_with_all_kinds_of_losses_fit() -> None:
    _date, note = slice_comments(1_700_000_000_000, MANY)
    assert from_note(note.removeprefix("CLOUDSLICE=")) == MANY
    assert len(note) < COMMENTS_BYTES
