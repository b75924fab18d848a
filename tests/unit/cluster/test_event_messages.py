"""What the stream of events has is read as it was written."""

import pytest

from cloudslice.cluster.event_messages import Step, StreamEvent
from cloudslice.events import (
    RobotEntered,
    RobotLeft,
    UploadsEnded,
    UploadsOutcome,
    UploadsStarted,
)
from cloudslice.slices import TaskRef
from cloudslice.webhooks.bodies import TaskEvent, build_body, task_notice
from cloudslice.webhooks.outbox import Ending, State
from helpers.webhook_site import TASK

OTHER_TASK = TaskRef("other", TASK.sdk_app_id, 150, "bot")


def make(event: TaskEvent, at_ms: int = 1000, local_id: int = 1) -> StreamEvent:
    notice = task_notice(event)
    body = build_body(notice, event_ms=at_ms, callback_ms=at_ms)
    return StreamEvent(local_id, notice.subject, int(notice.type), at_ms, body)


def test_an_event_is_read_as_it_was_written() -> None:
    """Its body byte for byte, whatever is in it."""
    event = StreamEvent(7, 'room "ü"', 1004, 1000, b'{"a":\n"\xc3\xbc"}\n')
    assert StreamEvent.from_data(event.to_data()) == event


def test_a_step_is_read_as_it_was_written() -> None:
    """But for what is each node's own."""
    ended = [Ending(3, 400, State.GIVEN_UP, 5, "HTTP status 500", 1000, 77)]
    step = Step("claim", 3, 2000, ended, [1, 2])
    read = Step.from_data(step.to_data())
    assert read == Step(
        "claim", 3, 2000, [Ending(3, 400, State.GIVEN_UP, 5, "HTTP status 500", 1000, 0)], [1, 2]
    )


@pytest.mark.parametrize("data", [b"", b"{}", b"[1, 2]", b"7", b"\xff\n", b'{"ended": [[1]]}'])
def test_what_is_neither_is_refused(data: bytes) -> None:
    for kind in (StreamEvent, Step):
        with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
            kind.from_data(data)


@pytest.mark.parametrize(
    "event",
    [
        RobotEntered(TASK, has_failed=False),
        UploadsStarted(TASK, has_failed=False),
        RobotLeft(TASK, 0),
    ],
)
def test_what_is_true_once_has_one_key(event: TaskEvent) -> None:
    """Whenever and by whomever it is recorded; another task's is another one."""
    key = make(event).once_key
    assert key is not None
    assert make(event, at_ms=5000, local_id=9).once_key == key


def test_different_truths_have_different_keys() -> None:
    events: list[TaskEvent] = []
    for task in (TASK, OTHER_TASK):
        for has_failed in (False, True):
            events += [RobotEntered(task, has_failed), UploadsStarted(task, has_failed)]
        events.append(RobotLeft(task, 0))
    assert len({make(event).once_key for event in events}) == len(events)
    assert make(RobotLeft(TASK, 0)).once_key == make(RobotLeft(TASK, 99)).once_key


def test_what_may_be_told_more_than_once_has_no_key() -> None:
    assert make(UploadsEnded(TASK, UploadsOutcome.INCOMPLETE)).once_key is None
