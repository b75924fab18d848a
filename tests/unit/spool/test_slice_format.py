"""A slice's file says what it is, and every byte of it is checked."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.slices import DamagedSliceError, Slice
from cloudslice.spool.checked_lines import from_line, to_line
from cloudslice.spool.slice_format import (
    TAIL_BYTES,
    Head,
    has_content,
    is_name,
    make_tail,
    new_name,
    read_head,
    read_key,
    read_slice,
)
from helpers.spool_site import AUDIO, KEY, START_MS

HEAD = Head(AUDIO, START_MS).to_bytes()


def make(content: bytes) -> tuple[Slice, bytes]:
    """A slice and its file."""
    whole = Slice(
        name="name",
        origin=AUDIO,
        object_key=KEY.format(21),
        start_ms=START_MS,
        duration_ms=15000,
        details={"channels": "2"},
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return whole, HEAD + content + make_tail(whole)


CONTENTS = st.binary(max_size=40) | st.just(HEAD) | st.just(make(b"x")[1]) | st.just(b"\n" * 5)


@given(CONTENTS)
def test_what_was_written_is_read(content: bytes) -> None:
    """Whatever the content looks like."""
    whole, data = make(content)
    assert read_slice("name", data) == (whole, content)
    assert read_head(data) == (Head(AUDIO, START_MS), len(HEAD))
    assert read_key(data[-TAIL_BYTES:]) == whole.object_key
    assert has_content(data)


def test_what_others_call_the_anchor_is_kept() -> None:
    """From the first byte on: a slice that is cut off has it, too."""
    head = Head(replace(AUDIO, identity="张伟@example.com"), START_MS)
    assert read_head(head.to_bytes())[0] == head


@given(CONTENTS, st.data())
def test_what_was_altered_is_found_out(content: bytes, draw: st.DataObject) -> None:
    """Any change of bytes, anything missing or added at any place."""
    _, data = make(content)
    start = draw.draw(st.integers(0, len(data)))
    end = draw.draw(st.integers(start, len(data)))
    altered = data[:start] + draw.draw(st.binary(max_size=8)) + data[end:]
    if altered != data:
        with pytest.raises(DamagedSliceError):
            read_slice("name", altered)


@given(st.binary(max_size=200))
def test_anything_else_is_no_slice(data: bytes) -> None:
    for read in (read_head, read_key, lambda data: read_slice("name", data)):
        with pytest.raises(DamagedSliceError):
            read(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", False),
        (bytes(4096), False),
        (HEAD[:-1], False),
        (HEAD, True),
        (HEAD[:-1] + b"\xff", True),
        (HEAD[:9] + bytes(9), True),
    ],
)
def test_a_beginning_without_content(data: bytes, expected: bool) -> None:
    assert has_content(data) is expected


def test_a_head_is_a_line_for_people() -> None:
    assert HEAD.startswith(
        b'{"task":"9-EXAMPLE+TaskId..","user":"anchor_1","kind":"audios","extension":"ogg",'
    )
    assert HEAD.endswith(b"\n")


def test_names() -> None:
    """They sort by age, and no two are alike."""
    names = [new_name(1, 1), new_name(1, 2), new_name(2, 1)]
    assert names == sorted(names)
    first = names[0]
    assert first != new_name(1, 1)
    assert is_name(first)
    assert not any(map(is_name, ("1", "../1", first + "0", "x" * 30, first.replace("-", "_"))))


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=4))
def test_lines(values: object) -> None:
    line = to_line(values)
    assert from_line(line) == values
    assert line.count(b"\n") == 1
    with pytest.raises(ValueError, match="check sum"):
        from_line(line[:-1])
