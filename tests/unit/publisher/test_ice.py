"""The controlling side of ICE against a lite side, and against what may go wrong between them."""

import pytest
from aioice import stun

from cloudslice.rtp.ice import (
    Address,
    IceCredentials,
    StunError,
    answer_check,
    parse_check,
)
from cloudslice_publisher.ice import ControllingAgent

LOCAL = IceCredentials("publisher", "p" * 24)
REMOTE = IceCredentials("server", "s" * 24)
NEAR: Address = ("192.0.2.1", 7882)
FAR: Address = ("198.51.100.1", 7882)
US: Address = ("192.0.2.9", 50000)


def agent(*candidates: Address) -> ControllingAgent:
    return ControllingAgent(LOCAL, REMOTE, candidates or (NEAR,), consent_timeout_s=10, now=0)


def answer(check: bytes) -> bytes:
    """What the server's own, lite side says to a check."""
    result = answer_check(parse_check(check), REMOTE, LOCAL.ufrag, US)
    assert result.is_valid
    assert result.is_nominated
    return result.response


def connect(tested: ControllingAgent, now: float = 0) -> None:
    [(check, address)] = tested.checks_due(now)
    tested.receive(answer(check), address, now)


def test_all_candidates_are_tried_until_one_answers() -> None:
    """Checks go to each, again after 200 ms; the first to answer is selected."""
    tested = agent(NEAR, FAR)
    assert [address for _, address in tested.checks_due(0)] == [NEAR, FAR]
    assert tested.checks_due(0.1) == []
    (_, _), (check, _) = tested.checks_due(0.2)
    assert parse_check(check).addressed_ufrag == REMOTE.ufrag
    tested.receive(answer(check), FAR, 0.25)
    assert tested.selected == FAR


def test_selection_stays_with_the_first_answer() -> None:
    tested = agent(NEAR, FAR)
    (first, _), (second, _) = tested.checks_due(0)
    tested.receive(answer(first), NEAR, 0.1)
    with pytest.raises(StunError, match="no request of ours"):
        tested.receive(answer(second), FAR, 0.2)
    assert tested.selected == NEAR


def test_consent_is_asked_for_about_every_four_seconds() -> None:
    """Between 3.2 and 4.8 s, at the selected address; twice a second while it goes unanswered."""
    tested = agent()
    connect(tested)
    assert tested.checks_due(3.19) == []
    assert [address for _, address in tested.checks_due(4.81)] == [NEAR]
    assert tested.checks_due(5.2) == []
    assert len(tested.checks_due(5.32)) == 1


def test_a_silent_server_is_lost_after_the_timeout() -> None:
    tested = agent()
    connect(tested)
    assert not tested.is_lost(10)
    assert tested.is_lost(10.01)


def test_an_answer_renews_the_consent() -> None:
    tested = agent()
    connect(tested)
    connect(tested, now=9)
    assert not tested.is_lost(18.9)


def test_no_way_to_the_server_is_a_loss_too() -> None:
    tested = agent()
    assert not tested.is_lost(10)
    assert tested.is_lost(10.01)


def test_a_refusal_is_checked_at_once_and_believed_after_a_second() -> None:
    """ICMP can be forged, so one more check decides; media stops a second later, not after ten."""
    tested = agent()
    connect(tested)
    tested.refused(2)
    assert len(tested.checks_due(2)) == 1
    tested.refused(2.5)
    assert not tested.is_lost(3)
    assert tested.is_lost(3.01)


def test_a_refusal_that_an_answer_contradicts_is_forgotten() -> None:
    tested = agent()
    connect(tested)
    tested.refused(2)
    connect(tested, now=2)
    assert not tested.is_lost(3.5)


def test_checks_of_a_full_agent_are_answered() -> None:
    """An SFU that is not lite checks the path from its side, with our password."""
    request = stun.Message(
        stun.Method.BINDING,
        stun.Class.REQUEST,
        attributes={"USERNAME": "publisher:server", "ICE-CONTROLLED": 1, "PRIORITY": 1},
    )
    request.add_message_integrity(LOCAL.password.encode())
    response = agent().receive(bytes(request), NEAR, 0)
    assert response is not None
    parsed = stun.parse_message(response)
    assert parsed.message_class is stun.Class.RESPONSE
    assert parsed.transaction_id == request.transaction_id
    assert parsed.attributes["XOR-MAPPED-ADDRESS"] == NEAR
    assert parsed.check_message_integrity(LOCAL.password.encode())


def signed(kind: stun.Class, password: str) -> bytes:
    message = stun.Message(stun.Method.BINDING, kind, attributes={"USERNAME": "publisher:server"})
    message.add_message_integrity(password.encode())
    return bytes(message)


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(b"\x00\x01\x00", id="no STUN"),
        pytest.param(signed(stun.Class.REQUEST, "x" * 24), id="request with a wrong password"),
        pytest.param(signed(stun.Class.RESPONSE, "x" * 24), id="answer with a wrong password"),
        pytest.param(signed(stun.Class.RESPONSE, REMOTE.password), id="answer to nothing"),
    ],
)
def test_what_is_not_authentic_is_refused(datagram: bytes) -> None:
    tested = agent()
    with pytest.raises(StunError):
        tested.receive(datagram, NEAR, 0)
    assert tested.selected is None


def test_unanswered_checks_do_not_pile_up() -> None:
    """Only the newest may still be answered."""
    tested = agent()
    [(oldest, _)] = tested.checks_due(0)
    for step in range(1, 100):
        [(newest, _)] = tested.checks_due(step * 0.25)
    with pytest.raises(StunError, match="no request of ours"):
        tested.receive(answer(oldest), NEAR, 25)
    tested.receive(answer(newest), NEAR, 25)
    assert tested.selected == NEAR
