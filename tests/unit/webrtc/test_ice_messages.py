"""What an agent makes of single messages: of its peer, of others, and of garbage."""

import math

import pytest
from aioice import stun as peer_stun
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.webrtc import stun
from cloudslice.webrtc.candidates import IceCredentials
from cloudslice.webrtc.ice import IceAgent, IceState
from cloudslice.webrtc.udp.paths import Path, make_path

PEER = IceCredentials("peer", "p" * 24)
PATH, OTHER = make_path("203.0.113.7", 5000), make_path("203.0.113.8", 5000)


class Stage:
    """A connected agent, and what it sends."""

    def __init__(self, *, is_lite: bool = False, is_controlling: bool = False) -> None:
        self.sent: list[tuple[stun.StunMessage, Path]] = []
        self.agent = IceAgent(
            is_lite=is_lite, is_controlling=is_controlling, send=self._send, now=0
        )
        self.agent.set_remote(PEER, is_lite=False, now=0)

    def _send(self, datagram: bytes, path: Path) -> None:
        self.sent.append((stun.parse(datagram), path))

    def connect(self) -> None:
        self.agent.receive(self.check(is_controlling=not self.agent.is_controlling), PATH, 0)
        self.answer_all(0)
        self.agent.send_due(0.1)
        self.answer_all(0.1)
        assert self.agent.state is IceState.CONNECTED

    def check(
        self,
        *,
        ufrag: str = PEER.ufrag,
        key: str | None = None,
        is_controlling: bool = True,
        is_nominating: bool = False,
        tie_breaker: int = 0,
    ) -> bytes:
        local = self.agent.local
        return stun.build_request(
            b"peer's check",
            username=f"{local.ufrag}:{ufrag}".encode(),
            key=(local.password if key is None else key).encode(),
            priority=1,
            is_controlling=is_controlling,
            tie_breaker=tie_breaker,
            is_nominating=is_nominating,
        )

    def answer_all(self, now: float) -> None:
        """As the peer does, to what was asked."""
        for request, path in self.requests():
            response = stun.build_response(request.transaction_id, path, PEER.password.encode())
            self.agent.receive(response, path, now)

    def requests(self) -> list[tuple[stun.StunMessage, Path]]:
        """What was asked since the last call."""
        asked = [each for each in self.sent if each[0].kind is stun.StunKind.REQUEST]
        self.sent.clear()
        return asked

    def snapshot(self) -> tuple[object, ...]:
        """All that can be seen of it."""
        agent = self.agent
        return (
            agent.state,
            agent.path,
            agent.is_controlling,
            agent.is_concluded,
            agent.next_deadline,
            agent.ufrags,
            len(self.sent),
        )


def kinds() -> list[Stage]:
    """Lite and full, connected and not."""
    every = []
    for is_lite in (True, False):
        for is_connected in (False, True):
            tested = Stage(is_lite=is_lite)
            if is_connected:
                tested.connect()
            every.append(tested)
    return every


def without_fingerprint(message: bytes) -> bytes:
    """The same message, signed as well."""
    return message[:2] + (len(message) - 8 - 20).to_bytes(2) + message[4:-8]


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_garbage_changes_nothing(datagram: bytes) -> None:
    """And raises nothing."""
    for tested in kinds():
        before = tested.snapshot()
        assert not tested.agent.receive(datagram, PATH, 1)
        assert tested.snapshot() == before


@settings(deadline=None)
@given(position=st.integers(0, 2000), change=st.integers(1, 255), is_nominating=st.booleans())
def test_a_message_with_any_byte_changed_changes_nothing(
    position: int, change: int, is_nominating: bool
) -> None:
    """Requests, responses to what was asked, errors. They have no FINGERPRINT, which anybody can
    make right."""
    for tested in kinds():
        key = PEER.password.encode()
        messages = [tested.check(is_nominating=is_nominating)]
        if not tested.agent.is_lite:
            tested.agent.receive(tested.check(), OTHER, 1)
            tested.agent.send_due(1)
            for request, path in tested.requests():
                messages.append(stun.build_response(request.transaction_id, path, key))
                messages.append(stun.build_error(request.transaction_id, 487, "Role", key))
        before = tested.snapshot()
        for message in messages:
            changed = bytearray(without_fingerprint(message))
            changed[position % len(changed)] ^= change
            assert not tested.agent.receive(bytes(changed), OTHER, 1)
            assert tested.snapshot() == before


