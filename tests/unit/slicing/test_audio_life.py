"""Seconds of file are seconds of life, whatever sender, network and our own process do.

From packets to slices, in simulated time; the truth is when each packet was captured.
"""

from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.events import GapReason
from helpers.audio_life import (
    Life,
    Listener,
    check_seconds,
    check_tiles,
    check_times,
    hold,
    numbers,
)


def check(listener: Listener, life: Life, *, within_s: float = 0.1) -> None:
    check_tiles(listener)
    check_seconds(listener, within_s=within_s)
    check_times(listener, life, within_s=within_s)


def check_all_heard(listener: Listener, life: Life) -> None:
    assert list(listener.heard()) == numbers(life.packets)


@pytest.mark.parametrize("reports", [False, True])
@pytest.mark.parametrize("seconds", [0.5, 0.8, 1.3, 1.9])
def test_a_stall_of_the_capture_is_silence_of_its_length(seconds: float, reports: bool) -> None:
    life = Life(jitter_s=0.06, reports=reports)
    for _ in range(20):
        life.talk(3.1).stall(seconds)
    life.talk(3)
    listener = Listener().hear(life)
    check(listener, life)
    check_all_heard(listener, life)
    assert listener.made_up_s == pytest.approx(20 * seconds, abs=1)
    assert listener.counters.clock_stalled == 20
    told = [gap for gap in listener.gaps if gap.reason is GapReason.STOOD_STILL]
    assert len(told) == 20
    assert sum(gap.samples for gap in told) / 48_000 == pytest.approx(20 * seconds, abs=1)
    assert listener.slices[0].details["clock"] == "stalled"


