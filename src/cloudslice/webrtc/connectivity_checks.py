"""The checks that a full agent sends to find paths (RFC 8445, 7.2), until one is selected."""

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from cloudslice.webrtc import stun
from cloudslice.webrtc.candidates import PEER_REFLEXIVE_PRIORITY, Candidate
from cloudslice.webrtc.check_list import CandidatePair, CheckList, PairState
from cloudslice.webrtc.ice_generation import IceGeneration, IceRole
from cloudslice.webrtc.udp.paths import Path, without_local

_TA_S = 0.05
"""Between two new checks (RFC 8445, 14.2)."""
_MIN_RTO_S = 0.5
_MAX_RTO_S = 2.0
"""RFC 8489, 6.2.1, doubles the time between retransmissions without a limit, for servers that many
ask at once. Here one peer is asked, for some seconds, on a network that may lose many."""
_LIFETIME_S = 11.5
"""Seconds without an answer after which a check has failed. With the times above it was sent seven
times, which is Rc of RFC 8489, 6.2.1."""
_NOMINATION_WAIT_S = 0.5
"""A valid path is used at once. It is nominated after this many seconds without a better one."""


class Outcome(Enum):
    """What a message of the peer says of the path it came on."""

    UNPROVEN = auto()
    """Our check on it was not answered yet."""
    VALID = auto()
    NOMINATED = auto()


@dataclass(slots=True)
class _Transaction:
    """A check that was sent."""

    pair: CandidatePair
    path: Path
    request: bytes
    is_controlling: bool
    """Our role in the request."""
    is_nominating: bool
    interval: float
    """Seconds to the next retransmission."""
    next_at: float
    """The monotonic second of it."""
    expires_at: float
    is_cancelled: bool = False
    """It is not retransmitted; an answer still counts (RFC 8445, 7.3.1.4)."""


