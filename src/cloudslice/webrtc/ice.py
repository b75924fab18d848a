"""ICE (RFC 8445) for one peer connection over one UDP socket, without I/O or a clock.

A full agent checks the peer's candidates and watches over its consent to receive (RFC 7675). A lite
agent, of a server that anybody can reach, only answers the peer's checks, and takes those and the
media for signs of life. How the path is chosen is said in `path_choice`.

What does not prove by its signature that it comes from the peer is not answered and changes
nothing.
"""

import math
from collections.abc import Callable
from enum import Enum

from cloudslice.webrtc import stun
from cloudslice.webrtc.candidates import (
    PEER_REFLEXIVE_PRIORITY,
    Candidate,
    IceCredentials,
    candidate_path,
)
from cloudslice.webrtc.connectivity_checks import ConnectivityChecks, Outcome
from cloudslice.webrtc.consent import Consent
from cloudslice.webrtc.ice_generation import IceGeneration, IceRole
from cloudslice.webrtc.path_choice import PathChoice
from cloudslice.webrtc.udp.paths import Path, is_same_remote

_CHECK_TIMEOUT_S = 20.0
"""Seconds after the peer's credentials are known by which a path must be found."""
_MAX_EARLY = 16
"""Checks that are remembered until the peer's credentials are known."""


class IceError(Exception):
    """Two sides that cannot be connected by ICE; the text says why."""


class IceState(Enum):
    """What became of the credentials of now. During a restart there may be a path in all states but
    FAILED."""

    NEW = "new"
    """The peer's credentials are not known."""
    CHECKING = "checking"
    CONNECTED = "connected"
    """Checks have proved a path."""
    FAILED = "failed"
    """Until a restart nothing is sent and nothing is answered any more."""


