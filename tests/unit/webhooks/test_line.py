"""In which order events in line are started."""

from cloudslice.webhooks.line import Line
from cloudslice.webhooks.outbox import OutboxEvent

TASK, OTHER = "task", "other"


def event(event_id: int, subject: str = TASK, *, queued_at: float = 0.0) -> OutboxEvent:
    return OutboxEvent(event_id, subject, 1004, b"", 0, 0, queued_at)


def make(*events: OutboxEvent, late: bool = False) -> Line:
    line = Line(lambda _event: late)
    line.extend(events)
    return line


def ids(events: list[OutboxEvent]) -> list[int]:
    return [each.id for each in events]


def test_the_next_of_a_subject_waits_for_the_answer() -> None:
    first, second, third = event(1), event(2), event(3)
    line = make(first, second, third)
    assert ids(line.start(0.0, 10)) == [1]
    assert ids(line.start(0.5, 10)) == []
    line.finish(first)
    assert ids(line.start(0.5, 10)) == [2]
    assert len(line) == 1


def test_subjects_do_not_wait_for_each_other() -> None:
    line = make(event(1), event(2), event(3, OTHER), event(4, OTHER))
    assert ids(line.start(0.0, 10)) == [1, 3]


def test_a_subject_waits_for_a_second_at_most() -> None:
    """Then they start in order, a little apart: side by side one could overtake the other."""
    line = make(event(1), event(2), event(3), event(4, queued_at=0.9))
    line.start(0.0, 10)
    assert line.next_start_at() == 1.0
    assert ids(line.start(0.99, 10)) == []
    assert ids(line.start(1.0, 10)) == [2]
    assert ids(line.start(1.04, 10)) == []
    assert ids(line.start(1.05, 10)) == [3]
    assert ids(line.start(1.8, 10)) == []
    assert ids(line.start(1.9, 10)) == [4]


def test_what_comes_late_anyway_waits_a_second_for_each() -> None:
    """So a receiver that answers within a second gets all of them in order."""
    line = make(event(1), event(2), event(3), late=True)
    assert ids(line.start(50.0, 10)) == [1]
    assert ids(line.start(50.9, 10)) == []
    assert ids(line.start(51.0, 10)) == [2]
    assert line.next_start_at() == 52.0


def test_what_is_held_back_for_want_of_room_keeps_its_place() -> None:
    """Nothing of its subject starts before it."""
    line = make(event(1, OTHER), event(2), event(3))
    assert ids(line.start(0.0, 1)) == [1]
    assert ids(line.start(0.0, 0)) == []
    assert ids(line.start(0.0, 1)) == [2]


def test_what_was_started_is_not_forgotten() -> None:
    """Those that come after the line was cleared still wait for it."""
    first = event(1)
    line = make(first, event(2))
    line.start(0.0, 10)
    line.clear()
    assert len(line) == 0
    assert line.next_start_at() is None
    line.extend([event(3)])
    assert ids(line.start(0.5, 10)) == []
    line.finish(first)
    assert ids(line.start(0.5, 10)) == [3]


def test_the_next_start_is_that_of_the_first_of_a_subject() -> None:
    """Those behind it do not start before it, whatever they may wait for themselves."""
    line = Line(lambda each: each.id == 2)
    line.extend([event(1), event(2), event(3)])
    line.start(40.0, 10)
    assert line.next_start_at() == 41.0
    assert ids(line.start(40.5, 10)) == []
