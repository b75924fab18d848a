"""When webhooks are tried again, as tables."""

import pytest

from cloudslice.webhooks.callback_pace import CallbackPace


@pytest.mark.parametrize(
    ("failures", "failed_at", "expected"),
    [
        pytest.param(1, 100, 100, id="at once after the first failure"),
        pytest.param(1, 105, 105, id="at once after the first timeout"),
        pytest.param(2, 105, 115, id="10 s after the second"),
        pytest.param(5, 140, 150, id="10 s after the fifth"),
        pytest.param(6, 150, 160, id="the last in the first minute starts at T + 60 s"),
        pytest.param(6, 150.5, 180.5, id="none starts after T + 60 s: 30 s instead"),
        pytest.param(8, 200, 250, id="then half of the age"),
        pytest.param(9, 100 + 1200, 100 + 1800, id="up to 10 min"),
        pytest.param(50, 100 + 40_000, 100 + 40_600, id="no more than 10 min"),
        pytest.param(160, 100 + 86_390, None, id="given up at the retention"),
    ],
)
def test_callback_attempts(failures: int, failed_at: float, expected: float | None) -> None:
    """The first attempt of all started at second 100."""
    assert CallbackPace().next_attempt_at(100, failures, failed_at, 100) == expected


@pytest.mark.parametrize(
    ("failed_at", "expected"),
    [pytest.param(150, 160, id="in the minute"), pytest.param(155, None, id="after it")],
)
def test_without_retention_the_contracts_minute_is_all(
    failed_at: float, expected: float | None
) -> None:
    pace = CallbackPace(retention_s=0)
    assert pace.next_attempt_at(100, 3, failed_at, 100) == expected


def test_a_receiver_that_never_answers_sees_the_contracts_attempts() -> None:
    """With timeouts of 5 s: T, T+5, then every 15 s, none after T+60."""
    pace, first_at = CallbackPace(retention_s=0), 0.0
    starts, next_at = [0.0], 0.0
    while True:
        failed_at = starts[-1] + 5
        next_at = pace.next_attempt_at(first_at, len(starts), failed_at, first_at)
        if next_at is None:
            break
        starts.append(next_at)
    assert starts == [0, 5, 20, 35, 50]


def test_retention_counts_from_the_event() -> None:
    """However late its attempts began; they are granted their first minute."""
    pace = CallbackPace(retention_s=3600)
    assert pace.next_attempt_at(5000, 2, 5030, 100) == 5040
    assert pace.next_attempt_at(5000, 6, 5060, 100) is None


def test_without_retention_no_outage_is_waited_for() -> None:
    assert CallbackPace().waits_for_receivers
    assert not CallbackPace(retention_s=0).waits_for_receivers