@pytest.mark.parametrize("is_lite", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"key": "another password"}, id="wrong password"),
        pytest.param({"ufrag": "others"}, id="another peer"),
        pytest.param({"ufrag": ""}, id="no peer"),
    ],
)
def test_a_check_of_somebody_else_is_not_answered(is_lite: bool, changes: dict[str, str]) -> None:
    tested = Stage(is_lite=is_lite)
    before = tested.snapshot()
    assert not tested.agent.receive(tested.check(**changes), PATH, 1)
    assert tested.snapshot() == before


def test_a_check_is_answered_at_once_with_its_source() -> None:
    tested = Stage(is_lite=True)
    assert tested.agent.receive(tested.check(), PATH, 1)
    [(response, path)] = tested.sent
    assert path == PATH
    assert response.kind is stun.StunKind.RESPONSE
    assert response.transaction_id == b"peer's check"
    told = peer_stun.parse_message(response._datagram).attributes["XOR-MAPPED-ADDRESS"]
    assert told == ("203.0.113.7", 5000)
    assert response.is_signed_with(tested.agent.local.password.encode())


def test_a_lite_agent_takes_no_answers() -> None:
    """It asked nothing."""
    tested = Stage(is_lite=True)
    answer = stun.build_response(bytes(12), PATH, PEER.password.encode())
    assert not tested.agent.receive(answer, PATH, 1)


@pytest.mark.parametrize(
    ("is_controlling", "tie_breaker", "is_refused"),
    [(True, 0, True), (True, 2**64 - 1, False), (False, 0, False), (False, 2**64 - 1, True)],
)
def test_a_role_conflict_is_decided_by_the_tie_breakers(
    is_controlling: bool, tie_breaker: int, is_refused: bool
) -> None:
    """RFC 8445, 7.3.1.1: 487 for the one that must switch, or we do."""
    tested = Stage(is_controlling=is_controlling)
    request = tested.check(is_controlling=is_controlling, tie_breaker=tie_breaker)
    assert tested.agent.receive(request, PATH, 1)
    [(answer, _)] = tested.sent
    assert answer.error_code == (stun.ROLE_CONFLICT if is_refused else None)
    assert answer.is_signed_with(tested.agent.local.password.encode())
    assert tested.agent.is_controlling is (is_controlling is is_refused)


def asked(tested: Stage) -> tuple[stun.StunMessage, Path]:
    """The check that follows the peer's own."""
    tested.agent.receive(tested.check(is_controlling=not tested.agent.is_controlling), PATH, 0)
    tested.agent.send_due(0)
    [request] = tested.requests()
    return request


@pytest.mark.parametrize("is_controlling", [True, False])
def test_487_switches_the_role_once(is_controlling: bool) -> None:
    """RFC 8445, 7.2.5.1: a new check in the new role, with a new tie-breaker."""
    tested = Stage(is_controlling=is_controlling)
    request, path = asked(tested)
    refusal = stun.build_error(request.transaction_id, 487, "", PEER.password.encode())
    assert tested.agent.receive(refusal, path, 0.1)
    assert tested.agent.is_controlling is not is_controlling
    assert not tested.agent.receive(refusal, path, 0.1)
    tested.agent.send_due(0.1)
    [(again, _)] = tested.requests()
    assert again.is_controlling is not is_controlling
    assert again.tie_breaker != request.tie_breaker


def test_a_487_to_a_role_that_was_given_up_only_repeats_the_check() -> None:
    tested = Stage(is_controlling=True)
    request, path = asked(tested)
    tested.agent.receive(tested.check(is_controlling=True, tie_breaker=2**64 - 1), PATH, 0)
    assert not tested.agent.is_controlling
    refusal = stun.build_error(request.transaction_id, 487, "", PEER.password.encode())
    tested.agent.receive(refusal, path, 0.1)
    assert not tested.agent.is_controlling
    tested.agent.send_due(0.1)
    assert len(tested.requests()) == 1


