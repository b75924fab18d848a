"""When a receiver is down, and when it is tried again; times in seconds."""

import pytest

from cloudslice.webhooks.callback_pace import CallbackPace
from cloudslice.webhooks.outage import Outage


@pytest.fixture
def outage() -> Outage:
    return Outage(CallbackPace())


def fail(outage: Outage, at: float, *, is_first: bool = True, is_late: bool = False) -> bool:
    return outage.note_failure(at, at, is_first=is_first, is_late=is_late)


def test_a_minute_of_nothing_but_failures_is_an_outage(outage: Outage) -> None:
    """It begins once, and goes back to the first failure."""
    assert not fail(outage, 100)
    assert not fail(outage, 160, is_first=False)
    assert fail(outage, 160.1, is_first=False)
    assert outage.is_down
    assert outage.failing_since == 100
    assert not fail(outage, 161)


def test_a_success_ends_it(outage: Outage) -> None:
    """A minute counts anew from the next failure."""
    fail(outage, 100)
    outage.note_success(outage.failing_since or 0.0)
    assert not fail(outage, 170)
    outage.note_success(outage.failing_since or 0.0)
    assert outage.failing_since is None
    fail(outage, 200)
    assert fail(outage, 261)
    outage.note_success(outage.failing_since or 0.0)
    assert not outage.is_down


def test_an_event_that_alone_is_refused_is_no_outage(outage: Outage) -> None:
    """Others were taken since it failed first: it may be the event's fault."""
    fail(outage, 100)
    outage.note_success(outage.failing_since or 0.0)
    assert not fail(outage, 200, is_first=False)
    assert not fail(outage, 400, is_first=False)


def test_a_backlog_needs_no_minute(outage: Outage) -> None:
    """Its first minute is long over: it must not be sent through again and again."""
    answers = [fail(outage, 100, is_late=True) for _ in range(16)]
    assert answers == [False] * 15 + [True]


def test_successes_in_between_make_a_backlog_no_outage(outage: Outage) -> None:
    for _ in range(3):
        assert not any(fail(outage, 100, is_late=True) for _ in range(15))
        outage.note_success(outage.failing_since or 0.0)


def test_without_retention_there_is_none() -> None:
    outage = Outage(CallbackPace(retention_s=0))
    fail(outage, 100)
    assert not fail(outage, 200)


@pytest.mark.parametrize(
    ("failed_at", "probe_at"),
    [
        pytest.param(160.1, 190.15, id="30 s at first"),
        pytest.param(200, 250, id="half of the time that it has lasted"),
        pytest.param(1300, 1900, id="10 min at most"),
        pytest.param(50_000, 50_600, id="no more than that"),
    ],
)
def test_it_is_tried_ever_more_rarely(outage: Outage, failed_at: float, probe_at: float) -> None:
    fail(outage, 100)
    fail(outage, failed_at)
    assert outage.next_probe_at == pytest.approx(probe_at, abs=0.1)


def test_something_new_has_it_tried_soon(outage: Outage) -> None:
    """10 s after the last failure; also if it happens while it is being tried."""
    fail(outage, 100)
    fail(outage, 1300)
    outage.prompt()
    assert outage.next_probe_at == 1310
    outage.begin_probe()
    outage.prompt()
    fail(outage, 1312)
    assert outage.next_probe_at == 1322
    outage.begin_probe()
    fail(outage, 1322)
    assert outage.next_probe_at == 1922


def test_a_success_that_began_before_the_failures_says_nothing(outage: Outage) -> None:
    """The receiver has gone down while it was answered."""
    fail(outage, 100)
    outage.note_success(99)
    assert fail(outage, 161)
    outage.note_success(99.9)
    assert outage.is_down
    outage.note_success(190)
    assert not outage.is_down
