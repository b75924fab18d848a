"""Pictures are due together, as long as not too many are, and just after heartbeats."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.clock import HEARTBEAT_S
from cloudslice.slicing.pictures.due_times import AHEAD_S, PicturePhases

MOMENTS = 24
"""In five seconds: two for each heartbeat."""


def until_last_beat(due: float, period: float = HEARTBEAT_S) -> float:
    """Seconds from the last multiple of `period` to the asking for a picture's key frame."""
    since = (due - AHEAD_S) % period
    return since if since < period / 2 else since - period


def test_a_track_alone_has_its_second_picture_an_interval_after_the_first_or_a_little_less() -> (
    None
):
    due = PicturePhases().join(5, 100.0)
    assert 105 - HEARTBEAT_S < due <= 105
    assert until_last_beat(due) == pytest.approx(-0.005)


def test_four_tracks_share_a_moment_and_the_fifth_has_its_own() -> None:
    phases = PicturePhases()
    first, *others = [phases.join(5, 100 + 0.5 * index) for index in range(5)]
    assert others[:3] == [first, first, first]
    assert others[3] > first


def test_tracks_of_other_intervals_do_not_count() -> None:
    phases = PicturePhases()
    assert phases.join(5, 100.0) == PicturePhases().join(5, 100.0)
    assert phases.join(6, 100.5) == PicturePhases().join(6, 100.5)


def test_a_moment_that_is_hardly_ahead_is_not_shared() -> None:
    """The first two pictures would be nearly the same."""
    phases = PicturePhases()
    first = phases.join(5, 100.0)
    assert phases.join(5, 104.0) > first + 5 / 2


def test_a_track_that_has_left_makes_room() -> None:
    phases = PicturePhases()
    dues = [phases.join(5, 100.0) for _ in range(4)]
    phases.leave(5, dues[0] + 3 * 5)
    assert phases.join(5, 101.0) == dues[0]
    assert phases.join(5, 101.0) > dues[0]


def test_heartbeats_are_used_before_what_is_between_them() -> None:
    phases = PicturePhases()
    dues = [phases.join(5, 100 + index / 10) for index in range(40)]
    assert all(abs(until_last_beat(due)) < 0.01 for due in dues)


@pytest.mark.parametrize("tracks", [20, 100, 500])
def test_many_tracks_are_spread_evenly(tracks: int) -> None:
    """As evenly as their joining is; none waits for more than its share of others' pictures."""
    phases = PicturePhases()
    joins = [100 + 30 * index / tracks for index in range(tracks)]
    shared = Counter(round(phases.join(5, each) % 5, 6) for each in joins)
    assert len(shared) <= MOMENTS
    assert max(shared.values()) <= max(4, tracks / MOMENTS * 1.2)


@given(st.integers(5, 60), st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_the_second_picture_is_half_an_interval_to_a_whole_one_later(
    interval_s: int, joins: list[float]
) -> None:
    phases = PicturePhases()
    for now in joins:
        due = phases.join(interval_s, now)
        assert now + interval_s / 2 < due <= now + interval_s
        if interval_s % 5 == 0:
            assert until_last_beat(due, HEARTBEAT_S / 2) == pytest.approx(-0.005, abs=1e-6)
