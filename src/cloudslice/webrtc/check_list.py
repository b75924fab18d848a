"""Which candidate pair is checked next (RFC 8445, 6.1), without messages or time.

All pairs have one local candidate, the shared socket, so a pair is known by its path, and the
order of pair priorities (RFC 8445, 6.1.2.3) is that of the remote candidates' priorities, in either
role.
"""

from collections import deque
from collections.abc import Iterator
from enum import Enum, auto

from cloudslice.webrtc.udp.paths import Path, family_of, is_same_remote, without_local

_MAX_PAIRS = 100
"""RFC 8445, 6.1.2.5."""


class PairState(Enum):
    """RFC 8445, 6.1.2.6."""

    FROZEN = auto()
    WAITING = auto()
    IN_PROGRESS = auto()
    SUCCEEDED = auto()
    FAILED = auto()


class CandidatePair:
    """A path that is, or may be, checked."""

    __slots__ = ("foundation", "is_nominated", "is_valid", "path", "priority", "state")

    def __init__(self, path: Path, priority: int, foundation: str) -> None:
        self.path = path
        """Its local address is any, until a check or an answer has come to one."""
        self.priority = priority
        """The remote candidate's."""
        self.foundation = (family_of(path), foundation)
        """RFC 8445, 6.1.2.6: pairs of one foundation are likely to fail together."""
        self.state = PairState.FROZEN
        self.is_valid = False
        """Whether its last finished check was answered (RFC 8445, 7.2.5.3.2)."""
        self.is_nominated = False
        """Whether its next successful check selects it."""


class CheckList:
    """The pairs of one connection, and the queue of triggered checks."""

    def __init__(self) -> None:
        self.is_concluded = False
        """Whether a pair is selected: only triggered checks are done from then on."""
        self._pairs: dict[Path, CandidatePair] = {}
        self._triggered: deque[CandidatePair] = deque()

    def __iter__(self) -> Iterator[CandidatePair]:
        return iter(self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)

    def add_candidate(self, path: Path, priority: int, foundation: str) -> None:
        """Pair a candidate that the peer signalled. One that its checks told before stays, with
        the signalled priority. The hundredth is the last: others are passed over."""
        for pair in self:
            if is_same_remote(pair.path, path):
                pair.priority = priority
                return
        if len(self._pairs) < _MAX_PAIRS:
            self._pairs[path] = CandidatePair(path, priority, foundation)

    def learn(self, path: Path, priority: int) -> CandidatePair:
        """The pair of a path that the peer's check came on; a new one if the peer's address was not
        known (RFC 8445, 7.3.1.3). Then the oldest pair goes if there are too many."""
        pair = self.find(path)
        if pair is None:
            if len(self._pairs) >= _MAX_PAIRS:
                self._remove(next(iter(self)))
            # A foundation of its own, as nothing else is known of it.
            pair = CandidatePair(path, priority, f"peer-reflexive {path.hex()}")
            self._pairs[path] = pair
        return pair

    def find(self, path: Path) -> CandidatePair | None:
        """The pair of a path. One that has been checked from any local address is that of the
        local address which is first heard on."""
        pair = self._pairs.get(path)
        if pair is None:
            pair = self._pairs.pop(without_local(path), None)
            if pair is not None:
                pair.path = path
                self._pairs[path] = pair
        return pair

    def trigger(self, pair: CandidatePair) -> None:
        """Check the pair before all that wait (RFC 8445, 7.3.1.4), if it is in the list still."""
        if self._pairs.get(pair.path) is pair and pair not in self._triggered:
            pair.state = PairState.WAITING
            self._triggered.append(pair)

    def nominate(self, pair: CandidatePair) -> None:
        """Have its next check select it, soon."""
        pair.is_nominated = True
        self.trigger(pair)

    def fail(self, pair: CandidatePair) -> None:
        """A check was refused, or not answered for too long."""
        pair.state = PairState.FAILED
        pair.is_valid = pair.is_nominated = False

    def succeed(self, pair: CandidatePair) -> None:
        """A check was answered: others of the pair's foundation are worth trying (RFC 8445,
        7.2.5.3.3)."""
        pair.state = PairState.SUCCEEDED
        pair.is_valid = True
        for other in self:
            if other.state is PairState.FROZEN and other.foundation == pair.foundation:
                other.state = PairState.WAITING

    def conclude(self) -> None:
        """A pair is selected: what has not been checked never will be (RFC 8445, 8.1.2)."""
        self.is_concluded = True
        self._triggered.clear()
        self._pairs = {path: pair for path, pair in self._pairs.items() if pair.is_valid}

    def take_next(self) -> CandidatePair | None:
        """The pair to check now (RFC 8445, 6.1.4.2); None if there is nothing to do.

        A frozen pair is checked even while another of its foundation is, when nothing else is left:
        some peers name one foundation for all their candidates, and the first may be dead.
        """
        if self._triggered:
            return self._triggered.popleft()
        return self._next_ordinary()

    @property
    def has_next(self) -> bool:
        """Whether `take_next` would have one."""
        return bool(self._triggered) or self._next_ordinary() is not None

    @property
    def unfinished(self) -> int:
        """Pairs whose check goes on, or may follow soon."""
        states = (PairState.WAITING, PairState.IN_PROGRESS)
        return sum(1 for pair in self if pair.state in states)

    def best_valid(self) -> CandidatePair | None:
        """The valid pair with the highest priority."""
        return max((pair for pair in self if pair.is_valid), key=_priority, default=None)

    def is_best(self, pair: CandidatePair) -> bool:
        """Whether no pair of a higher priority may still become valid."""
        return all(
            other.priority <= pair.priority or other.state is PairState.FAILED for other in self
        )

    def _next_ordinary(self) -> CandidatePair | None:
        if self.is_concluded:
            return None
        waiting = [pair for pair in self if pair.state is PairState.WAITING]
        if waiting:
            return max(waiting, key=_priority)
        frozen = [pair for pair in self if pair.state is PairState.FROZEN]
        active = {pair.foundation for pair in self if pair.state is PairState.IN_PROGRESS}
        fresh = [pair for pair in frozen if pair.foundation not in active]
        return max(fresh or frozen, key=_priority, default=None)

    def _remove(self, pair: CandidatePair) -> None:
        del self._pairs[pair.path]
        if pair in self._triggered:
            self._triggered.remove(pair)


def _priority(pair: CandidatePair) -> int:
    return pair.priority
