"""The rate limit slides."""

from hypothesis import given
from hypothesis import strategies as st

from cloudslice.api.limits import RateLimiter


def test_a_call_is_forgotten_after_a_second() -> None:
    limiter = RateLimiter()
    assert [limiter.admit("a", 2, now) for now in (0.0, 0.5, 0.9, 1.0, 1.4, 1.5)] == [
        *(True, True, False),
        *(True, False, True),
    ]


def test_every_key_has_its_own_count() -> None:
    limiter = RateLimiter()
    assert limiter.admit(("id", "A"), 1, 0.0)
    assert limiter.admit(("id", "B"), 1, 0.0)
    assert not limiter.admit(("id", "A"), 1, 0.0)


@given(st.lists(st.floats(0, 0.4), max_size=60), st.integers(1, 5))
def test_no_second_has_more_than_the_limit_and_none_is_refused_without_need(
    pauses: list[float], limit: int
) -> None:
    limiter = RateLimiter()
    now, admitted = 0.0, []
    for pause in pauses:
        now += pause
        recent = [time for time in admitted if time > now - 1]
        is_admitted = limiter.admit("a", limit, now)
        assert is_admitted is (len(recent) < limit)
        if is_admitted:
            admitted.append(now)
