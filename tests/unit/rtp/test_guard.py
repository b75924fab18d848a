"""Callbacks that fail are counted, and logged once."""

import pytest

from cloudslice.rtp.guard import Guard


def test_only_the_first_error_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """With its traceback; what fails for one packet is likely to fail for each."""
    guard = Guard("sink")
    for number in range(3):
        try:
            int(f"error {number}")
        except ValueError as error:
            guard.caught(error)
    assert guard.errors == 3
    logged = capsys.readouterr().out
    assert "error 0" in logged
    assert "Traceback" in logged
    assert "error 1" not in logged
