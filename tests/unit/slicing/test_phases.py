"""Pictures are due together, as long as not too many are."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.slicing.phases import SLOT_S, PicturePhases


def test_a_track_alone_has_its_second_picture_an_interval_after_the_first() -> None:
    assert PicturePhases().join(5, 100.0) == 105.0


def test_four_tracks_share_a_moment_and_the_fifth_has_its_own() -> None:
    phases = PicturePhases()
    dues = [phases.join(5, 100 + 0.5 * index) for index in range(5)]
    assert dues == [105.0, 105.0, 105.0, 105.0, 107.0]


def test_tracks_of_other_intervals_do_not_count() -> None:
    phases = PicturePhases()
    assert (phases.join(5, 100.0), phases.join(6, 100.5)) == (105.0, 106.5)


def test_a_moment_that_is_hardly_ahead_is_not_shared() -> None:
    """The first two pictures would be nearly the same."""
    phases = PicturePhases()
    assert phases.join(5, 100.0) == 105.0
    assert phases.join(5, 104.0) == 109.0


def test_a_track_that_has_left_makes_room() -> None:
    phases = PicturePhases()
    dues = [phases.join(5, 100.0) for _ in range(4)]
    phases.leave(5, dues[0] + 3 * 5)
    assert phases.join(5, 101.0) == 105.0
    assert phases.join(5, 101.0) == 106.0


@pytest.mark.parametrize("tracks", [20, 100, 500])
def test_many_tracks_are_spread_evenly(tracks: int) -> None:
    """As evenly as their joining is; none waits for more than its share of others' pictures."""
    phases = PicturePhases()
    joins = [100 + 30 * index / tracks for index in range(tracks)]
    shared = Counter(round(phases.join(5, each) % 5 / SLOT_S) for each in joins)
    slots = 5 / SLOT_S
    assert max(shared.values()) <= max(4, tracks / slots * 1.2)


@given(st.integers(5, 60), st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_the_second_picture_is_half_an_interval_to_a_whole_one_later(
    interval_s: int, joins: list[float]
) -> None:
    phases = PicturePhases()
    for now in joins:
        due = phases.join(interval_s, now)
        assert now + interval_s / 2 < due <= now + interval_s
        assert due % SLOT_S == 0
