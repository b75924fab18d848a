"""Sequence numbers and timestamps go on over their wrap; losses are counted and asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.rtp import native
from cloudslice.rtp.reception import NackSchedule, Reception, extend_timestamp


@given(start=st.integers(0, 0xFFFF), steps=st.lists(st.integers(-500, 3000), max_size=100))
def test_sequences_are_extended_over_wraps(start: int, steps: list[int]) -> None:
    """Whatever is sent within half the range of the newest gets its true number."""
    reception = Reception(native.AUDIO, 48000)
    reception.count(start, 0, 0)
    true = highest = start
    for step in steps:
        true = max(highest + step, start)
        assert reception.count(true & 0xFFFF, 0, 0) == true
        highest = max(highest, true)
        assert reception.highest == highest


@given(reference=st.integers(0, 1 << 40), step=st.integers(-(1 << 31), (1 << 31) - 1))
def test_timestamps_are_extended_over_wraps(reference: int, step: int) -> None:
    """The nearest one with these low 32 bits."""
    assert extend_timestamp((reference + step) & 0xFFFFFFFF, reference) == reference + step


def test_report_of_a_lossy_stream() -> None:
    """RFC 3550, A.3: of 10 expected since the start 8 came; then 10 of 10; then 1 twice."""
    reception = Reception(native.AUDIO, 48000)
    for sequence in (*range(100, 104), *range(105, 107), *range(108, 110)):
        reception.count(sequence, 0, 0)
    first = reception.report()
    assert (first.packets_lost, first.fraction_lost, first.highest_sequence) == (2, 51, 109)
    for sequence in range(110, 120):
        reception.count(sequence, 0, 0)
    second = reception.report()
    assert (second.packets_lost, second.fraction_lost) == (2, 0)
    reception.count(119, 0, 0)
    third = reception.report()
    assert (third.packets_lost, third.fraction_lost) == (1, 0)


def test_report_before_the_first_packet_is_empty() -> None:
    """Nothing expected, nothing lost."""
    report = Reception(native.AUDIO, 48000).report()
    assert (report.packets_lost, report.fraction_lost, report.highest_sequence) == (0, 0, 0)


def test_jitter_follows_the_delay() -> None:
    """RFC 3550, A.8: packets that come 10 ms early and late in turns have a jitter near 20 ms."""
    reception = Reception(native.AUDIO, 48000)
    for index in range(300):
        reception.count(index, index * 960, index * 0.02 + 0.02 + (index % 2) * 0.02)
    assert reception.report().jitter == pytest.approx(960, rel=0.05)


def test_jitter_survives_the_wrap_of_timestamps() -> None:
    """A steady stream has none, before and after."""
    reception = Reception(native.AUDIO, 48000)
    for index in range(100):
        reception.count(index, ((1 << 32) - 48000 + index * 960) & 0xFFFFFFFF, index * 0.02)
    assert reception.report().jitter == 0


def test_missing_packets_are_asked_for_until_given_up() -> None:
    """At once, then after each interval; after the last attempt's interval they count as lost."""
    nacks = NackSchedule(attempts=2, interval=0.1)
    nacks.add(10, 13, now=5)
    assert nacks.due(5) == [10, 11, 12]
    assert nacks.due(5.05) == []
    nacks.discard(11)
    assert nacks.due(5.1) == [10, 12]
    assert nacks.given_up == 0
    assert nacks.due(5.2) == []
    assert nacks.given_up == 2
    assert nacks.due(6) == []
    assert nacks.given_up == 2


def test_without_attempts_missing_packets_are_only_given_up() -> None:
    """For senders that cannot repeat."""
    nacks = NackSchedule(attempts=0, interval=0.1)
    nacks.add(10, 12, now=5)
    assert nacks.due(5) == []
    assert nacks.given_up == 2


def test_packets_of_no_more_use_are_not_asked_for() -> None:
    """Before a sequence number, or all of them; neither counts as given up."""
    nacks = NackSchedule(attempts=2, interval=0.1)
    nacks.add(10, 20, now=5)
    nacks.discard_before(18)
    assert nacks.due(5) == [18, 19]
    nacks.clear()
    assert nacks.due(6) == []
    assert nacks.given_up == 0


def test_an_outage_is_not_asked_for() -> None:
    """So many missing packets are given up at once, with those that were missing before."""
    nacks = NackSchedule(attempts=2, interval=0.1)
    nacks.add(0, 10, now=5)
    nacks.add(20, 20 + NackSchedule.LIMIT, now=5)
    assert nacks.due(5) == []
    assert nacks.given_up == 10 + NackSchedule.LIMIT


def test_losses_are_told_by_the_packets_that_are_counted() -> None:
    """One in eight comes through; of 2 x 125 of these one is lost, and it stands for eight."""
    reception = Reception(native.VIDEO, 90000, counted_in=8)
    for sequence in range(65000, 66000, 8):
        reception.count(sequence & 0xFFFF, 0, 0)
    first = reception.report()
    assert (first.packets_lost, first.fraction_lost) == (0, 0)
    for sequence in range(66000, 67000):
        if sequence != 66400:
            reception.count(sequence & 0xFFFF, 0, 0)
    second = reception.report()
    assert (second.packets_lost, second.fraction_lost) == (8, 256 // 125)
    assert second.highest_sequence == 66999
