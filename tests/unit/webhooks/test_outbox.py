"""Webhooks of a former process are taken up."""

from contextlib import closing

import pytest

from cloudslice.webhooks import outbox
from helpers.delivery import APP, open_memory

INSERT = (
    "INSERT INTO events (id, subject, sdk_app_id, event_type, body, created_ms, attempts, first_ms,"
    " first_at, due_at) VALUES (?, 'task', ?, 1004, ?, 5, ?, 1000, 2.5, 7.5)"
)


def test_first_attempts_are_put_on_the_new_time_axis() -> None:
    """By the clock that is steady over restarts; all are due at once."""
    with closing(open_memory()) as connection:
        connection.execute(INSERT, (1, APP, b"body", 1))
        assert outbox.rebase(connection, now_at=100.0, now_ms=4000) == [APP]
        (event,) = outbox.find_retries(connection, APP, 100.0, 10, ())
        assert (event.body, event.due_at, event.first_at) == (b"body", 100.0, 97.0)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("attempts", "many"),
        ("attempts", 1.5),
        ("sdk_app_id", "x"),
        ("body", "text"),
        ("first_ms", "x"),
        ("subject", b"blob"),
    ],
)
@pytest.mark.parametrize("attempts", [0, 1])
def test_a_row_that_cannot_be_read_is_left_out(
    capsys: pytest.CaptureFixture[str], column: str, value: object, attempts: int
) -> None:
    """It is told; the others are taken up."""
    with closing(open_memory()) as connection:
        for number in (1, 2):
            connection.execute(INSERT, (number, APP, b"body", attempts))
        connection.execute(f"UPDATE events SET {column} = ? WHERE id = 1", (value,))  # noqa: S608
        assert outbox.rebase(connection, now_at=100.0, now_ms=4000) == [APP]
        found = outbox.find_new(connection, APP, 0, 10)
        found += outbox.find_retries(connection, APP, 100.0, 10, ())
        assert [event.id for event in found] == [2]
    assert f"its {column} cannot be read" in capsys.readouterr().out
