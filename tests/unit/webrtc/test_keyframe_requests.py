"""When a sender is asked for a key frame, and when it is found not to answer."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from cloudslice.webrtc.keyframe_requests import KeyframeRequests

TICK_S = 0.08


def asked_at(
    requests: KeyframeRequests,
    until: float,
    *,
    start: float = 0.0,
    due: float = 0.0,
    flows: bool = True,
    may_be_answered: bool = True,
    on_tick: Callable[[float], None] = lambda _now: None,
) -> list[float]:
    """When a sender is asked in the ticks between two seconds."""
    found = []
    for tick in range(round(start / TICK_S), round(until / TICK_S)):
        now = tick * TICK_S
        on_tick(now)
        if now >= requests.next_at(due, flows=flows):
            requests.asked(now, may_be_answered=may_be_answered)
            found.append(round(now, 2))
    return found


def gaps(times: list[float]) -> list[float]:
    return [round(b - a, 2) for a, b in pairwise(times)]


def pictures(after_s: float, count: int) -> list[int]:
    """How many requests each of so many pictures takes, one every 5 s, of a sender whose answers
    take so long."""
    requests = KeyframeRequests()
    found = []
    for picture in range(count):
        due = picture * 5.0
        sent = 0
        now = due
        while True:
            if sent and now - due >= after_s:
                requests.answered(now)
                break
            if now >= requests.next_at(due, flows=True):
                requests.asked(now, may_be_answered=True)
                sent += 1
            now += TICK_S
        found.append(sent)
    return found


def test_nothing_is_asked_before_it_is_due() -> None:
    assert asked_at(KeyframeRequests(), 2.0, due=1.0)[0] == 1.04


def test_requests_back_off_while_there_is_no_answer() -> None:
    times = asked_at(KeyframeRequests(), 9.0, may_be_answered=False)
    assert gaps(times) == pytest.approx([0.5, 1.0, 2.0, 4.0], abs=0.1)


@pytest.mark.parametrize(
    ("answer_s", "expected"),
    [
        pytest.param(0.1, [1, 1, 1, 1], id="100 ms"),
        pytest.param(0.45, [1, 1, 1, 1], id="450 ms"),
        pytest.param(0.7, [2, 1, 1, 1], id="round trip of 500 ms"),
        pytest.param(1.5, [2, 1, 1, 1], id="1.5 s"),
    ],
)
def test_the_time_that_answers_take_is_learnt(answer_s: float, expected: list[int]) -> None:
    """One request for each picture."""
    assert pictures(answer_s, 4) == expected


def test_a_slow_answer_fades() -> None:
    """After ten quick ones a request that is lost is repeated as soon as ever."""
    requests = KeyframeRequests()
    for picture in range(12):
        requests.asked(picture * 5.0, may_be_answered=False)
        requests.answered(picture * 5.0 + (2.5 if picture == 0 else 0.1))
    requests.asked(100.0, may_be_answered=False)
    assert requests.next_at(100.0, flows=True) == pytest.approx(100.5, abs=0.1)


def test_what_comes_very_late_is_no_answer() -> None:
    requests = KeyframeRequests()
    requests.asked(0.0, may_be_answered=False)
    requests.answered(3.5)
    requests.asked(10.0, may_be_answered=False)
    assert requests.next_at(10.0, flows=True) == 10.5


def test_two_requests_in_a_row_leave_the_encoder_some_time() -> None:
    """Somebody asks anew just after a key frame was made."""
    requests = KeyframeRequests()
    requests.asked(1.0, may_be_answered=False)
    requests.answered(1.05)
    assert requests.next_at(1.06, flows=True) == 1.3


def test_a_damaged_answer_is_not_waited_for() -> None:
    requests = KeyframeRequests()
    for picture in range(2):
        requests.asked(picture * 5.0, may_be_answered=False)
        requests.answered(picture * 5.0 + 1.0)
    requests.asked(10.0, may_be_answered=False)
    assert requests.next_at(10.0, flows=True) == 11.5
    requests.answer_damaged(10.2)
    assert requests.next_at(10.0, flows=True) == 10.3


def test_answers_damaged_again_and_again_are_asked_for_ever_later() -> None:
    requests = KeyframeRequests()

    def damage(now: float) -> None:
        if requests.is_open:
            requests.answer_damaged(now)

    times = asked_at(requests, 60.0, may_be_answered=False, on_tick=damage)
    assert gaps(times)[:5] == pytest.approx([0.3, 0.6, 1.2, 2.4, 4.0], abs=0.1)
    assert min(gaps(times)[5:]) >= 4.0
    assert not requests.are_ignored


def test_smaller_key_frames_are_asked_for_after_two_damaged_ones() -> None:
    """And each whole one at the first try is a step back to the full bitrate."""
    requests = KeyframeRequests()
    factors = []
    for now in range(6):
        requests.asked(now, may_be_answered=False)
        requests.answer_damaged(now + 0.2)
        factors.append(requests.bitrate_factor(now + 0.2))
    assert factors == [1.0, 0.5, 0.25, 0.125, 0.125, 0.125]
    requests.answered(6.5)
    assert requests.bitrate_factor(6.5) == 0.125
    for now in range(10, 25, 5):
        requests.asked(now, may_be_answered=False)
        requests.answered(now + 0.2)
        factors.append(requests.bitrate_factor(now + 0.2))
    assert factors[6:] == [0.25, 0.5, 1.0]


def test_the_full_bitrate_is_back_after_a_minute_without_damage() -> None:
    requests = KeyframeRequests()
    for now in (0.0, 1.0):
        requests.asked(now, may_be_answered=False)
        requests.answer_damaged(now)
    assert requests.bitrate_factor(60.9) == 0.5
    assert requests.bitrate_factor(61.0) == 1.0


def test_a_sender_that_does_not_answer_is_found_out() -> None:
    """After three requests in vain; then it is asked rarely."""
    requests = KeyframeRequests()
    times = asked_at(requests, 4.0)
    assert times == pytest.approx([0.0, 0.5, 1.5, 3.5], abs=0.15)
    assert requests.are_ignored
    later = asked_at(requests, 300.0, start=4.0)
    assert len(later) <= 12
    assert gaps(later)[-1] == pytest.approx(30.0, abs=0.1)


def test_key_frames_that_come_by_themselves_are_no_answer() -> None:
    """Every 9 s: it is asked no more often for them."""
    requests = KeyframeRequests()

    def on_tick(now: float) -> None:
        if round(now / TICK_S) % round(9 / TICK_S) == 60:
            requests.answered(now)

    times = asked_at(requests, 300.0, on_tick=on_tick)
    assert requests.are_ignored
    assert len(times) <= 16


def test_a_sender_that_answers_after_all_is_believed_at_the_second_time() -> None:
    requests = KeyframeRequests()
    asked_at(requests, 4.0)
    for now, is_ignored in ((50.0, True), (100.0, False)):
        requests.asked(now, may_be_answered=True)
        requests.answered(now + 0.1)
        assert requests.are_ignored is is_ignored


def test_losses_and_silence_are_no_refusal() -> None:
    requests = KeyframeRequests()
    asked_at(requests, 60.0, may_be_answered=False)
    assert not requests.are_ignored


def test_a_silent_sender_is_asked_rarely() -> None:
    times = asked_at(KeyframeRequests(), 120.0, flows=False, may_be_answered=False)
    assert len(times) <= 10
    assert gaps(times)[-1] == pytest.approx(30.0, abs=0.1)


def test_a_sender_that_is_back_is_asked_at_once() -> None:
    requests = KeyframeRequests()
    asked_at(requests, 40.0, flows=False, may_be_answered=False)
    requests.resumed(40.0)
    assert asked_at(requests, 42.0, start=40.0)[0] == 40.0


def test_what_comes_just_after_a_request_is_its_answer() -> None:
    """A still screen sends nothing until it is asked."""
    requests = KeyframeRequests()
    requests.asked(10.0, may_be_answered=False)
    requests.resumed(10.2)
    assert requests.next_at(10.0, flows=True) == 10.5


def test_a_request_of_long_ago_is_forgotten() -> None:
    requests = KeyframeRequests()
    asked_at(requests, 4.0, may_be_answered=False)
    assert gaps(asked_at(requests, 102.0, start=100.0, may_be_answered=False)) == pytest.approx(
        [0.5, 1.0], abs=0.1
    )