@pytest.mark.parametrize("after_s", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("seconds", [(0.6, 1.9), (1.5, 0.7), (2.5, 2.0), (2.5, 3.5)])
def test_a_report_of_one_stall_says_nothing_of_the_next(
    seconds: tuple[float, float], after_s: float
) -> None:
    """Reports come each 5 s, so long after the first packet that is late."""
    first_s, second_s = seconds
    life = Life(reports=True).talk(11 - first_s - after_s).stall(first_s)
    life.talk(5 - second_s).stall(second_s).talk(20)
    listener = Listener().hear(life)
    check(listener, life)
    check_all_heard(listener, life)
    told = [gap.samples / 48_000 for gap in listener.gaps]
    assert told == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("reports", [False, True])
@pytest.mark.parametrize("speed", [inf, 20, 1.5], ids=["at once", "fast", "slowly"])
@pytest.mark.parametrize("seconds", [0.4, 1.2, 2.05, 5, 60])
@pytest.mark.parametrize("at", [20.0, 29.97], ids=["in a slice", "at an end"])
def test_what_the_network_held_back_makes_no_silence(
    at: float, seconds: float, speed: float, reports: bool
) -> None:
    life = Life(jitter_s=0.03, reports=reports).talk(40 + seconds)
    hold(life, at, seconds, speed=speed)
    listener = Listener().hear(life)
    assert listener.made_up_s == 0
    check(listener, life)
    check_all_heard(listener, life)


def test_holds_that_follow_each_other_make_no_silence() -> None:
    """The second one begins before what the first one held back has come."""
    life = Life().talk(60)
    hold(life, 20.0, 6, speed=3)
    hold(life, 27.0, 4, speed=3)
    listener = Listener().hear(life)
    assert listener.made_up_s == 0
    check(listener, life)
    check_all_heard(listener, life)


def test_a_process_that_stood_still_makes_no_silence() -> None:
    """Every packet waited in the socket: four times for 5 s."""
    life = Life(jitter_s=0.03).talk(89)
    stalls = [(12, 17), (27.5, 32.5), (50, 55), (74.9, 79.9)]
    listener = Listener().hear(life, stalls=stalls)
    assert listener.made_up_s == 0
    assert [int(each.details["samples"]) for each in listener.slices] == [720_000] * 5 + [672_000]
    check(listener, life)


@pytest.mark.parametrize("clock_runs", [False, True])
@pytest.mark.parametrize("seconds", [2.1, 5, 30, 600])
def test_a_mute_closes_and_the_next_packet_begins(seconds: float, clock_runs: bool) -> None:
    """Nothing is made up; the slice after it ends where it would have without the mute."""
    life = Life(jitter_s=0.03).talk(20)
    if clock_runs:
        life.mute(seconds)
    else:
        life.stall(seconds)
    life.talk(31)
    listener = Listener().hear(life)
    assert listener.made_up_s == 0
    check(listener, life)
    check_all_heard(listener, life)
    ends = [
        int(each.details["first-sample"]) + int(each.details["samples"]) for each in listener.slices
    ]
    assert ends[1] == 20 * 48_000
    assert all(end % 720_000 == 0 for end in [ends[0], *ends[2:-1]])


@pytest.mark.parametrize("step", [90 / 48, 2.0], ids=["90 kHz", "doubled"])
@pytest.mark.parametrize("jitter_s", [0.0, 0.06])
def test_a_clock_that_runs_too_fast_makes_no_silence(step: float, jitter_s: float) -> None:
    life = Life(step=step, jitter_s=jitter_s, reports=True).talk(120)
    listener = Listener().hear(life)
    assert listener.made_up_s <= 0.5
    check_all_heard(listener, life)
    check(listener, life, within_s=0.5)
    assert listener.counters.clock_fast > 0


@pytest.mark.parametrize("step", [1 / 3, 0.5], ids=["16 kHz", "halved"])
@pytest.mark.parametrize("jitter_s", [0.0, 0.06])
def test_a_clock_that_ticks_too_slowly_changes_nothing(step: float, jitter_s: float) -> None:
    life = Life(step=step, jitter_s=jitter_s).talk(60)
    listener = Listener().hear(life)
    check_all_heard(listener, life)
    check(listener, life)
    assert listener.made_up_s <= 0.1
    assert listener.counters.clock_slow > 0


@pytest.mark.parametrize("jitter_s", [0.0, 0.06])
@pytest.mark.parametrize("step_s", [1.9, 3600, -0.2, -1.9, -3600])
def test_a_clock_that_jumps_again_and_again_is_not_believed(step_s: float, jitter_s: float) -> None:
    life = Life(jitter_s=jitter_s)
    for _ in range(30):
        life.talk(2).jump(step_s)
    life.talk(5)
    listener = Listener().hear(life)
    check_all_heard(listener, life)
    check(listener, life)
    assert listener.made_up_s <= 0.1
    assert listener.counters.clock_jumped == 30


def test_a_jump_in_a_stall_is_as_long_as_the_stall() -> None:
    life = Life(jitter_s=0.06)
    for _ in range(10):
        life.talk(5).stall(1.1).jump(-30)
    life.talk(5)
    listener = Listener().hear(life)
    check_all_heard(listener, life)
    check(listener, life)


def test_a_jump_while_what_was_held_back_comes_makes_no_silence() -> None:
    life = Life(jitter_s=0.03).talk(31).jump(3000).talk(3).jump(-3000).talk(2).restart().talk(30)
    hold(life, 20.0, 15, speed=3)
    listener = Listener().hear(life)
    check_all_heard(listener, life)
    check(listener, life)
    assert listener.made_up_s <= 0.1


@pytest.mark.parametrize("pause_s", [0.0, 0.2, 1.0, 3.0])
def test_another_ssrc_goes_on_where_life_is(pause_s: float) -> None:
    life = Life(jitter_s=0.06)
    for _ in range(10):
        life.talk(6).restart().mute(pause_s)
    life.talk(5)
    listener = Listener().hear(life)
    check_all_heard(listener, life)
    check(listener, life)


@pytest.mark.parametrize("waited_s", [0.5, 3.0, 4.8])
@pytest.mark.parametrize("speed", [inf, 10])
def test_what_was_queued_while_connecting_is_kept_with_its_times(
    waited_s: float, speed: float
) -> None:
    """They are from before the first packet's arrival."""
    life = Life(jitter_s=0.02).talk(47)
    hold(life, 0.0, waited_s, speed=speed)
    listener = Listener().hear(life)
    check_all_heard(listener, life)
    check(listener, life)
    assert [each.duration_ms for each in listener.slices[:3]] == pytest.approx([15_000] * 3, abs=50)
    assert listener.counters.clock_burst == 1


def test_a_sender_much_faster_than_real_time_is_cut_to_it() -> None:
    """What is ahead is dropped and counted; what a sender might have queued is not."""
    life = Life(rate=7.0).talk(60)
    listener = Listener().hear(life)
    seconds = sum(int(each.details["samples"]) for each in listener.slices) / 48_000
    assert 60 <= seconds <= 67
    assert listener.made_up_s == 0
    kept = len(listener.heard())
    assert kept + listener.counters.packets_ahead == len(life.packets)
    check_tiles(listener)


@pytest.mark.parametrize("rate", [0.919, 0.95, 0.98, 1.02, 1.0884])
def test_a_capture_of_the_wrong_rate_is_life_all_the_same(rate: float) -> None:
    """44.1 kHz sent as 48 kHz, and the other way round."""
    life = Life(rate=rate, jitter_s=0.03).talk(300)
    listener = Listener().hear(life)
    seconds = sum(int(each.details["samples"]) for each in listener.slices) / 48_000
    assert seconds == pytest.approx(300, abs=1.7)
    check_tiles(listener)
    check_times(listener, life, within_s=1.5)


@pytest.mark.parametrize("ppm", [200, -200])
def test_drift_is_followed_by_the_times_alone(ppm: float) -> None:
    """2.2 s in three hours."""
    life = Life(rate=1 + ppm / 1e6, jitter_s=0.06, toc=0x18).talk(3 * 3600)
    listener = Listener(60).hear(life)
    assert listener.made_up_s == 0
    check_all_heard(listener, life)
    check(listener, life)


def test_delay_that_grows_while_packets_flow_makes_no_silence() -> None:
    """A full buffer on the way, and it drains again."""
    life = Life(jitter_s=0.02).talk(60)
    for each in life.packets:
        each.arrival += max(0.0, min(each.captured - 20, 24 - each.captured))
    listener = Listener().hear(life)
    assert listener.made_up_s == 0
    check_all_heard(listener, life)
    check(listener, life)


@pytest.mark.parametrize("loss", [0.01, 0.1, 0.3])
def test_lost_packets_leave_their_place(loss: float) -> None:
    life = Life(jitter_s=0.06).talk(60, loss=loss)
    listener = Listener().hear(life)
    check_all_heard(listener, life)
    check(listener, life)
    assert listener.made_up_s == pytest.approx(60 - 0.02 * len(life.packets), abs=0.1)


def test_discontinuous_transmission_is_no_mute() -> None:
    life = Life(jitter_s=0.06)
    for _ in range(60):
        life.talk(0.02).mute(0.38)
    life.talk(10)
    for _ in range(60):
        life.talk(0.02).mute(0.38)
    listener = Listener().hear(life)
    check_all_heard(listener, life)
    check(listener, life)
    for former, stored in pairwise(listener.slices):
        end = int(former.details["first-sample"]) + int(former.details["samples"])
        assert end == int(stored.details["first-sample"])


_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("talk"), st.floats(0.1, 20)),
        st.tuples(st.just("lossy"), st.floats(0.1, 10)),
        st.tuples(st.just("stall"), st.floats(0.5, 6)),
        st.tuples(st.just("mute"), st.floats(0.1, 40)),
        st.tuples(st.just("jump"), st.floats(-100, 100)),
        st.tuples(st.just("restart"), st.floats(0, 4)),
    ),
    max_size=20,
)


