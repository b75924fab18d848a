"""Which rooms a rule is for, and what it asks for."""

import pytest

from cloudslice.identity.user_sig import verify_user_sig
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.slicing.params import ImageFormat, SliceParams, SubscriptionLists
from cloudslice.tasks.auto_task_rules import wanted_types
from helpers.api_fakes import APP_KEY
from helpers.auto_tasks import BUCKET, make_rule

NUMBER, STRING = RoomIdType.NUMBER, RoomIdType.STRING
LIVEKIT = {"rooms": "livekit", "livekit": {"url": "ws://x", "api_key": "k", "api_secret": "s"}}
ROOM = RoomKey(1, "show-1", STRING)


@pytest.mark.parametrize(
    ("pattern", "room_id", "expected"),
    [
        ("*", "anything at all", True),
        ("show-*", "show-1", True),
        ("show-*", "Show-1", False),
        ("show-*", "a show-1", False),
        ("show-?", "show-12", False),
        ("show-[0-9]", "show-1", True),
        ("show-[!0-9]", "show-1", False),
        ("a.c", "abc", False),
        ("[", "[", True),
    ],
)
def test_patterns_are_those_of_the_shell(pattern: str, room_id: str, expected: bool) -> None:
    rule = make_rule(1, pattern)
    assert rule.matches(RoomKey(1, room_id, STRING)) is expected
    assert not rule.matches(RoomKey(2, room_id, STRING))


@pytest.mark.parametrize(
    ("room_id_type", "app", "types"),
    [
        ("any", {}, {NUMBER, STRING}),
        ("number", {}, {NUMBER}),
        ("string", {}, {STRING}),
        ("any", LIVEKIT, {STRING}),
        ("number", LIVEKIT, {NUMBER}),
    ],
)
def test_a_room_of_another_server_has_one_task(
    room_id_type: str, app: dict[str, object], types: set[RoomIdType]
) -> None:
    """The room 150 there could be 150 and "150" of ours."""
    rule = make_rule(1, "*", app=app, room_id_type=room_id_type)
    assert {each for each in RoomIdType if rule.matches(RoomKey(1, "150", each))} == types
    assert wanted_types([rule], 1) == types
    assert wanted_types([rule], 2) == frozenset()


def test_it_asks_for_what_a_call_would() -> None:
    """With a UserSig that outlasts the room."""
    rule = make_rule(
        1,
        "*",
        user_id="bot",
        video=False,
        max_idle_s=60,
        audio_slice_s=20,
        image_format="jpg",
        audio_block=["carol"],
    )
    spec = rule.make_spec(ROOM, 1_700_000_000)
    assert (spec.room, spec.robot_user_id, spec.bucket) == (ROOM, "bot", BUCKET)
    assert spec.slicing == SliceParams(True, False, 60, 20, 5, ImageFormat.JPG)
    assert spec.lists == SubscriptionLists(audio_block=("carol",))
    verify_user_sig(spec.user_sig, APP_KEY, 1, "bot", now_s=1_700_000_000 + 9 * 365 * 86400)


def test_no_secret_is_in_its_text() -> None:
    rule = make_rule(1, "*", storage={**make_storage("TOPSECRET")})
    assert "TOPSECRET" not in repr(rule) + repr(rule.make_spec(ROOM, 0))
    assert APP_KEY not in repr(rule)


def make_storage(secret: str) -> dict[str, str]:
    return {"region": "r", "bucket": "b", "access_key": "a", "secret_key": secret}
