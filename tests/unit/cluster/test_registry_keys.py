"""Keys tell what they are of, both ways."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.cluster import registry_keys as keys
from cloudslice.ids import STRING_ROOM_ID, RoomIdType, RoomKey, read_room_key
from cloudslice.tasks.task_id import new_task_id

_KEY = re.compile(r"[-/_=\.a-zA-Z0-9]+")
"""What nats.js.kv takes, which neither begins nor ends with a dot."""


@given(st.integers(1, 2**32), st.from_regex(STRING_ROOM_ID, fullmatch=True))
def test_a_room_of_a_text_comes_back(app: int, room_id: str) -> None:
    room = RoomKey(app, room_id, RoomIdType.STRING)
    part = keys.room_part(room)
    assert keys.read_room_part(part) == room
    assert _KEY.fullmatch(part)
    assert part.count(".") == 1


def test_a_number_and_its_text_are_two_rooms() -> None:
    number = read_room_key(1, "150", RoomIdType.NUMBER)
    text = read_room_key(1, "150", RoomIdType.STRING)
    assert number is not None
    assert text is not None
    assert keys.room_part(number) == "1.n150"
    assert keys.room_part(text) != keys.room_part(number)
    assert keys.read_room_part("1.n150") == number


@given(st.builds(new_task_id))
def test_a_task_comes_back(task_id: str) -> None:
    room = RoomKey(1400000001, "room one?", RoomIdType.STRING)
    key = keys.task_key(room, task_id)
    assert keys.read_task_key(key) == (room, task_id)
    assert _KEY.fullmatch(key)
    assert not key.endswith(".")
    assert key.split(".")[3:] == keys.task_pattern(task_id).split(".")[3:]


@pytest.mark.parametrize("text", ["", "1", "1.", "1.x5", "1.n0", "x.n5", "1.n5.6", "1.s%%", "1.s"])
def test_what_is_no_room_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a room"):
        keys.read_room_part(text)


@pytest.mark.parametrize("text", ["", "*", "a b", "a/b", ">", "a_b", "ä", "x" * 201])
def test_what_can_be_no_task_id_is_told(text: str) -> None:
    """It would mean other keys."""
    assert not keys.is_task_id(text)