def test_another_error_fails_the_pair() -> None:
    """RFC 8445, 7.2.5.2.4; the peer's next check tries it again."""
    tested = Stage()
    request, path = asked(tested)
    refusal = stun.build_error(request.transaction_id, 500, "", PEER.password.encode())
    assert tested.agent.receive(refusal, path, 0.1)
    tested.agent.send_due(5)
    assert tested.requests() == []
    tested.agent.receive(tested.check(), PATH, 5)
    tested.agent.send_due(5)
    tested.answer_all(5)
    assert tested.agent.path == PATH


def test_an_error_to_a_check_that_another_one_replaced_fails_nothing() -> None:
    tested = Stage()
    request, path = asked(tested)
    tested.agent.receive(tested.check(), PATH, 0.1)
    refusal = stun.build_error(request.transaction_id, 500, "", PEER.password.encode())
    assert tested.agent.receive(refusal, path, 0.1)
    tested.agent.send_due(0.1)
    tested.answer_all(0.1)
    assert tested.agent.path == PATH


def test_an_answer_from_another_address_does_not_count() -> None:
    tested = Stage()
    request, _ = asked(tested)
    response = stun.build_response(request.transaction_id, PATH, PEER.password.encode())
    assert not tested.agent.receive(response, OTHER, 0.1)
    assert tested.agent.path is None
    assert tested.agent.receive(response, PATH, 0.1)
    assert tested.agent.path == PATH
    assert not tested.agent.receive(response, PATH, 0.1), "each answer counts once"


def test_a_late_answer_to_a_cancelled_check_counts() -> None:
    """RFC 8445, 7.3.1.4: the peer's check cancels ours, and triggers a new one."""
    tested = Stage()
    request, path = asked(tested)
    tested.agent.receive(tested.check(is_nominating=True), PATH, 0.1)
    response = stun.build_response(request.transaction_id, path, PEER.password.encode())
    assert tested.agent.receive(response, path, 3)
    assert tested.agent.is_concluded
    assert tested.agent.path == PATH


def test_a_cancelled_check_is_forgotten_in_time() -> None:
    tested = Stage()
    request, path = asked(tested)
    tested.agent.receive(tested.check(), PATH, 0.1)
    tested.agent.send_due(12)
    response = stun.build_response(request.transaction_id, path, PEER.password.encode())
    assert not tested.agent.receive(response, path, 12)
    assert len(tested.requests()) == 1, "the triggered check"
    assert tested.agent.next_deadline == pytest.approx(12.5)


def test_an_answer_of_somebody_else_does_not_count() -> None:
    """Though it names our check: only the peer's password proves it."""
    tested = Stage()
    request, path = asked(tested)
    key = tested.agent.local.password.encode()
    before = tested.snapshot()
    for forged in (
        stun.build_response(request.transaction_id, path, key),
        stun.build_error(request.transaction_id, 487, "", key),
    ):
        assert not tested.agent.receive(forged, path, 0.1)
        assert tested.snapshot() == before


def test_consent_is_given_by_the_peer_on_the_path_and_once() -> None:
    tested = Stage()
    tested.connect()
    asked_for = []
    for now in (7, 14):
        tested.agent.send_due(now)
        asked_for += tested.requests()
    (first, path), (second, _) = asked_for
    key = PEER.password.encode()
    before = tested.snapshot()
    forged = stun.build_response(first.transaction_id, path, b"another key")
    assert not tested.agent.receive(forged, path, 14)
    answer = stun.build_response(first.transaction_id, path, key)
    assert not tested.agent.receive(answer, OTHER, 14)
    assert tested.snapshot() == before
    assert tested.agent.receive(answer, path, 14)
    later = stun.build_response(second.transaction_id, path, key)
    assert not tested.agent.receive(later, path, 14)


