"""Whom a robot slices, by the rules of docs/wire.md, 8."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.slicing.subscription import AnchorPlaces, is_subscribed


@pytest.mark.parametrize(
    ("user_id", "allow", "block", "present", "expected"),
    [
        pytest.param("ann", (), (), (), True, id="no lists: everybody"),
        pytest.param("ann", ("ann",), (), (), True, id="allowed"),
        pytest.param("bob", ("ann",), (), (), False, id="not allowed"),
        pytest.param("ann", (), ("ann",), (), False, id="blocked"),
        pytest.param("bob", (), ("ann",), (), True, id="not blocked"),
        pytest.param("100", ("1.*$",), (), (), True, id="allowed by prefix"),
        pytest.param("1", ("1.*$",), (), (), True, id="the prefix itself"),
        pytest.param("210", ("1.*$",), (), (), False, id="prefix in the middle"),
        pytest.param("100", (), ("1.*$",), (), False, id="blocked by prefix"),
        pytest.param("ann", (".*$",), (), (), True, id="the empty prefix: everybody"),
        pytest.param("ann", (), (".*$",), (), False, id="the empty prefix: nobody"),
        pytest.param("axb", ("a.b",), (), (), False, id="a dot is a dot"),
        pytest.param("aab", ("a.*b",), (), (), False, id="only the suffix is special"),
        pytest.param("a.*b", ("a.*b",), (), (), True, id="no suffix: literal"),
        pytest.param("1x.*$", ("1.*$",), (), (), True, id="an id that looks like a rule"),
        pytest.param("1.*$", ("1.*$",), (), ("1.*$",), True, id="the user with that very id"),
        pytest.param("100", ("1.*$",), (), ("1.*$",), False, id="whose presence ends the rule"),
        pytest.param("100", ("1.*$",), (), ("100",), True, id="others' presence does not"),
        pytest.param("100", (), ("1.*$",), ("1.*$",), True, id="literal in the block list"),
        pytest.param("bob", ("x", "b.*$", "y"), (), (), True, id="any entry will do"),
    ],
)
def test_rules(
    user_id: str,
    allow: tuple[str, ...],
    block: tuple[str, ...],
    present: tuple[str, ...],
    expected: bool,
) -> None:
    assert is_subscribed(user_id, allow=allow, block=block, present=present) is expected


def test_first_come_first_served() -> None:
    places = AnchorPlaces(2)
    assert places.update(["a"]) == {"a"}
    assert places.update(["b", "c", "a"]) == {"a", "b"}


def test_a_free_place_goes_to_who_has_waited_longest() -> None:
    places = AnchorPlaces(2)
    places.update(["a", "b", "c", "d"])
    assert places.update(["d", "c", "b"]) == {"b", "c"}
    assert places.update(["d", "b"]) == {"b", "d"}


def test_who_comes_back_queues_up_again() -> None:
    places = AnchorPlaces(2)
    places.update(["a", "b", "c"])
    places.update(["b", "c"])
    assert places.update(["a", "b", "c"]) == {"b", "c"}


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True)), st.integers(0, 5))
def test_nobody_loses_a_place_and_none_stays_empty(updates: list[list[str]], limit: int) -> None:
    places = AnchorPlaces(limit)
    before: set[str] = set()
    for wanting in updates:
        served = places.update(wanting)
        assert served <= set(wanting)
        assert before & set(wanting) <= served
        assert len(served) == min(limit, len(wanting))
        before = served