class ConnectivityChecks:
    """Finds paths in one generation.

    Args:
        generation: signs the checks; `send_due` may be called once it knows the peer.
        role: is switched when the peer says so.
        send: sends a datagram on a path.
        now: monotonic second.
    """

    def __init__(
        self,
        generation: IceGeneration,
        role: IceRole,
        send: Callable[[bytes, Path], None],
        now: float,
    ) -> None:
        self.is_complete = False
        """Whether the peer has named all its candidates."""
        self._generation = generation
        self._role = role
        self._send = send
        self._list = CheckList()
        self._transactions: dict[bytes, _Transaction] = {}
        self._next_check = now
        self._nominate_at = math.inf

    @property
    def is_concluded(self) -> bool:
        """Whether a path is selected."""
        return self._list.is_concluded

    @property
    def paths(self) -> int:
        """How many paths there are to check, or to choose from."""
        return len(self._list)

    def add_candidate(self, candidate: Candidate, path: Path) -> None:
        """Check a path that the peer signalled; none any more when one is selected."""
        if not self.is_concluded:
            self._list.add_candidate(path, candidate.priority, candidate.foundation)

    def on_request(self, path: Path, priority: int, *, is_nominating: bool) -> Outcome:
        """The peer's check came on `path`: check it from our side, too, unless that is done."""
        pair = self._list.learn(path, priority)
        if is_nominating and not self._role.is_controlling:
            pair.is_nominated = True
        if pair.is_valid:
            return self._conclude_if(pair, is_nominated=self._is_nominated_by_peer(pair))
        self._cancel(pair)
        self._list.trigger(pair)
        return Outcome.UNPROVEN

    def on_response(self, response: stun.StunMessage, path: Path, now: float) -> Outcome | None:
        """The peer answered on `path`; None: it answered no check of ours, or it was not the peer.

        RFC 8445, 7.2.5.2.1, fails a pair that is answered from or to another address. Here that is
        passed over, because a stranger on the way can divert an answer.
        """
        transaction = self._transactions.get(response.transaction_id)
        if (
            transaction is None
            or transaction.path not in (path, without_local(path))
            or not self._generation.proves_response(response)
        ):
            return None
        del self._transactions[response.transaction_id]
        pair = self._list.find(path) or transaction.pair
        if response.kind is stun.StunKind.ERROR:
            self._on_error(response.error_code, transaction)
            return Outcome.UNPROVEN
        self._list.succeed(pair)
        self._nominate_at = min(self._nominate_at, now + _NOMINATION_WAIT_S)
        is_nominated_by_us = transaction.is_nominating and self._role.is_controlling
        is_nominated = is_nominated_by_us or self._is_nominated_by_peer(pair)
        return self._conclude_if(pair, is_nominated=is_nominated)

    def nominate(self, path: Path) -> None:
        """Select a valid path in place of the one that fell silent."""
        self._list.nominate(self._list.learn(path, PEER_REFLEXIVE_PRIORITY))

    def forget_nominations(self) -> None:
        """The role was switched: who nominated is not the one who nominates."""
        for pair in self._list:
            pair.is_nominated = False

    def send_due(self, now: float) -> None:
        """Send what is due at monotonic second `now`: retransmissions, and a new check every 50 ms,
        two if they are asked for only every 80 ms."""
        self._retransmit(now)
        best = self._to_nominate()
        if best is not None and now >= self._nomination_due(best):
            self._list.nominate(best)
        while self._next_check <= now and (pair := self._list.take_next()) is not None:
            self._check(pair, now)
            self._next_check = max(self._next_check, now - _TA_S) + _TA_S

    @property
    def next_deadline(self) -> float:
        """The monotonic second at which something is due; infinity: when something comes."""
        next_check = self._next_check if self._list.has_next else math.inf
        repeated = (
            min(each.next_at, each.expires_at)
            for each in self._transactions.values()
            if not each.is_cancelled
        )
        best = self._to_nominate()
        nomination = math.inf if best is None else self._nomination_due(best)
        return min(next_check, nomination, min(repeated, default=math.inf))

    def _on_error(self, code: int | None, transaction: _Transaction) -> None:
        if code == stun.ROLE_CONFLICT:
            if transaction.is_controlling == self._role.is_controlling:
                self._role.switch()
                self.forget_nominations()
            self._list.trigger(transaction.pair)
        elif not transaction.is_cancelled:
            self._list.fail(transaction.pair)

    def _is_nominated_by_peer(self, pair: CandidatePair) -> bool:
        return pair.is_nominated and not self._role.is_controlling

    def _conclude_if(self, pair: CandidatePair, *, is_nominated: bool) -> Outcome:
        if not is_nominated:
            return Outcome.VALID
        pair.is_nominated = False
        if not self.is_concluded:
            self._list.conclude()
            for transaction in self._transactions.values():
                transaction.is_cancelled = True
        return Outcome.NOMINATED

    def _to_nominate(self) -> CandidatePair | None:
        """The pair that we are to nominate, as things are now."""
        if not self._role.is_controlling or self.is_concluded:
            return None
        is_one_under_way = any(pair.is_nominated for pair in self._list)
        return None if is_one_under_way else self._list.best_valid()

    def _nomination_due(self, best: CandidatePair) -> float:
        is_final = self.is_complete and self._list.is_best(best)
        return -math.inf if is_final else self._nominate_at

    def _check(self, pair: CandidatePair, now: float) -> None:
        transaction_id = secrets.token_bytes(12)
        is_controlling = self._role.is_controlling
        is_nominating = is_controlling and pair.is_nominated
        request = self._generation.request(transaction_id, self._role, is_nominating=is_nominating)
        rto = max(_MIN_RTO_S, _TA_S * self._list.unfinished)  # RFC 8445, 14.3
        pair.state = PairState.IN_PROGRESS
        self._transactions[transaction_id] = _Transaction(
            pair,
            pair.path,
            request,
            is_controlling,
            is_nominating,
            interval=rto,
            next_at=now + rto,
            expires_at=now + _LIFETIME_S,
        )
        self._send(request, pair.path)

    def _retransmit(self, now: float) -> None:
        """Repeat what was not answered, and give up what was not answered for too long."""
        for transaction_id, transaction in list(self._transactions.items()):
            if now >= transaction.expires_at:
                del self._transactions[transaction_id]
                if not transaction.is_cancelled:
                    self._list.fail(transaction.pair)
            elif now >= transaction.next_at and not transaction.is_cancelled:
                transaction.interval = max(
                    transaction.interval, min(2 * transaction.interval, _MAX_RTO_S)
                )
                transaction.next_at = now + transaction.interval
                self._send(transaction.request, transaction.path)

    def _cancel(self, pair: CandidatePair) -> None:
        for transaction in self._transactions.values():
            if transaction.pair is pair:
                transaction.is_cancelled = True
