"""A slice's times are fixed as it ends, and the next one begins there."""

from cloudslice.slicing.audio.slice_times import SliceTimes
from helpers.slice_store import UTC_AT_ZERO_MS, SettableClock


def test_a_slice_that_follows_begins_when_the_one_before_ended() -> None:
    """Even if that is known better now: it ends where it should, and makes up for it."""
    times = SliceTimes(SettableClock())
    assert times.fix(10.0, 25.0, follows=False) == (UTC_AT_ZERO_MS + 10_000, 15_000)
    assert times.expect(24.5) == UTC_AT_ZERO_MS + 25_000
    assert times.fix(24.5, 39.5, follows=True) == (UTC_AT_ZERO_MS + 25_000, 14_500)
    assert times.fix(39.7, 54.7, follows=True) == (UTC_AT_ZERO_MS + 39_500, 15_200)


def test_a_slice_after_a_pause_begins_with_its_first_packet() -> None:
    """But never before the end of the one before."""
    times = SliceTimes(SettableClock())
    times.fix(10.0, 25.0, follows=False)
    assert times.fix(30.0, 40.0, follows=False) == (UTC_AT_ZERO_MS + 30_000, 10_000)
    assert times.fix(39.0, 41.0, follows=False) == (UTC_AT_ZERO_MS + 40_000, 1_000)


def test_a_wall_clock_that_is_set_bends_no_slice() -> None:
    """The first slice that ends afterwards is labelled by the new one, and is as long as ever."""
    clock = SettableClock()
    times = SliceTimes(clock)
    times.fix(10.0, 25.0, follows=False)
    clock.step_ms = 3_600_000
    assert times.fix(25.0, 40.0, follows=True) == (UTC_AT_ZERO_MS + 3_625_000, 15_000)
    clock.step_ms = -3_600_000
    assert times.fix(40.0, 55.0, follows=True) == (UTC_AT_ZERO_MS - 3_560_000, 15_000)