def test_consent_of_the_former_path_is_none_of_the_new_one() -> None:
    tested = Stage()
    tested.connect()
    tested.agent.send_due(7)
    [(request, path)] = tested.requests()
    tested.agent.heard(OTHER, 7)
    answer = stun.build_response(request.transaction_id, path, PEER.password.encode())
    assert not tested.agent.receive(answer, path, 7)
    assert not tested.agent.receive(answer, OTHER, 7)


def test_a_nomination_by_who_turned_out_to_be_controlled_is_none() -> None:
    """The other side nominates then; whether a request or an error said so."""
    key = PEER.password.encode()
    for is_told_by_request in (True, False):
        tested = Stage(is_controlling=True)
        tested.agent.end_of_candidates()
        request, path = asked(tested)
        tested.agent.receive(stun.build_response(request.transaction_id, path, key), path, 0)
        tested.agent.send_due(0.1)
        [(nomination, _)] = tested.requests()
        assert nomination.is_nominating
        if is_told_by_request:
            tested.agent.receive(tested.check(tie_breaker=2**64 - 1), PATH, 0.1)
            answer = stun.build_response(nomination.transaction_id, path, key)
        else:
            answer = stun.build_error(nomination.transaction_id, 487, "", key)
        tested.agent.receive(answer, path, 0.1)
        assert not tested.agent.is_controlling
        tested.agent.send_due(0.2)
        tested.answer_all(0.2)
        assert not tested.agent.is_concluded


def test_use_candidate_of_a_controlled_peer_nominates_nothing() -> None:
    tested = Stage(is_controlling=True)
    tested.agent.receive(tested.check(is_controlling=False, is_nominating=True), PATH, 0)
    tested.agent.send_due(0)
    [(request, _)] = tested.requests()
    assert not request.is_nominating


def test_a_path_is_nominated_after_half_a_second_if_candidates_may_follow() -> None:
    tested = Stage(is_controlling=True)
    tested.agent.receive(tested.check(is_controlling=False), PATH, 0)
    tested.agent.send_due(0)
    tested.answer_all(0.1)
    assert tested.agent.next_deadline == pytest.approx(0.6)
    tested.agent.send_due(0.5)
    assert tested.requests() == []
    tested.agent.send_due(0.6)
    assert [each.is_nominating for each, _ in tested.requests()] == [True]


def test_a_check_goes_on_while_the_selected_path_is_nominated_again() -> None:
    """Some peers nominate in all their checks."""
    tested = Stage()
    tested.agent.receive(tested.check(is_nominating=True), PATH, 0)
    tested.agent.send_due(0)
    tested.answer_all(0)
    tested.agent.receive(tested.check(), OTHER, 1)
    tested.agent.receive(tested.check(is_nominating=True), PATH, 1)
    tested.agent.send_due(1)
    assert [path for _, path in tested.requests()] == [OTHER]


def test_other_paths_are_left_alone_when_one_is_selected() -> None:
    tested = Stage()
    tested.agent.receive(tested.check(), OTHER, 0)
    tested.agent.receive(tested.check(is_nominating=True), PATH, 0)
    tested.agent.send_due(0.1)
    (_, _), (request, _) = tested.requests()
    response = stun.build_response(request.transaction_id, PATH, PEER.password.encode())
    tested.agent.receive(response, PATH, 0.1)
    tested.agent.send_due(3)
    assert tested.requests() == []


def test_a_triggered_check_replaces_the_one_under_way() -> None:
    tested = Stage()
    asked(tested)
    tested.agent.receive(tested.check(), PATH, 0.1)
    tested.agent.send_due(0.1)
    assert len(tested.requests()) == 1
    tested.agent.send_due(1)
    assert len(tested.requests()) == 1


def test_checks_are_paced_after_a_pause_too() -> None:
    """Two in a tick of 80 ms."""
    tested = Stage()
    for port in range(10):
        tested.agent.receive(tested.check(), make_path("203.0.113.7", 1000 + port), 10)
    tested.agent.send_due(10)
    assert len(tested.requests()) == 2
    tested.agent.send_due(10.03)
    assert len(tested.requests()) == 0
    tested.agent.send_due(10.08)
    assert len(tested.requests()) == 1


