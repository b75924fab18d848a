"""How many sessions may be on their way: by user, by app, and in all."""

import pytest

from cloudslice.config import RtcSettings
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.builtin.connecting import Connecting, Scope, TooManyConnectingError

SETTINGS = RtcSettings(connecting_per_user=2, connecting_per_app=4, connecting_per_node=6)


def room(number: int, app: int = 1) -> RoomKey:
    return RoomKey(app, str(number), RoomIdType.NUMBER)


def put(connecting: Connecting[str], key: RoomKey, user_id: str) -> None:
    connecting.check(key, user_id)
    connecting.add(key, user_id, "member")


@pytest.mark.parametrize(
    ("there", "next_one", "scope"),
    [
        pytest.param([(1, 1, "a"), (1, 2, "a")], (1, 3, "a"), Scope.USER, id="user"),
        pytest.param([(1, n, f"u{n}") for n in range(1, 5)], (1, 9, "u9"), Scope.APP, id="app"),
        pytest.param(
            [(app, n, f"u{n}") for app in (1, 2, 3) for n in (1, 2)],
            (4, 1, "u1"),
            Scope.NODE,
            id="node",
        ),
    ],
)
def test_beyond_a_bound_nobody_comes_until_one_is_gone(
    there: list[tuple[int, int, str]], next_one: tuple[int, int, str], scope: Scope
) -> None:
    connecting: Connecting[str] = Connecting(SETTINGS)
    for app, number, user_id in there:
        put(connecting, room(number, app), user_id)
    app, number, user_id = next_one
    with pytest.raises(TooManyConnectingError) as refused:
        connecting.check(room(number, app), user_id)
    assert refused.value.scope is scope
    app, number, user_id = there[0]
    connecting.discard(room(number, app), user_id, "member")
    put(connecting, room(next_one[1], next_one[0]), next_one[2])


def test_the_same_user_id_of_another_app_is_another_user() -> None:
    connecting: Connecting[str] = Connecting(SETTINGS)
    for app in (1, 1, 2, 2):
        put(connecting, room(len(connecting) + 1, app), "anchor")


def test_who_replaces_another_is_never_refused() -> None:
    connecting: Connecting[str] = Connecting(RtcSettings(connecting_per_node=1))
    put(connecting, room(1), "anchor")
    connecting.check(room(1), "anchor")


def test_a_late_goodbye_of_one_that_was_replaced_counts_nothing() -> None:
    connecting: Connecting[str] = Connecting(SETTINGS)
    older, newer = "older", "newer"
    connecting.add(room(1), "anchor", older)
    connecting.discard(room(1), "anchor", older)
    connecting.add(room(1), "anchor", newer)
    connecting.discard(room(1), "anchor", older)
    assert connecting.find(room(1), "anchor") is newer
    connecting.discard(room(1), "anchor", newer)
    assert len(connecting) == 0