def live(life: Life, events: list[tuple[str, float]]) -> Life:
    """What happens, one after the other, with some talk between."""
    life.talk(3)
    for event, amount in events:
        match event:
            case "talk":
                life.talk(amount)
            case "lossy":
                life.talk(amount, loss=0.1)
            case "stall":
                life.stall(amount).talk(3)
            case "mute":
                life.mute(amount).talk(3)
            case "jump":
                # A step that real time allows is none.
                life.jump(amount if abs(amount) > 0.15 else 0.15).talk(3)
            case "restart":
                life.restart().mute(amount).talk(3)
    return life


@settings(max_examples=60, deadline=None)
@given(_EVENTS, st.sampled_from([0.0, 0.06]), st.booleans(), st.sampled_from([-200, 0, 200]))
def test_whatever_a_sender_does_seconds_of_file_are_seconds_of_life(
    events: list[tuple[str, float]], jitter_s: float, reports: bool, ppm: int
) -> None:
    life = live(Life(jitter_s=jitter_s, reports=reports, rate=1 + ppm / 1e6), events)
    listener = Listener().hear(life)
    check_all_heard(listener, life)
    check(listener, life)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_hour_of_sigstops_stalls_clock_jumps_bursts_and_drift(seed: int) -> None:
    chance = Random(seed)
    life = Life(jitter_s=0.05, reports=seed % 2 == 1, rate=1 + (seed % 3 - 1) * 200e-6, seed=seed)
    life.talk(10)
    held: list[tuple[float, float]] = []
    stopped: list[tuple[float, float]] = []
    while life.now < 3600:
        life.talk(chance.uniform(5, 40), loss=chance.choice([0, 0, 0.02]))
        match chance.randrange(7):
            case 0:
                life.stall(chance.uniform(0.5, 1.9))
            case 1:
                life.mute(chance.uniform(0.2, 30))
            case 2:
                life.jump(chance.uniform(0.2, 3600) * chance.choice([-1, 1]))
            case 3:
                life.restart().mute(chance.uniform(0, 3))
            case 4:
                held.append((life.now, chance.uniform(0.4, 20)))
                life.talk(30)  # a stall in a hold is of the right length, but nobody knows where
            case 5:
                stopped.append((life.now, life.now + chance.uniform(0.2, 20)))
            case 6:
                life.stall(chance.uniform(2, 30))
        life.talk(10)
    for at, seconds in held:
        hold(life, at, seconds, speed=chance.choice([inf, 10, 3]))
    listener = Listener().hear(life, stalls=stopped)
    check_all_heard(listener, life)
    check(listener, life)