class IceAgent:
    """Finds and keeps the path to one peer.

    Args:
        is_lite: answer checks only.
        is_controlling: our role at first; a lite agent is controlled, and its peer is controlling.
        send: sends a datagram on a path.
        now: monotonic second.
        consent_timeout_s: a peer that gives no sign of life for so long is lost.
    """

    def __init__(
        self,
        *,
        is_lite: bool,
        is_controlling: bool,
        send: Callable[[bytes, Path], None],
        now: float,
        consent_timeout_s: float = 30.0,
    ) -> None:
        self.state = IceState.NEW
        self.failure = ""
        """Why the state is FAILED."""
        self.is_lite = is_lite
        self._role = IceRole(is_controlling=is_controlling and not is_lite)
        self._send = send
        self._consent_timeout_s = consent_timeout_s
        self._choice = PathChoice()
        self._consent = Consent(consent_timeout_s)
        self._check_deadline = math.inf
        self._heard_at = now
        self._early: list[tuple[stun.StunMessage, Path]] = []
        self._begin(now)
        self._path_generation = self._generation
        """That of the path in use, whose requests are answered during a restart."""

    @property
    def local(self) -> IceCredentials:
        """Our credentials."""
        return self._generation.local

    @property
    def remote(self) -> IceCredentials | None:
        """The peer's credentials, once they are known."""
        return self._generation.remote

    @property
    def ufrags(self) -> frozenset[str]:
        """Whose requests are answered: ours, and during a restart our former one."""
        return frozenset((self._generation.local.ufrag, self._path_generation.local.ufrag))

    @property
    def path(self) -> Path | None:
        """Where to send; None: nowhere, for now."""
        return self._choice.path

    @property
    def is_controlling(self) -> bool:
        """Whether we nominate; it may change while the agents find that both do, or none."""
        return self._role.is_controlling

    @property
    def is_concluded(self) -> bool:
        """Of a full agent: whether a path is nominated, so that no better one is looked for."""
        return self._checks.is_concluded

    @property
    def next_deadline(self) -> float:
        """The monotonic second at which `send_due` has something to do; infinity: when something
        has come."""
        if self.state is IceState.FAILED:
            return math.inf
        deadline = self._check_deadline
        if self.is_lite:
            return min(deadline, self._silence_deadline())
        if self._generation.remote is not None:
            deadline = min(deadline, self._checks.next_deadline)
        return min(deadline, self._consent.next_deadline)

    def set_remote(self, credentials: IceCredentials, *, is_lite: bool, now: float) -> None:
        """Begin to connect with the peer; nothing if these are its credentials already.

        Raises:
            IceError: both are lite, so that none would check.
            RuntimeError: other credentials without a restart.
        """
        if self.is_lite and is_lite:
            raise IceError("both sides are ICE lite")
        if self._generation.remote is not None:
            if credentials != self._generation.remote:
                raise RuntimeError("new credentials need an ICE restart")
            return
        if is_lite and not self._role.is_controlling:
            self._role.switch()  # RFC 8445, 6.1.1
        self._generation.set_remote(credentials)
        self.state = IceState.CHECKING
        self._check_deadline = now + _CHECK_TIMEOUT_S
        early, self._early = self._early, []
        for request, path in early:
            if self._generation.is_addressed(request):
                self._use_request(request, path, now)

    def add_candidate(self, candidate: Candidate) -> None:
        """Take a candidate of the peer, of the credentials of now, as it comes (RFC 8838). One that
        cannot be sent to is passed over."""
        path = candidate_path(candidate)
        if path is not None and not self.is_lite:
            self._checks.add_candidate(candidate, path)

    def end_of_candidates(self) -> None:
        """The peer has named all."""
        self._checks.is_complete = True

    def restart(self, now: float) -> None:
        """Begin anew with new credentials (RFC 8445, 9). The path in use stays, and the peer's
        requests with the former credentials are answered, until another one is selected."""
        self.state = IceState.NEW
        self.failure = ""
        self._choice.restart()
        self._begin(now)
        if self.path is None:
            self._path_generation = self._generation

    def receive(self, datagram: bytes, path: Path, now: float) -> bool:
        """Take in a STUN datagram that came on `path`; whether it was the peer's. Never raises."""
        try:
            message = stun.parse(datagram)
        except stun.StunError:
            return False
        if self.state is IceState.FAILED:
            return False
        if message.kind is stun.StunKind.REQUEST:
            return self._receive_request(message, path, now)
        return not self.is_lite and self._receive_response(message, path, now)

    def heard(self, path: Path, now: float) -> None:
        """Authentic media, or RTCP, came on `path`."""
        if self.state is IceState.FAILED:
            return
        self._heard_at = now
        if self._role.is_controlling:
            self._choice.confirmed(path, now)
            return
        self._choice.heard(path, now)
        if not self.is_lite:
            self._consent.follow(path, self._path_generation, now)

    def refused(self, path: Path, now: float) -> None:
        """The network says that nobody listens at the other end of `path` (ICMP). Anybody may say
        so: a full agent asks the peer at once, and gives up after a second without an answer."""
        if self.path is not None and is_same_remote(path, self.path):
            self._consent.refused(now)

    def send_due(self, now: float) -> None:
        """Send what is due at monotonic second `now`, and give up what has failed."""
        if self.state is IceState.FAILED:
            return
        if not self.is_lite:
            if self._generation.remote is not None:
                self._checks.send_due(now)
            request = self._consent.request_due(self._role, now)
            if request is not None and self.path is not None:
                self._send(request, self.path)
        self._give_up_due(now)

    def _begin(self, now: float) -> None:
        self._generation = IceGeneration()
        self._checks = ConnectivityChecks(self._generation, self._role, self._send, now)
        self._check_deadline = math.inf
        self._early = []

    def _receive_request(self, request: stun.StunMessage, path: Path, now: float) -> bool:
        if self._generation.proves_request(request):
            if self._is_role_conflict(request):
                self._send(self._generation.role_conflict(request), path)
                return True
            self._send(self._generation.response(request, path), path)
            self._heard_at = now
            if self._generation.remote is not None:
                self._use_request(request, path, now)
            elif len(self._early) < _MAX_EARLY:
                self._early.append((request, path))
            return True
        if self._path_generation.proves_request(request):
            self._send(self._path_generation.response(request, path), path)
            self._heard_at = now
            self._choice.confirmed(path, now)
            return True
        return False

    def _is_role_conflict(self, request: stun.StunMessage) -> bool:
        """Whether the peer must switch roles; we do if we must (RFC 8445, 7.3.1.1)."""
        if request.is_controlling is not self._role.is_controlling:
            return False
        if self.is_lite:
            return True
        is_ours_larger = self._role.tie_breaker >= request.tie_breaker
        if is_ours_larger is self._role.is_controlling:
            return True
        self._role.switch()
        self._checks.forget_nominations()
        return False

    def _use_request(self, request: stun.StunMessage, path: Path, now: float) -> None:
        """Learn from a valid check of the credentials of now."""
        if self.is_lite:
            outcome = Outcome.NOMINATED if request.is_nominating else Outcome.VALID
        else:
            self._choice.confirmed(path, now)
            priority = request.priority or PEER_REFLEXIVE_PRIORITY
            outcome = self._checks.on_request(path, priority, is_nominating=request.is_nominating)
        self._use(outcome, path, now)

    def _receive_response(self, response: stun.StunMessage, path: Path, now: float) -> bool:
        if self._consent.receive(response, path, now):
            self._choice.confirmed(path, now)
            return True
        outcome = self._checks.on_response(response, path, now)
        if outcome is None:
            return False
        self._use(outcome, path, now)
        if outcome is not Outcome.UNPROVEN and path == self.path:
            self._consent.answered(now)
        return True

    def _use(self, outcome: Outcome, path: Path, now: float) -> None:
        """Choose the path anew, by what is known of this one now."""
        if outcome is Outcome.UNPROVEN:
            return
        former = self._choice.path
        if outcome is Outcome.NOMINATED:
            self._choice.nominated(path, now)
        else:
            self._choice.checked(path, now)
        self.state = IceState.CONNECTED
        self._check_deadline = math.inf
        if path != self._choice.path:
            return
        self._path_generation = self._generation
        if not self.is_lite:
            self._consent.follow(path, self._generation, now)
            is_moved = path != former and outcome is Outcome.VALID
            if is_moved and self._role.is_controlling and self._checks.is_concluded:
                self._checks.nominate(path)

    def _silence_deadline(self) -> float:
        """When a peer that only a lite agent knows is lost."""
        return math.inf if self.path is None else self._heard_at + self._consent_timeout_s

    def _give_up_due(self, now: float) -> None:
        if now >= self._check_deadline:
            self._fail(self._check_failure())
            return
        loss = self._consent.loss(now)
        if now >= self._silence_deadline() and self.is_lite:
            loss = f"nothing was heard of the peer for {self._consent_timeout_s:g} s"
        if not loss:
            return
        self._choice.clear()
        self._consent.clear()
        if self.state is IceState.CONNECTED:
            self._fail(loss)

    def _check_failure(self) -> str:
        within = f"within {_CHECK_TIMEOUT_S:g} s"
        if self.is_lite:
            return f"no connectivity check of the peer came {within}"
        if not self._checks.paths:
            return f"the peer named no address that can be used, and sent no check {within}"
        return f"no connectivity check was answered {within}, of {self._checks.paths} paths"

    def _fail(self, reason: str) -> None:
        self.state = IceState.FAILED
        self.failure = reason
        self._choice.clear()
        self._consent.clear()
