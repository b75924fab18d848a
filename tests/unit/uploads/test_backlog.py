"""Which slice of a task is tried next."""

from cloudslice.slices import WaitingSlice
from cloudslice.uploads.backlog import Backlog, Pending


def names(slices: list[Pending]) -> list[str]:
    return [each.name for each in slices]


def make(*ids: str) -> Backlog:
    return Backlog(WaitingSlice(each, 1) for each in ids)


def take(backlog: Backlog, now: float = 0.0) -> Pending:
    taken = backlog.take(now)
    assert taken is not None
    return taken


def test_the_oldest_is_next() -> None:
    backlog = make("1", "2")
    backlog.add(WaitingSlice("3", 1))
    assert [take(backlog).name for _ in range(3)] == ["1", "2", "3"]
    assert (backlog.take(1e9), backlog.next_at(), len(backlog)) == (None, float("inf"), 0)


def test_a_failed_one_has_its_own_time_and_comes_after_those_that_are_ready() -> None:
    backlog = make("1", "2", "3")
    first, second = take(backlog), take(backlog)
    backlog.postpone(first, 20.0)
    backlog.postpone(second, 10.0)
    assert take(backlog, 30.0).name == "3"
    assert (backlog.next_at(), backlog.take(9.9)) == (10.0, None)
    assert [take(backlog, 20.0) for _ in range(2)] == [second, first]


def test_what_is_put_back_is_next() -> None:
    backlog = make("1", "2", "3")
    backlog.put_back([take(backlog), take(backlog)])
    assert names(backlog.all()) == ["1", "2", "3"]


def test_after_an_outage_all_are_ready_in_the_order_of_their_age() -> None:
    backlog = make("1", "2", "3", "4")
    for due_at in (30.0, 20.0):
        backlog.postpone(take(backlog), due_at)
    backlog.retry_all()
    assert [take(backlog).name for _ in range(4)] == ["1", "2", "3", "4"]


def test_some_can_be_taken_out() -> None:
    backlog = make("1", "2", "3")
    backlog.postpone(take(backlog), 5.0)
    assert names(backlog.remove({"1", "3", "other"})) == ["3", "1"]
    assert names(backlog.all()) == ["2"]
