"""The order in which candidate pairs are checked."""

from hypothesis import given
from hypothesis import strategies as st

from cloudslice.webrtc.candidates import candidate_priority
from cloudslice.webrtc.check_list import CandidatePair, CheckList, PairState
from cloudslice.webrtc.udp.paths import Path, make_path


def path(port: int, local: str = "") -> Path:
    return make_path("192.0.2.1", port, local)


def taken(checks: CheckList) -> list[int]:
    """The ports of all that are checked, one after another."""
    order = []
    while (pair := checks.take_next()) is not None:
        pair.state = PairState.IN_PROGRESS
        order.append(int.from_bytes(pair.path[2:4]))
    return order


def added(*candidates: tuple[int, int, str]) -> CheckList:
    checks = CheckList()
    for port, priority, foundation in candidates:
        checks.add_candidate(path(port), priority, foundation)
    return checks


def pair_of(checks: CheckList, port: int) -> CandidatePair:
    pair = checks.find(path(port))
    assert pair is not None
    return pair


def test_one_of_each_foundation_comes_first() -> None:
    """RFC 8445, 6.1.4.2; then the others, by priority."""
    checks = added((1, 30, "a"), (2, 20, "a"), (3, 10, "b"), (4, 25, "a"))
    assert taken(checks) == [1, 3, 4, 2]
    assert not checks.has_next


def test_one_foundation_in_both_families_counts_twice() -> None:
    checks = added((1, 30, "a"), (2, 20, "a"))
    checks.add_candidate(make_path("::1", 3), 10, "a")
    assert taken(checks) == [1, 3, 2]


def test_a_success_thaws_its_foundation() -> None:
    """RFC 8445, 7.2.5.3.3: its others come before a fresh foundation's."""
    checks = added((1, 30, "a"), (2, 5, "a"), (3, 20, "b"))
    first = checks.take_next()
    assert first is not None
    checks.succeed(first)
    assert checks.unfinished == 1
    assert taken(checks) == [2, 3]


def test_triggered_checks_come_first_and_once() -> None:
    checks = added((1, 30, "a"), (2, 20, "b"), (3, 10, "c"))
    for port in (3, 2, 3):
        checks.trigger(pair_of(checks, port))
    assert taken(checks) == [3, 2, 1]


def test_a_pair_that_is_gone_is_not_triggered() -> None:
    checks = added((1, 30, "a"))
    gone = pair_of(checks, 1)
    checks.conclude()
    checks.trigger(gone)
    assert not checks.has_next


def test_after_the_selection_only_triggered_checks_are_done() -> None:
    """What is valid stays, to fall back upon."""
    checks = added((1, 30, "a"), (2, 20, "b"), (3, 10, "c"))
    checks.succeed(pair_of(checks, 2))
    checks.trigger(pair_of(checks, 3))
    checks.conclude()
    assert [pair.path for pair in checks] == [path(2)]
    assert checks.take_next() is None
    checks.trigger(checks.learn(path(4), 1))
    assert taken(checks) == [4]


def test_a_pair_takes_the_local_address_that_it_is_heard_on() -> None:
    checks = added((1, 30, "a"))
    pair = pair_of(checks, 1)
    assert checks.learn(path(1, "192.0.2.2"), 5) is pair
    assert pair.path == path(1, "192.0.2.2")
    assert pair.priority == 30
    assert checks.find(path(1)) is None
    assert checks.learn(path(1, "192.0.2.3"), 5) is not pair


def test_a_signalled_candidate_that_was_learned_before_is_one_pair() -> None:
    """It keeps what has become of it, with the priority that the peer gave it."""
    checks = CheckList()
    pair = checks.learn(path(1, "192.0.2.2"), 5)
    checks.add_candidate(path(1), 30, "a")
    assert list(checks) == [pair]
    assert pair.priority == 30


def test_pairs_are_bounded() -> None:
    """No more than a hundred are signalled; of those that are learned the newest stay."""
    checks = added(*((port, 1, str(port)) for port in range(1, 150)))
    assert len(checks) == 100
    checks.trigger(pair_of(checks, 1))
    checks.learn(path(200), 2)
    checks.learn(path(201), 2)
    assert len(checks) == 100
    assert checks.find(path(1)) is None
    assert checks.find(path(2)) is None
    order = taken(checks)
    assert order[:2] == [200, 201]
    assert 1 not in order


def test_the_best_valid_pair() -> None:
    checks = added((1, 30, "a"), (2, 20, "b"), (3, 10, "c"))
    assert checks.best_valid() is None
    for port in (3, 2):
        checks.succeed(pair_of(checks, port))
    best = checks.best_valid()
    assert best is pair_of(checks, 2)
    assert not checks.is_best(best)
    checks.fail(pair_of(checks, 1))
    assert checks.is_best(best)
    checks.fail(best)
    assert checks.best_valid() is pair_of(checks, 3)


PRIORITIES = st.integers(1, 2**31 - 1)


@given(ours=PRIORITIES, first=PRIORITIES, second=PRIORITIES)
def test_remote_priorities_order_pairs_as_pair_priorities_do(
    ours: int, first: int, second: int
) -> None:
    """RFC 8445, 6.1.2.3, of pairs with one local candidate, in either role."""
    for is_controlling in (True, False):

        def pair_priority(theirs: int, is_controlling: bool = is_controlling) -> int:
            g, d = (ours, theirs) if is_controlling else (theirs, ours)
            return 2**32 * min(g, d) + 2 * max(g, d) + (1 if g > d else 0)

        if first != second:
            larger = max(first, second)
            assert pair_priority(larger) == max(pair_priority(first), pair_priority(second))
    assert candidate_priority(126) < 2**31
