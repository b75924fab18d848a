"""Threads that wait for the interpreter are not kept waiting long; files can be opened; nothing is
looked for garbage in vain."""

import gc
import resource
import sys
from collections.abc import Iterator

import pytest

from cloudslice.process import allow_many_files, collect_rarely, take_short_turns


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(interval)
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_a_turn_is_far_shorter_than_what_a_picture_takes() -> None:
    take_short_turns()
    assert sys.getswitchinterval() < 0.001


def test_what_a_tick_makes_is_not_looked_through() -> None:
    collect_rarely()
    assert gc.get_freeze_count() > 10_000
    before = gc.get_stats()[0]["collections"]
    events = [(number,) for number in range(1_000)]
    assert gc.get_stats()[0]["collections"] == before, len(events)


def test_the_limit_of_files_is_raised_as_far_as_it_may_be() -> None:
    """Many programs start with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        limit = allow_many_files()
        assert limit == min(hard, 65_536)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limit, hard)
        assert allow_many_files() == limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
