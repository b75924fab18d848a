"""Pictures are due together, as long as not too many are, and with ticks."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.slicing.pictures.due_times import DueTimes, choose_tick
from cloudslice.tick import PERIOD_S


@pytest.mark.parametrize(
    ("tracks", "chosen"),
    [
        pytest.param({}, 13, id="empty: the latest"),
        pytest.param({11: 1}, 11, id="begun"),
        pytest.param({11: 1, 12: 3}, 12, id="nearly full"),
        pytest.param({12: 4}, 13, id="full: an empty one"),
        pytest.param({10: 4, 11: 6, 12: 5, 13: 7}, 10, id="all full: the least full"),
    ],
)
def test_a_tick_is_chosen_by_those_who_share_it(tracks: dict[int, int], chosen: int) -> None:
    assert choose_tick(tracks, range(10, 14)) == chosen


def test_a_track_alone_has_its_second_picture_an_interval_after_the_first_or_a_little_less() -> (
    None
):
    due = DueTimes().join(5, "track", 100.03)
    assert 105.03 - PERIOD_S < due <= 105.03


def test_four_tracks_share_a_tick_and_the_fifth_has_its_own() -> None:
    times = DueTimes()
    first, *others = [times.join(5, index, 100 + 0.5 * index) for index in range(5)]
    assert others[:3] == [first, first, first]
    assert others[3] > first


def test_tracks_of_other_intervals_do_not_count() -> None:
    times = DueTimes()
    assert times.join(5, "a", 100.0) == DueTimes().join(5, "a", 100.0)
    assert times.join(6, "a", 100.5) == DueTimes().join(6, "a", 100.5)


def test_a_tick_that_is_hardly_ahead_is_not_shared() -> None:
    """The first two pictures would be nearly the same."""
    times = DueTimes()
    first = times.join(5, "a", 100.0)
    assert times.join(5, "b", 104.0) > first + 5 / 2


def test_two_robots_pictures_of_a_track_are_due_together() -> None:
    """One key frame serves both, however many others share that tick."""
    times = DueTimes()
    first = times.join(5, "track", 100.0)
    for other in range(10):
        times.join(5, other, 100.5)
    second = times.join(5, "track", 104.0)
    assert (second - first) / 5 == pytest.approx(round((second - first) / 5))
    assert 104 < second <= 104 + 5


def test_a_track_that_has_left_makes_room() -> None:
    times = DueTimes()
    dues = [times.join(5, index, 100.0) for index in range(4)]
    times.leave(5, 0, dues[0] + 3 * 5)
    assert times.join(5, "a", 101.0) == dues[0]
    assert times.join(5, "b", 101.0) > dues[0]


@pytest.mark.parametrize("tracks", [20, 100, 500])
def test_many_tracks_are_spread_evenly(tracks: int) -> None:
    """As evenly as their joining is; none waits for more than its share of others' pictures."""
    times = DueTimes()
    joins = [100 + 30 * index / tracks for index in range(tracks)]
    shared = Counter(
        round(times.join(5, index, each) / PERIOD_S) % 60 for index, each in enumerate(joins)
    )
    assert max(shared.values()) <= max(4, tracks / 60 * 1.3)


@given(st.integers(5, 60), st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_the_second_picture_is_half_an_interval_to_a_whole_one_later(
    interval_s: int, joins: list[float]
) -> None:
    times = DueTimes()
    for track, now in enumerate(joins):
        due = times.join(interval_s, track, now)
        assert now + interval_s / 2 < due <= now + interval_s + 1e-6
        assert due / PERIOD_S == pytest.approx(round(due / PERIOD_S), abs=1e-3)
