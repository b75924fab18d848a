"""Exceptions that nobody foresaw are all counted, and logged at a bounded rate."""

from collections.abc import Callable

import pytest

from cloudslice.faults import Faults
from helpers.slice_store import ManualClock


def raise_value(number: int) -> None:
    raise ValueError(f"value {number}")


def raise_elsewhere(number: int) -> None:
    raise ValueError(f"elsewhere {number}")


def raise_key(number: int) -> None:
    raise KeyError(f"key {number}")


class Part:
    """Something that fails, with a clock moved by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.faults = Faults("sink", clock=self.clock.monotonic)

    def fail(self, call: Callable[[int], None], number: int = 0, **fields: object) -> None:
        try:
            call(number)
        except Exception as error:
            self.faults.caught(error, **fields)


def test_the_first_of_a_kind_is_logged_with_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What fails for one packet is likely to fail for each: one line, and all are counted."""
    part = Part()
    for number in range(3):
        part.fail(raise_value, number, task_id="task-1")
    assert part.faults.errors == 3
    logged = capsys.readouterr().out
    assert "value 0" in logged
    assert "Traceback" in logged
    assert "task-1" in logged
    assert "value 1" not in logged


@pytest.mark.parametrize(
    ("second", "text"),
    [
        pytest.param(raise_key, "key 0", id="another type"),
        pytest.param(raise_elsewhere, "elsewhere 0", id="another place"),
    ],
)
def test_another_kind_is_not_hidden_behind_the_first(
    capsys: pytest.CaptureFixture[str], second: Callable[[int], None], text: str
) -> None:
    part = Part()
    part.fail(raise_value)
    part.fail(second)
    assert text in capsys.readouterr().out


def test_a_kind_that_goes_on_is_logged_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    """With how many there were since the last line."""
    part = Part()
    for second in range(0, 121, 10):
        part.clock.now = second
        part.fail(raise_value, second)
    logged = capsys.readouterr().out
    assert logged.count("unforeseen error") == 3
    assert "value 60" in logged
    assert "value 120" in logged
    assert "times=6" in logged


def test_any_number_of_kinds_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither memory nor the log grows with them."""
    part = Part()
    for number in range(1000):
        part.faults.caught(type(f"Error{number}", (Exception,), {})("made up"))
    assert part.faults.errors == 1000
    assert capsys.readouterr().out.count("unforeseen error") == 17


def test_an_error_that_was_never_raised_is_logged_too(capsys: pytest.CaptureFixture[str]) -> None:
    """It has no traceback: an exception that a future holds."""
    Part().faults.caught(ValueError("not raised"))
    assert "not raised" in capsys.readouterr().out
