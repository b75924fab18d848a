"""Room ids and user ids are what the API allows."""

import pytest

from cloudslice.ids import RoomIdType, RoomKey, is_user_id, read_room_key


@pytest.mark.parametrize(
    ("room_id", "kind", "is_valid"),
    [
        pytest.param("1", RoomIdType.NUMBER, True, id="lowest number"),
        pytest.param("4294967294", RoomIdType.NUMBER, True, id="highest number"),
        pytest.param("4294967295", RoomIdType.NUMBER, False, id="number too high"),
        pytest.param("0", RoomIdType.NUMBER, False, id="zero"),
        pytest.param("-1", RoomIdType.NUMBER, False, id="negative"),
        pytest.param("1 ", RoomIdType.NUMBER, False, id="space behind"),
        pytest.param("1\n", RoomIdType.NUMBER, False, id="line end behind"),
        pytest.param("\u0661", RoomIdType.NUMBER, False, id="another script's digit"),
        pytest.param("9" * 5000, RoomIdType.NUMBER, False, id="far too long"),
        pytest.param("", RoomIdType.NUMBER, False, id="no number"),
        pytest.param("1", RoomIdType.STRING, True, id="digit as text"),
        pytest.param("a" * 64, RoomIdType.STRING, True, id="longest text"),
        pytest.param("a" * 65, RoomIdType.STRING, False, id="text too long"),
        pytest.param("", RoomIdType.STRING, False, id="no text"),
        pytest.param(" !#$%&()+-:;<=.>?@[]^_{}|~,", RoomIdType.STRING, True, id="signs"),
        pytest.param(".", RoomIdType.STRING, False, id="one dot"),
        pytest.param("..", RoomIdType.STRING, False, id="two dots"),
        pytest.param("...", RoomIdType.STRING, True, id="three dots"),
        pytest.param(".a", RoomIdType.STRING, True, id="dot before"),
        pytest.param("a/b", RoomIdType.STRING, False, id="slash"),
        pytest.param("a\\b", RoomIdType.STRING, False, id="backslash"),
        pytest.param("é", RoomIdType.STRING, False, id="accent"),
        pytest.param("a\n", RoomIdType.STRING, False, id="line end"),
    ],
)
def test_room_ids(room_id: str, kind: RoomIdType, is_valid: bool) -> None:
    room = read_room_key(1, room_id, kind)
    assert room == (RoomKey(1, room_id, kind) if is_valid else None)


def test_leading_zeros_of_a_number_do_not_count() -> None:
    """On every door: 0150 and 150 are one room."""
    assert read_room_key(1, "0150", RoomIdType.NUMBER) == RoomKey(1, "150", RoomIdType.NUMBER)
    assert read_room_key(1, "0150", RoomIdType.STRING) == RoomKey(1, "0150", RoomIdType.STRING)


@pytest.mark.parametrize(
    ("user_id", "is_valid"),
    [
        pytest.param("a", True, id="shortest"),
        pytest.param("Az09_-" + "x" * 26, True, id="longest"),
        pytest.param("x" * 33, False, id="too long"),
        pytest.param("", False, id="none"),
        pytest.param("a b", False, id="space"),
        pytest.param("a.b", False, id="dot"),
        pytest.param("a\n", False, id="line end"),
        pytest.param("é", False, id="accent"),
    ],
)
def test_user_ids(user_id: str, is_valid: bool) -> None:
    """docs/wire.md, 11.1."""
    assert is_user_id(user_id) is is_valid