def test_an_error_does_not_give_consent() -> None:
    tested = Stage()
    tested.connect()
    tested.agent.send_due(7)
    [(request, path)] = tested.requests()
    for code in (487, 400):
        refusal = stun.build_error(request.transaction_id, code, "", PEER.password.encode())
        assert not tested.agent.receive(refusal, path, 7)
    tested.agent.send_due(30.2)
    assert tested.agent.state is IceState.FAILED


def test_a_peer_that_nominates_several_paths_is_followed_to_the_last() -> None:
    """Aggressive nomination (RFC 5245), while no media says otherwise."""
    tested = Stage()
    for path in (PATH, OTHER, PATH):
        tested.agent.receive(tested.check(is_nominating=True), path, 1)
        tested.agent.send_due(1.1)
        tested.answer_all(1.1)
        assert tested.agent.path == path
    tested.agent.receive(tested.check(), OTHER, 1)
    assert tested.agent.path == PATH


def test_the_best_path_is_nominated_when_the_nomination_of_another_one_fails() -> None:
    tested = Stage(is_controlling=True)
    for path in (PATH, OTHER):
        tested.agent.receive(tested.check(is_controlling=False), path, 0)
    tested.agent.send_due(0.1)
    tested.answer_all(0.1)
    tested.agent.send_due(1)
    [(first, failing)] = tested.requests()
    assert first.is_nominating
    refusal = stun.build_error(first.transaction_id, 500, "", PEER.password.encode())
    tested.agent.receive(refusal, failing, 1)
    tested.agent.send_due(1.1)
    [(second, path)] = tested.requests()
    assert second.is_nominating
    assert {failing, path} == {PATH, OTHER}


def test_a_path_that_answers_late_is_nominated_when_the_selected_one_fell_silent() -> None:
    """Its check was under way when the other path was selected."""
    tested = Stage(is_controlling=True)
    for path in (OTHER, PATH):
        tested.agent.receive(tested.check(is_controlling=False), path, 0)
    tested.agent.send_due(0.1)
    (late, _), (request, _) = tested.requests()
    key = PEER.password.encode()
    tested.agent.receive(stun.build_response(request.transaction_id, PATH, key), PATH, 0.1)
    tested.agent.send_due(0.6)
    [(nomination, _)] = [each for each in tested.requests() if each[0].is_nominating]
    tested.agent.receive(stun.build_response(nomination.transaction_id, PATH, key), PATH, 0.6)
    assert tested.agent.is_concluded
    tested.agent.receive(stun.build_response(late.transaction_id, OTHER, key), OTHER, 8)
    assert tested.agent.path == OTHER
    tested.agent.send_due(8)
    [nominations] = [path for each, path in tested.requests() if each.is_nominating]
    assert nominations == OTHER


def test_the_deadline_is_when_something_is_due() -> None:
    """Nothing is sent before it, and calling at it does something."""
    tested = Stage(is_controlling=True)
    assert tested.agent.next_deadline == 20
    tested.agent.receive(tested.check(is_controlling=False), PATH, 0)
    now = 0.0
    while tested.agent.state is not IceState.FAILED:
        deadline = tested.agent.next_deadline
        assert deadline < math.inf
        now = max(now, deadline)
        if now > 0:
            tested.sent.clear()
            tested.agent.send_due(now - 0.001)
            assert tested.sent == []
        tested.agent.send_due(now)
        assert tested.agent.next_deadline > deadline or tested.agent.state is IceState.FAILED
    assert now == 20


def test_many_paths_of_one_peer_are_bounded() -> None:
    """The oldest are forgotten."""
    tested = Stage()
    for port in range(300):
        path = make_path("203.0.113.7", 1000 + port)
        assert tested.agent.receive(tested.check(), path, 0)
    tested.agent.send_due(20)
    assert tested.agent.failure.endswith("of 100 paths")
