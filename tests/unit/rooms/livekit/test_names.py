"""Names of rooms and members on a LiveKit server, in both directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.ids import STRING_ROOM_ID, USER_ID, RoomIdType, RoomKey
from cloudslice.rooms.livekit.names import LivekitNames
from cloudslice.rooms.remote.user_ids import to_user_id
from cloudslice.settings.room_settings import LivekitSettings

TEMPLATES = st.sampled_from(["{}", "prod-{}", "{}@example.com", "a{}a", "--{}--"])
ROOM_IDS = st.from_regex(STRING_ROOM_ID, fullmatch=True)
USER_IDS = st.from_regex(USER_ID, fullmatch=True)


def names(room: str = "{}", member: str = "{}") -> LivekitNames:
    return LivekitNames(
        LivekitSettings(
            room_name=room.replace("{}", "{RoomId}"), identity=member.replace("{}", "{UserId}")
        )
    )


@given(TEMPLATES, ROOM_IDS)
def test_a_room_has_its_name_both_ways(template: str, room_id: str) -> None:
    room = RoomKey(1, room_id, RoomIdType.STRING)
    name = names(template).to_room_name(room)
    assert name == template.replace("{}", room_id)
    assert names(template).to_room(1, name) == room


@given(TEMPLATES, st.integers(1, 4294967294))
def test_a_number_has_its_name_both_ways(template: str, number: int) -> None:
    room = RoomKey(1, str(number), RoomIdType.NUMBER)
    name = names(template).to_room_name(room)
    assert names(template).to_room(1, name, RoomIdType.NUMBER) == room
    assert names(template).to_room(1, name) == RoomKey(1, str(number), RoomIdType.STRING)


@pytest.mark.parametrize(
    ("template", "name", "room_id_type"),
    [
        ("prod-{}", "test-150", RoomIdType.STRING),
        ("prod-{}", "prod-", RoomIdType.STRING),
        ("a{}a", "a", RoomIdType.STRING),
        ("{}", "会议", RoomIdType.STRING),
        ("{}", "x" * 65, RoomIdType.STRING),
        ("{}", "0150", RoomIdType.NUMBER),
        ("{}", "x", RoomIdType.NUMBER),
    ],
)
def test_what_is_no_room_of_ours(template: str, name: str, room_id_type: RoomIdType) -> None:
    assert names(template).to_room(1, name, room_id_type) is None


@pytest.mark.parametrize(
    ("template", "name", "is_odd"),
    [
        ("prod-{}", "test-150", False),
        ("prod-{}", "prod-150", False),
        ("prod-{}", "prod-会议", True),
        ("{}", "0150", False),
        ("{}", "x" * 65, True),
    ],
)
def test_a_name_is_odd_that_has_the_form_and_no_room_id(
    template: str, name: str, is_odd: bool
) -> None:
    """Rooms of another form are other people's."""
    assert names(template).is_odd(name) is is_odd


@given(TEMPLATES, st.sets(st.text(max_size=40) | USER_IDS, min_size=2))
def test_no_two_members_have_one_user_id(template: str, identities: set[str]) -> None:
    """Also where some have the template's form and others have not."""
    filled = {template.replace("{}", each) for each in identities}
    both = identities | filled
    assert len({names(member=template).to_user_id(each) for each in both}) == len(both)


@given(TEMPLATES, USER_IDS)
def test_a_robot_is_called_by_the_template(template: str, user_id: str) -> None:
    identity = names(member=template).to_identity(user_id)
    assert identity == template.replace("{}", user_id)
    if to_user_id(user_id) == user_id:
        assert names(member=template).to_user_id(identity) == user_id
