"""Two agents find each other, keep each other, and notice when they have lost each other."""

import itertools
import random
import secrets

import pytest

from cloudslice.webrtc import stun
from cloudslice.webrtc.candidates import Candidate
from cloudslice.webrtc.ice import IceError, IceState
from cloudslice.webrtc.udp.paths import make_path
from helpers.ice_network import Endpoint, Nat, Network, are_connected, introduce
from helpers.path_parts import remote_address

SERVER, CLIENT = "198.51.100.1", "203.0.113.7"
DEAD = "192.0.2.66"


@pytest.fixture(autouse=True)
def _same_chances(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is random is the same in each run."""
    chances = random.Random(8445)
    monkeypatch.setattr(secrets, "randbits", chances.getrandbits)
    monkeypatch.setattr(secrets, "token_bytes", chances.randbytes)
    monkeypatch.setattr(secrets, "token_hex", lambda size: chances.randbytes(size).hex())
    monkeypatch.setattr(random, "uniform", chances.uniform)


def candidate(host: str, port: int = 5000, *, priority: int = 1, kind: str = "host") -> Candidate:
    return Candidate(f"{host} {port}", 1, "udp", priority, host, port, kind)


def check(
    sender: Endpoint,
    receiver: Endpoint,
    *,
    is_nominating: bool = False,
    is_controlling: bool = True,
    tie_breaker: int = 0,
) -> bytes:
    """A check as the sender makes it, in whatever role."""
    return stun.build_request(
        secrets.token_bytes(12),
        username=f"{receiver.agent.local.ufrag}:{sender.agent.local.ufrag}".encode(),
        key=receiver.agent.local.password.encode(),
        priority=1,
        is_controlling=is_controlling,
        tie_breaker=tie_breaker,
        is_nominating=is_nominating,
    )


def server_and_client(network: Network, nat: Nat | None = None) -> tuple[Endpoint, Endpoint]:
    """A lite server, and a full client of unknown address that knows the server's."""
    server = network.add(SERVER, is_lite=True)
    client = network.add("10.0.0.2" if nat else CLIENT, is_controlling=True, nat=nat)
    server.agent.set_remote(client.agent.local, is_lite=False, now=network.now)
    client.agent.set_remote(server.agent.local, is_lite=True, now=network.now)
    client.agent.add_candidate(candidate(SERVER))
    client.agent.end_of_candidates()
    return server, client


@pytest.mark.parametrize("is_first_controlling", [True, False])
def test_two_full_agents_connect(is_first_controlling: bool) -> None:
    network = Network()
    first = network.add(SERVER, is_controlling=is_first_controlling)
    second = network.add(CLIENT, is_controlling=not is_first_controlling)
    introduce(first, second)
    assert network.run(1, until=lambda: first.agent.is_concluded and second.agent.is_concluded)
    assert are_connected(first, second)
    assert first.destination == second.address
    assert second.destination == first.address
    assert first.states == [IceState.CHECKING, IceState.CONNECTED]
    assert first.agent.is_controlling is is_first_controlling


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("roles", [(True, False), (True, True), (False, False)])
def test_a_bad_network_and_a_role_conflict_do_not_keep_them_apart(
    roles: tuple[bool, bool], seed: int
) -> None:
    """RFC 8445, 7.3.1.1, and retransmission; at last one of them is controlling."""
    network = Network(seed=seed, loss=0.25, delay_s=(0.02, 0.4), doubled=0.2)
    first = network.add(SERVER, is_controlling=roles[0])
    second = network.add(CLIENT, is_controlling=roles[1])
    introduce(first, second)
    assert network.run(20, until=lambda: first.agent.is_concluded and second.agent.is_concluded)
    assert first.agent.is_controlling is not second.agent.is_controlling
    assert network.run(300, until=lambda: not are_connected(first, second)) is False
    assert first.destination == second.address
    assert second.destination == first.address


@pytest.mark.parametrize("is_conflict", [False, True])
def test_a_full_agent_controls_a_lite_one(is_conflict: bool) -> None:
    """Whatever role it began with (RFC 8445, 6.1.1)."""
    network = Network()
    lite = network.add(SERVER, is_lite=True, is_controlling=is_conflict)
    full = network.add(CLIENT, is_controlling=not is_conflict)
    introduce(full, lite)
    assert network.run(1, until=lambda: full.agent.is_concluded)
    assert full.agent.is_controlling
    assert not lite.agent.is_controlling
    assert lite.destination == full.address
    assert full.destination == lite.address


def test_a_peer_that_wrongly_holds_itself_for_controlled_is_told_by_a_lite_agent() -> None:
    """RFC 8445, 7.3.1.1: 487, upon which it switches, and connects."""
    network = Network()
    lite, full = network.add(SERVER, is_lite=True), network.add(CLIENT)
    lite.agent.set_remote(full.agent.local, is_lite=False, now=network.now)
    full.agent.set_remote(lite.agent.local, is_lite=False, now=network.now)
    full.agent.add_candidate(candidate(SERVER))
    assert network.run(2, until=lambda: full.agent.is_concluded)
    assert full.agent.is_controlling
    assert are_connected(lite, full)


def test_two_lite_agents_are_refused() -> None:
    network = Network()
    lite = network.add(SERVER, is_lite=True)
    with pytest.raises(IceError, match="both sides are ICE lite"):
        lite.agent.set_remote(lite.agent.local, is_lite=True, now=0)
    assert lite.agent.state is IceState.NEW


def test_new_credentials_need_a_restart() -> None:
    """The same ones again change nothing."""
    network = Network()
    first, second = network.add(SERVER, is_lite=True), network.add(CLIENT)
    first.agent.set_remote(second.agent.local, is_lite=False, now=0)
    first.agent.set_remote(second.agent.local, is_lite=False, now=15)
    assert first.agent.next_deadline == 20
    assert first.agent.remote == second.agent.local
    with pytest.raises(RuntimeError, match="restart"):
        first.agent.set_remote(first.agent.local, is_lite=False, now=0)


@pytest.mark.parametrize("is_symmetric", [False, True])
def test_a_client_behind_a_nat_reaches_a_lite_server(is_symmetric: bool) -> None:
    network = Network()
    server, client = server_and_client(network, Nat("192.0.2.1", is_symmetric=is_symmetric))
    assert network.run(1, until=lambda: client.agent.is_concluded)
    assert server.destination == ("192.0.2.1", 40001)
    assert remote_address(client.agent.path or b"") == server.address


def test_a_client_behind_a_symmetric_nat_reaches_a_full_server() -> None:
    """Its address is learned from its checks (peer-reflexive), and checked."""
    network = Network()
    server = network.add(SERVER, is_controlling=True)
    client = network.add("10.0.0.2", nat=Nat("192.0.2.1", is_symmetric=True))
    introduce(server, client)
    assert network.run(3, until=lambda: server.agent.is_concluded and client.agent.is_concluded)
    assert server.destination == ("192.0.2.1", 40001)


def test_a_name_is_passed_over_and_the_peers_check_tells_its_address() -> None:
    """Chromium's candidates in .local, until it may use the camera."""
    network = Network()
    server, client = network.add(SERVER), network.add(CLIENT, is_controlling=True)
    introduce(server, client, with_candidates=False)
    server.agent.add_candidate(candidate("4f1a.local"))
    client.agent.add_candidate(candidate(SERVER))
    assert network.run(2, until=lambda: server.agent.is_concluded)
    assert server.destination == client.address


def test_dead_candidates_do_not_delay_the_one_that_answers() -> None:
    """Each is checked, 50 ms apart, the highest priority first."""
    network = Network()
    server, client = server_and_client(network)
    for number in range(5):
        client.agent.add_candidate(candidate(DEAD, 6000 + number, priority=100 - number))
    assert network.run(1, until=lambda: are_connected(server, client))
    first = [address for _, _, address in client.sent[:6]]
    assert first == [(DEAD, 6000 + number) for number in range(5)] + [server.address]
    assert network.now < 100.5


def test_a_path_is_used_before_it_is_nominated() -> None:
    """A better candidate is waited for half a second; media flows meanwhile."""
    network = Network()
    server, client = server_and_client(network)
    client.agent.add_candidate(candidate(DEAD, priority=2))
    assert network.run(0.3, until=lambda: client.agent.path is not None)
    assert not client.agent.is_concluded
    connected_at = network.now
    assert network.run(2, until=lambda: client.agent.is_concluded)
    assert 0.5 <= network.now - connected_at < 0.8
    assert client.destination == server.address


def test_the_best_path_that_answers_is_nominated() -> None:
    network = Network(delay_s=(0.02, 0.02))
    server, client = server_and_client(network)
    server.other_hosts = ("198.51.100.2",)
    client.agent.add_candidate(candidate("198.51.100.2", priority=2))
    assert network.run(2, until=lambda: client.agent.is_concluded)
    assert client.destination == ("198.51.100.2", 5000)
    network.run(1)
    assert server.agent.path == make_path(*client.address, local="198.51.100.2")


def test_candidates_that_come_later_are_checked() -> None:
    """Trickle (RFC 8838), before and after the peer's credentials are known."""
    network = Network()
    server, client = network.add(SERVER, is_lite=True), network.add(CLIENT, is_controlling=True)
    server.agent.set_remote(client.agent.local, is_lite=False, now=network.now)
    client.agent.add_candidate(candidate(DEAD))
    network.run(1)
    assert client.sent == []
    client.agent.set_remote(server.agent.local, is_lite=True, now=network.now)
    network.run(1)
    client.agent.add_candidate(candidate(SERVER))
    assert network.run(0.3, until=lambda: are_connected(server, client))


def test_no_candidate_is_taken_when_a_path_is_selected() -> None:
    network = Network()
    _, client = server_and_client(network)
    assert network.run(1, until=lambda: client.agent.is_concluded)
    client.sent.clear()
    client.agent.add_candidate(candidate(DEAD))
    network.run(2)
    assert client.sent == []


def test_checks_that_come_before_the_answer_are_answered_and_remembered() -> None:
    """RFC 8445, 7.3: the offerer does not know the peer's credentials yet."""
    network = Network()
    offerer = network.add(SERVER, is_lite=True)
    answerer = network.add(CLIENT, is_controlling=True)
    other = network.add(CLIENT, 7000, is_controlling=True)
    for each in (answerer, other):
        each.agent.set_remote(offerer.agent.local, is_lite=True, now=network.now)
        each.agent.add_candidate(candidate(SERVER))
    network.run(1)
    assert are_connected(answerer, other)
    assert offerer.agent.state is IceState.NEW
    assert offerer.destination is None
    offerer.agent.set_remote(answerer.agent.local, is_lite=False, now=network.now)
    assert offerer.agent.state is IceState.CONNECTED
    assert offerer.destination == answerer.address


def test_early_checks_are_bounded() -> None:
    network = Network()
    offerer, answerer = network.add(SERVER, is_lite=True), network.add(CLIENT, is_controlling=True)
    answerer.agent.set_remote(offerer.agent.local, is_lite=True, now=network.now)
    answerer.agent.add_candidate(candidate(SERVER))
    network.run(0.1)
    _, first, _ = answerer.sent[0]
    for port in range(30):
        offerer.receive(first, (CLIENT, 8000 + port))
    offerer.agent.set_remote(answerer.agent.local, is_lite=False, now=network.now)
    assert offerer.destination == answerer.address


@pytest.mark.parametrize(
    ("is_lite", "host", "reason"),
    [
        (True, DEAD, "no connectivity check of the peer came within 20 s"),
        (False, DEAD, "no connectivity check was answered within 20 s, of 1 paths"),
        (False, "a.local", "no address that can be used, and sent no check within 20 s"),
    ],
)
def test_who_is_not_reached_in_20_seconds_has_failed(is_lite: bool, host: str, reason: str) -> None:
    network = Network()
    agent = network.add(SERVER, is_lite=is_lite, is_controlling=True).agent
    peer = network.add(CLIENT, is_controlling=is_lite).agent
    agent.set_remote(peer.local, is_lite=False, now=network.now)
    agent.add_candidate(candidate(host))
    network.run(19.8)
    assert agent.state is IceState.CHECKING
    network.run(0.5)
    assert agent.state is IceState.FAILED
    assert reason in agent.failure
    assert agent.next_deadline == float("inf")


def test_a_check_without_an_answer_is_repeated_and_given_up() -> None:
    """Sent seven times in 11.5 s; a triggered check tries the pair again."""
    network = Network(delay_s=(0, 0))
    server, client = server_and_client(network)
    server.is_connected = False
    network.run(15)
    times = [round(at - 100, 1) for at, _, _ in client.sent]
    assert times == pytest.approx([0, 0.5, 1.5, 3.5, 5.5, 7.5, 9.5], abs=0.6)
    assert client.agent.state is IceState.CHECKING


def test_consent_is_renewed_every_four_to_six_seconds() -> None:
    """RFC 7675, 5.1."""
    network = Network()
    server, client = server_and_client(network)
    network.run(1)
    client.sent.clear()
    network.run(120)
    times = [at for at, _, _ in client.sent]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert min(pauses) >= 3.9
    assert max(pauses) <= 6.2
    assert len(set(pauses)) > 5
    assert are_connected(server, client)
    assert server.agent.failure == ""


@pytest.mark.parametrize("timeout_s", [10, 30])
def test_a_peer_that_falls_silent_is_lost(timeout_s: float) -> None:
    """By both sides, after the timeout; a full agent asked twice a second."""
    network = Network()
    server = network.add(SERVER, is_lite=True, consent_timeout_s=timeout_s)
    client = network.add(CLIENT, is_controlling=True, consent_timeout_s=timeout_s)
    introduce(client, server)
    network.run(1)
    server.is_connected = client.is_connected = False
    client.sent.clear()
    network.run(timeout_s - 2)
    assert are_connected(server, client)
    assert timeout_s <= len(client.sent) <= 2.5 * timeout_s
    network.run(4)
    assert client.agent.failure == f"the peer has not answered for {timeout_s} s"
    assert server.agent.failure == f"nothing was heard of the peer for {timeout_s} s"
    assert server.agent.state is client.agent.state is IceState.FAILED
    assert server.agent.path is client.agent.path is None
    server.is_connected = client.is_connected = True
    client.sent.clear()
    network.run(10)
    assert client.sent == server.sent[len(server.sent) :] == []


def test_a_lite_agent_takes_media_for_a_sign_of_life() -> None:
    """A peer that stopped checking, but sends."""
    network = Network()
    server, client = server_and_client(network)
    network.run(1)
    path = server.agent.path
    assert path is not None
    client.is_connected = False
    for _ in range(10):
        network.run(10)
        server.agent.heard(path, network.now)
    assert server.agent.state is IceState.CONNECTED
    network.run(31)
    server.agent.heard(path, network.now)
    assert server.agent.state is IceState.FAILED
    assert server.agent.path is None


def test_a_failed_agent_answers_nobody() -> None:
    """Consent that was lost does not come back (RFC 7675, 5.1), save by a restart."""
    network = Network()
    server, client = server_and_client(network)
    network.run(1)
    client.is_connected = False
    network.run(31)
    assert server.agent.state is IceState.FAILED
    server.sent.clear()
    server.receive(check(client, server), client.address)
    server.agent.send_due(network.now)
    assert server.sent == []


def test_a_refusal_is_asked_about_at_once_and_believed_after_a_second() -> None:
    """ICMP can be forged; media to nobody stops a second later, not after half a minute."""
    network = Network()
    server, client = server_and_client(network)
    network.run(1)
    server.is_connected = False
    path = client.agent.path
    assert path is not None
    client.sent.clear()
    client.agent.refused(path, network.now)
    network.run(0.5)
    client.agent.refused(path, network.now)
    assert len(client.sent) >= 2
    assert client.agent.state is IceState.CONNECTED
    network.run(0.7)
    assert client.agent.failure == "nobody listens at the peer's address"


def test_a_refusal_that_an_answer_contradicts_is_forgotten() -> None:
    network = Network()
    server, client = server_and_client(network)
    network.run(1)
    path = client.agent.path
    assert path is not None
    client.agent.refused(path, network.now)
    network.run(5)
    assert are_connected(server, client)


def test_a_refusal_of_another_path_or_without_one_says_nothing() -> None:
    network = Network()
    server, client = server_and_client(network)
    path = server.agent.path
    assert path is None
    network.run(1)
    assert server.agent.path is not None
    client.agent.refused(server.agent.path, network.now)
    server.agent.refused(server.agent.path, network.now)
    server.is_connected = False
    network.run(3)
    assert are_connected(server, client)


def media_goes_on(network: Network, sender: Endpoint, receiver: Endpoint, seconds: float) -> None:
    """Media of one side, while time passes."""
    end = network.now + seconds
    while network.now < end:
        sender.send_media()
        network.run(0.08)


def test_media_from_a_new_port_moves_the_path_at_once() -> None:
    """The peer's NAT gave it another port. Its checks do not nominate (Pion), but its media shows
    where it is: feedback follows without a check."""
    network = Network()
    nat = Nat("192.0.2.1")
    server, client = server_and_client(network, nat)
    network.run(1)
    media_goes_on(network, client, server, 3)
    assert server.destination == ("192.0.2.1", 40001)
    nat.rebind()
    client.send_media()
    network.run(0.16)
    assert server.destination == ("192.0.2.1", 40002)
    media_goes_on(network, client, server, 60)
    assert server.destination == ("192.0.2.1", 40002)
    assert are_connected(server, client)


def test_a_new_port_without_media_is_taken_when_the_old_one_fell_silent() -> None:
    """A muted peer's checks are all there is."""
    network = Network()
    nat = Nat("192.0.2.1")
    server, client = server_and_client(network, nat)
    network.run(20)
    nat.rebind()
    assert network.run(15, until=lambda: server.destination == ("192.0.2.1", 40002))
    network.run(60)
    assert server.destination == ("192.0.2.1", 40002)
    assert are_connected(server, client)


@pytest.mark.parametrize("is_nominating", [False, True])
def test_a_check_of_another_path_does_not_move_the_one_that_media_takes(
    is_nominating: bool,
) -> None:
    """A browser checks several paths, and an aggressive peer nominates all (RFC 5245)."""
    network = Network()
    server, client = server_and_client(network)
    network.run(1)
    media_goes_on(network, client, server, 1)
    path = server.agent.path
    for _ in range(20):
        server.receive(check(client, server, is_nominating=is_nominating), (CLIENT, 7777))
        media_goes_on(network, client, server, 1)
        assert server.agent.path == path


def test_a_nomination_moves_the_path_when_media_has_stopped() -> None:
    network = Network()
    server, client = server_and_client(network)
    network.run(1)
    media_goes_on(network, client, server, 1)
    network.run(2.1)
    server.receive(check(client, server, is_nominating=True), (CLIENT, 7777))
    assert server.destination == (CLIENT, 7777)


def test_a_full_controlled_agent_follows_media_too() -> None:
    """And asks for consent where it sends then."""
    network = Network()
    nat = Nat("192.0.2.1")
    server = network.add(SERVER)
    client = network.add("10.0.0.2", nat=nat, is_controlling=True)
    introduce(server, client)
    assert network.run(3, until=lambda: server.agent.is_concluded)
    former = server.destination
    nat.rebind()
    client.send_media()
    network.run(0.16)
    assert former != server.destination == ("192.0.2.1", 40002)
    assert server.sent[-1][2] == ("192.0.2.1", 40002)
    media_goes_on(network, client, server, 60)
    assert are_connected(server, client)


def test_a_controlling_agent_does_not_follow_media() -> None:
    """It nominates; the peer sends where it said."""
    network = Network()
    server, client = server_and_client(network)
    network.run(1)
    client.agent.heard(make_path(DEAD, 1), network.now)
    assert client.destination == server.address


def test_a_controlling_agent_nominates_anew_when_its_peer_has_moved() -> None:
    """The controlled peer's NAT gave it another port: its checks show where it is."""
    network = Network()
    nat = Nat("192.0.2.1")
    server = network.add(SERVER, is_controlling=True)
    client = network.add("10.0.0.2", nat=nat)
    introduce(server, client)
    assert network.run(3, until=lambda: server.agent.is_concluded and client.agent.is_concluded)
    nat.rebind()
    network.run(25)
    assert server.destination == ("192.0.2.1", 40002)
    network.run(60)
    assert are_connected(server, client)


def restart(first: Endpoint, second: Endpoint) -> None:
    for each in (first, second):
        each.agent.restart(first.network.now)


@pytest.mark.parametrize("is_lite", [True, False])
def test_a_restart_keeps_the_path_until_another_one_is_selected(is_lite: bool) -> None:
    """RFC 8445, 9: media goes on, the former credentials are answered; then all is new."""
    network = Network()
    server = network.add(SERVER, is_lite=is_lite)
    client = network.add(CLIENT, is_controlling=True)
    introduce(client, server)
    network.run(1)
    former = server.agent.local, client.agent.local
    media_goes_on(network, client, server, 1)
    restart(server, client)
    assert server.agent.state is IceState.NEW
    assert len(server.agent.ufrags) == 2
    media_goes_on(network, client, server, 20)
    assert server.destination == client.address
    assert client.destination == server.address
    assert (server.agent.local, client.agent.local) != former
    introduce(client, server)
    assert client.agent.state is IceState.CHECKING
    media_goes_on(network, client, server, 1)
    assert are_connected(server, client)
    assert client.agent.is_concluded
    assert server.agent.ufrags == {server.agent.local.ufrag}
    media_goes_on(network, client, server, 60)
    assert are_connected(server, client)


def test_a_restart_moves_to_another_address_while_media_comes_on_the_former() -> None:
    """The peer has nominated it: it has decided."""
    network = Network()
    server, client = server_and_client(network)
    network.run(1)
    media_goes_on(network, client, server, 1)
    restart(server, client)
    introduce(client, server)
    former = server.agent.path
    assert former is not None
    server.receive(check(client, server, is_nominating=False), (CLIENT, 7777))
    assert server.agent.state is IceState.CONNECTED
    assert server.agent.path == former
    server.receive(check(client, server, is_nominating=True), (CLIENT, 7777))
    assert server.destination == (CLIENT, 7777)


@pytest.mark.parametrize("is_lite", [True, False])
def test_a_path_that_dies_during_a_restart_is_left(is_lite: bool) -> None:
    """Nothing is sent without consent; the restart goes on."""
    network = Network()
    server = network.add(SERVER, is_lite=is_lite)
    client = network.add(CLIENT, is_controlling=True)
    introduce(client, server)
    network.run(1)
    restart(server, client)
    client.is_connected = False
    network.run(32)
    assert server.agent.path is client.agent.path is None
    assert server.agent.state is IceState.NEW
    client.is_connected = True
    introduce(client, server)
    network.run(1)
    assert are_connected(server, client)


def test_checks_with_the_former_credentials_keep_the_path_during_a_restart() -> None:
    """As long as the answer to the new offer takes; a muted peer sends nothing else."""
    network = Network()
    server, client = server_and_client(network)
    network.run(1)
    restart(server, client)
    network.run(60)
    assert server.destination == client.address
    assert client.destination == server.address


def test_a_restart_that_finds_nothing_fails() -> None:
    network = Network()
    server, client = server_and_client(network)
    network.run(1)
    restart(server, client)
    server.agent.set_remote(client.agent.local, is_lite=False, now=network.now)
    network.run(20.5)
    assert "no connectivity check of the peer" in server.agent.failure


def test_a_failed_agent_can_be_restarted() -> None:
    network = Network()
    server, client = server_and_client(network)
    network.run(21 + 10, until=lambda: False)
    client.is_connected = False
    network.run(40)
    assert server.agent.state is client.agent.state is IceState.FAILED
    client.is_connected = True
    restart(server, client)
    assert server.agent.failure == ""
    assert len(server.agent.ufrags) == 1
    introduce(client, server)
    network.run(1)
    assert are_connected(server, client)
