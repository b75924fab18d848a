"""Threads that wait for the interpreter are not kept waiting long."""

import sys
from collections.abc import Iterator

import pytest

from cloudslice.process import take_short_turns


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)


def test_a_turn_is_far_shorter_than_what_a_picture_takes() -> None:
    take_short_turns()
    assert sys.getswitchinterval() < 0.001
