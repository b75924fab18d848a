"""One UDP port serves all sessions, and no datagram of one disturbs another."""

import errno
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from math import inf

import pytest

from cloudslice.clock import HEARTBEAT_S, SystemClock, until_heartbeat
from cloudslice.media.tracks import OpusRun, TrackKind
from cloudslice.rtp import datagrams
from cloudslice.rtp.audio import AudioReceiver
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.binding import PortInUseError
from cloudslice.rtp.dtls import DtlsCertificate
from cloudslice.rtp.port import RtpPort
from cloudslice.rtp.sdp import parse_offer
from cloudslice.rtp.session import CloseReason, Session
from helpers.peer import Peer
from helpers.rtp import RecordingSink
from helpers.udp_peer import UdpPeer
from helpers.waiting import eventually

AUDIO = TrackKind.AUDIO
Join = Callable[..., "Client"]
CERTIFICATE = DtlsCertificate()


@pytest.fixture
async def port() -> AsyncIterator[RtpPort]:
    async with RtpPort(0, "", SystemClock()) as opened:
        yield opened


@pytest.fixture
def clients() -> Iterator[list["Client"]]:
    """Their sockets are closed after the test."""
    made: list[Client] = []
    yield made
    for each in made:
        each.udp.close()


@pytest.fixture
def join(port: RtpPort, clients: list["Client"]) -> Join:
    """Makes a client of the port."""
    return partial(Client, port, clients)


class Client:
    """A peer on a socket of its own, and its session."""

    def __init__(self, port: RtpPort, clients: list["Client"], host: str = "127.0.0.1") -> None:
        self.port = port
        self.peer = Peer((AUDIO,))
        self.closed: list[CloseReason] = []
        self.sink = RecordingSink()
        self.session = Session(
            parse_offer(self.peer.offer),
            certificate=CERTIFICATE,
            send=port.send,
            wake=port.wake,
            clock=SystemClock(),
            max_video_bitrate_kbps=1000,
            consent_timeout_s=15,
            on_connected=lambda session: None,
            on_closed=self._on_closed,
        )
        port.add(self.session)
        answer = self.session.answer([(host, port.udp_port)])
        self.udp = UdpPeer(port, self.peer, answer, host=host)
        clients.append(self)

    def connect(self) -> "Client":
        self.udp.connect()
        self.audio.add_sink(self.sink)
        return self

    def send(self, datagram: bytes) -> None:
        self.udp.send(datagram)

    @property
    def audio(self) -> AudioReceiver:
        receiver = self.session.receivers[AUDIO]
        assert isinstance(receiver, AudioReceiver)
        return receiver

    def _on_closed(self, session: Session, reason: CloseReason) -> None:
        self.closed.append(reason)
        self.port.remove(session)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_many_sessions_share_the_port(port: RtpPort, host: str, join: Join) -> None:
    """Each gets its own packets, over IPv4 and IPv6."""
    clients = [join(host).connect() for _ in range(5)]
    for index, client in enumerate(clients):
        client.send(client.peer.rtp(AUDIO, 1, 0, b"%d" % index))
    assert [client.sink.payloads for client in clients] == [[b"%d" % i] for i in range(5)]
    assert port.foreign == 0
    assert port.datagrams == 5 * 4  # a check, two flights, and media
    for client in clients:
        client.session.close()


async def test_the_beat_reads_by_itself(port: RtpPort, join: Join) -> None:
    """While a session is there."""
    client = join().connect()
    client.udp.socket.send(client.peer.rtp(AUDIO, 1, 0, b"x"))
    await eventually(lambda: client.sink.payloads, within_s=2)
    client.session.close()
    assert port._timer is None


async def test_those_who_come_do_not_put_off_the_reading(port: RtpPort, join: Join) -> None:
    """However many come one after the other; the first of them brings it forward."""
    join()
    port._schedule(1000)
    join()
    first = port._next_beat
    assert first < time.monotonic() + 1
    for _ in range(20):
        join()
    assert port._next_beat == first


async def test_a_session_that_will_have_something_to_do_is_woken_for_it(
    port: RtpPort, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sooner than the next heartbeat if need be, and never later."""
    client = join().connect()
    glances: list[float] = []
    monkeypatch.setattr(port, "glance", lambda now: glances.append(now) or 1000)
    started = time.monotonic()
    port._heartbeat = started + 1000
    port._schedule(1000)
    port.wake(client.session, started + 2000)
    assert port._next_beat == pytest.approx(started + 1000, abs=1)
    port.wake(client.session, started)
    await eventually(lambda: glances, within_s=2)
    client.session.close()
    port.wake(client.session, started)
    assert port._timer is None, "nobody is left to be woken"


@pytest.mark.parametrize(
    ("until_heartbeat_s", "is_glance"),
    [(1, True), (0.04, False), (-1, False)],
    ids=["before a heartbeat", "just before one", "after one"],
)
async def test_between_heartbeats_there_are_glances(
    port: RtpPort,
    join: Join,
    monkeypatch: pytest.MonkeyPatch,
    until_heartbeat_s: float,
    is_glance: bool,
) -> None:
    """What is due soon is done with what is due now."""
    client = join().connect()
    called: list[str] = []
    for name in ("beat", "glance"):
        monkeypatch.setattr(port, name, lambda now, name=name: called.append(name) or 1000)
    port._heartbeat = time.monotonic() + until_heartbeat_s
    port._on_timer()
    assert called == ["glance" if is_glance else "beat"]
    client.session.close()


async def test_a_glance_is_at_those_who_wait_for_something(port: RtpPort, join: Join) -> None:
    """What the others have sent waits for the heartbeat, in its order, with its time of arrival."""
    other, waiting = join().connect(), join().connect()
    for client in (other, waiting):
        client.send(client.peer.rtp(AUDIO, 0, 0, b"0"))
    settle(port)
    waiting.udp.socket.send(waiting.peer.rtp(AUDIO, 2, 1920, b"2"))
    port.beat(time.monotonic())
    began = time.monotonic()
    for client in (other, waiting):
        client.udp.socket.send(client.peer.rtp(AUDIO, 1, 960, b"1"))
    port.glance(time.monotonic())
    assert waiting.sink.payloads == [b"0", b"1", b"2"]
    assert other.sink.payloads == [b"0"]
    glanced = time.monotonic()
    other.udp.socket.send(other.peer.rtp(AUDIO, 2, 1920, b"2"))
    waiting.udp.socket.send(waiting.peer.rtp(AUDIO, 3, 2880, b"3"))
    port.glance(time.monotonic())
    assert waiting.sink.payloads == [b"0", b"1", b"2"], "it waits for nothing any more"
    port.beat(time.monotonic())
    assert waiting.sink.payloads == [b"0", b"1", b"2", b"3"]
    assert other.sink.payloads == [b"0", b"1", b"2"]
    assert began < other.sink.arrivals[1] < glanced < other.sink.arrivals[2]
    for client in (waiting, other):
        client.session.close()


async def test_a_glance_answers_connectivity_checks(port: RtpPort, join: Join) -> None:
    """Of an anchor of whom nothing is waited for; no other's media is taken in for it."""
    asking, other = join().connect(), join().connect()
    for client in (asking, other):
        client.send(client.peer.rtp(AUDIO, 0, 0, b"0"))
    settle(port)
    asking.udp.receive()
    asking.peer.check(100)
    for datagram in asking.peer.outbox:
        asking.udp.socket.send(datagram)
    asking.udp.socket.send(asking.peer.rtp(AUDIO, 1, 960, b"1"))
    other.udp.socket.send(other.peer.rtp(AUDIO, 1, 960, b"1"))
    port.glance(time.monotonic())
    assert asking.udp.socket.recv(2048)[:2] == b"\x01\x01", "a binding success response"
    assert asking.sink.payloads == [b"0", b"1"], "in its order"
    assert other.sink.payloads == [b"0"]
    asking.udp.socket.send(asking.peer.rtp(AUDIO, 2, 1920, b"2"))
    port.glance(time.monotonic())
    assert asking.sink.payloads == [b"0", b"1"], "this waits for the heartbeat again"
    port.beat(time.monotonic())
    assert asking.sink.payloads == [b"0", b"1", b"2"]
    assert other.sink.payloads == [b"0", b"1"]
    for client in (asking, other):
        client.session.close()


async def test_a_check_waits_for_a_tenth_of_a_second_at_most(port: RtpPort, join: Join) -> None:
    """However little there is to do otherwise, as long as an anchor is there."""
    client = join().connect()
    client.send(client.peer.rtp(AUDIO, 0, 0, b"0"))
    settle(port)
    now = time.monotonic()
    assert port.beat(now) <= 0.09
    for step in range(10):
        assert port.glance(now + step * 0.04) <= 0.09
    client.session.close()


async def test_an_anchor_connects_by_glances(port: RtpPort, join: Join) -> None:
    """Which come quickly then, however far away the heartbeat is."""
    settle(port)
    client = join()
    while client.peer.srtp is None:
        while client.peer.outbox:
            client.udp.socket.send(client.peer.outbox.pop(0))
        assert port.glance(time.monotonic()) <= 0.1
        client.udp.receive()
    client.session.close()


async def test_a_glance_takes_in_all_when_there_is_no_more_room(
    clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what is waited for cannot be behind it."""
    monkeypatch.setattr(datagrams, "Batch", partial(Batch, 40))
    async with RtpPort(0, "", SystemClock()) as port:
        client = Client(port, clients).connect()
        client.send(client.peer.rtp(AUDIO, 0, 0, b"x"))
        settle(port)
        for index in range(1, 51):
            client.udp.socket.send(client.peer.rtp(AUDIO, index, 960 * index, b"x"))
        assert port.glance(time.monotonic()) == 0
        assert len(client.sink.payloads) == 1 + 40
        port.glance(time.monotonic())
        assert len(client.sink.payloads) == 1 + 40
        port.beat(time.monotonic())
        assert len(client.sink.payloads) == 1 + 50
        client.session.close()


async def test_catching_up_takes_in_all_however_much_it_is(
    clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one batch holds, and others' before ours."""
    monkeypatch.setattr(datagrams, "Batch", partial(Batch, 40))
    async with RtpPort(0, "", SystemClock()) as port:
        other, client = Client(port, clients).connect(), Client(port, clients).connect()
        for index in range(50):
            other.udp.socket.send(other.peer.rtp(AUDIO, index, 960 * index, b"x"))
        for index in range(50):
            client.udp.socket.send(client.peer.rtp(AUDIO, index, 960 * index, b"x"))
        port.catch_up({client.session})
        assert len(client.sink.payloads) == 50
        port.beat(time.monotonic())
        assert len(other.sink.payloads) == 50
        for each in (other, client):
            each.session.close()


async def test_catching_up_while_others_are_taken_in_harms_them_not(
    clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose packet makes a session end may do so in the middle of a full batch."""
    monkeypatch.setattr(datagrams, "Batch", partial(Batch, 40))
    async with RtpPort(0, "", SystemClock()) as port:
        first, last = Client(port, clients).connect(), Client(port, clients).connect()

        class Caller(RecordingSink):
            def on_opus(self, run: OpusRun) -> None:
                super().on_opus(run)
                port.catch_up({first.session})

        caller = Caller()
        first.audio.add_sink(caller)
        for index in range(30):
            for client in (first, last):
                client.udp.socket.send(client.peer.rtp(AUDIO, index, 960 * index, b"%d" % index))
        for _ in range(3):
            port.beat(time.monotonic())
        assert last.sink.payloads == first.sink.payloads == [b"%d" % index for index in range(30)]
        assert caller.payloads == first.sink.payloads
        assert port.errors == 0
        for client in (first, last):
            client.session.close()


async def test_after_a_stall_sessions_are_heard_before_they_are_judged(
    port: RtpPort, join: Join
) -> None:
    """What shows that a peer is there may have waited in the socket all the time."""
    client = join().connect()
    client.send(client.peer.rtp(AUDIO, 0, 0, b"x"))
    client.session._consent_timeout_s = 0.05
    silent_until = time.monotonic() + 0.1
    while time.monotonic() < silent_until:
        pass
    client.udp.socket.send(client.peer.rtp(AUDIO, 1, 960, b"x"))
    port.wake(client.session, 0)
    port._last_beat = time.monotonic() - 5
    client.session._next_slow = 0
    port.beat(time.monotonic())
    assert client.closed == []
    client.session.close()


def settle(port: RtpPort) -> None:
    """Come to where no session waits for anything."""
    now = time.monotonic()
    while port.give_feedback(now) < inf:
        now += 0.1
    port.beat(time.monotonic())
    assert not port._urgent


@pytest.mark.parametrize(
    ("buffer_datagrams", "delay_s"),
    [
        pytest.param(100_000, HEARTBEAT_S / 5, id="large: as rarely as checks allow"),
        pytest.param(800, 0.05, id="small: before it can be more than a quarter full"),
    ],
)
async def test_the_beat_keeps_the_buffer_from_overflowing(
    port: RtpPort, join: Join, buffer_datagrams: int, delay_s: float
) -> None:
    """However small the system lets it be."""
    client = join().connect()
    port._room = buffer_datagrams
    now = port._clock.monotonic()
    now += until_heartbeat(now)  # so that the next one is far off
    port._last_beat = now - 0.1
    for index in range(400):
        client.udp.socket.send(client.peer.rtp(AUDIO, index, 0, b"x"))
    assert port.beat(now) == pytest.approx(delay_s)
    client.session.close()


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00", id="one byte"),
        pytest.param(b"\x00\x01\x00\x00" + bytes(16), id="STUN without cookie"),
        pytest.param(b"\x10" * 100, id="ZRTP"),
        pytest.param(b"\x45" * 100, id="TURN channel"),
        pytest.param(b"\xff" * 2000, id="0xFF"),
        pytest.param(b"\x80\x6f", id="short RTP"),
        pytest.param(b"\x16\xfe\xfd" + b"\xff" * 50, id="DTLS"),
        pytest.param(b"\x80\x6f" + bytes(60), id="RTP"),
        pytest.param(b"\x80\xc8" + bytes(60), id="RTCP"),
        pytest.param(b"\x80\x6f" + bytes(5000), id="long RTP"),
    ],
)
async def test_garbage_disturbs_nobody(port: RtpPort, garbage: bytes, join: Join) -> None:
    """From strangers and from an anchor's own address."""
    client = join().connect()
    client.udp.move()
    client.udp.sockets.reverse()
    stranger = client.udp.sockets[0]
    for sender in (stranger, client.udp.socket):
        sender.send(garbage)
    client.send(client.peer.rtp(AUDIO, 1, 0, b"x"))
    assert client.sink.payloads == [b"x"]
    assert port.foreign >= 1
    assert port.errors == 0
    assert client.closed == []
    client.session.close()


@pytest.mark.parametrize("what", ["forged", "replayed", "another's SSRC"])
async def test_a_strangers_media_is_not_the_anchors(port: RtpPort, join: Join, what: str) -> None:
    """Nothing proves its address, and it proves nothing itself."""
    client = join().connect()
    packet = client.peer.rtp(AUDIO, 1, 0, b"x")
    client.send(packet)
    client.udp.move()
    if what == "forged":
        packet = packet[:-1] + bytes([packet[-1] ^ 1])
    elif what == "another's SSRC":
        packet = client.peer.rtp(AUDIO, 2, 0, b"x", ssrc=0xDEAD)
    client.send(packet)
    assert client.sink.payloads == [b"x"]
    assert port.foreign == 1
    assert len(port._sessions._by_source) == 1
    client.session.close()


async def test_authentic_media_is_taken_from_a_new_address_at_once(
    port: RtpPort, join: Join
) -> None:
    """A NAT has given the anchor another port, and its next check is seconds away."""
    client = join().connect()
    client.send(client.peer.rtp(AUDIO, 1, 0, b"before"))
    client.udp.move()
    client.udp.send(*(client.peer.rtp(AUDIO, index, 0, b"after") for index in (2, 3)))
    assert client.sink.payloads == [b"before", b"after", b"after"]
    assert port.foreign == client.session.repeated == client.session.not_authentic == 0
    client.session._next_slow = client.session._reporter.due = 0
    client.session.beat(time.monotonic())
    client.udp.receive()
    assert client.peer.rtcp, "reports go there, too"
    client.session.close()


async def test_an_ssrc_of_two_anchors_tells_of_neither(port: RtpPort, join: Join) -> None:
    """Their media is taken after a check from the new address."""
    first, second = join().connect(), join().connect()
    for client in (first, second):
        client.send(client.peer.rtp(AUDIO, 1, 0, b"x"))
    second.udp.move()
    second.send(second.peer.rtp(AUDIO, 2, 0, b"y"))
    assert second.sink.payloads == [b"x"]
    first.session.close()
    second.send(second.peer.rtp(AUDIO, 3, 0, b"y"))
    assert len(port._sessions._by_source) == 2
    second.session.close()


async def test_an_anchor_may_move(port: RtpPort, join: Join) -> None:
    """After a check from its new address, which its old one may outlive."""
    client = join().connect()
    former = client.udp.socket
    client.udp.move()
    client.peer.check(100)
    client.udp.exchange()
    client.send(client.peer.rtp(AUDIO, 1, 0, b"new"))
    former.send(client.peer.rtp(AUDIO, 2, 0, b"old"))
    port.read()
    assert client.sink.payloads == [b"new", b"old"]
    client.session.close()


async def test_an_address_can_change_hands(port: RtpPort, join: Join) -> None:
    """The newest session that proves it, has it."""
    first, second = join().connect(), join()
    second.udp.sockets.append(first.udp.socket)
    second.connect()
    second.send(second.peer.rtp(AUDIO, 1, 0, b"x"))
    assert second.sink.payloads == [b"x"]
    assert first.sink.payloads == []
    first.session.close()
    second.send(second.peer.rtp(AUDIO, 2, 0, b"y"))
    assert second.sink.payloads == [b"x", b"y"]
    second.session.close()


async def test_a_session_has_a_few_addresses_at_most(port: RtpPort, join: Join) -> None:
    """However often its peer moves."""
    client = join().connect()
    for index in range(40):
        client.udp.move()
        client.peer.check(100 * (index + 1))
        client.udp.exchange()
    assert len(port._sessions._by_source) <= 16
    client.send(client.peer.rtp(AUDIO, 1, 0, b"x"))
    assert client.sink.payloads == [b"x"]
    client.session.close()
    assert port._sessions._by_source == {}


async def test_new_credentials_replace_the_old_ones(port: RtpPort, join: Join) -> None:
    """After an ICE restart."""
    client = join()
    old = client.session.ice.ufrag
    client.session.restart_ice(client.session.offer.ice)
    port.update(client.session)
    assert set(port._sessions._by_ufrag) == {client.session.ice.ufrag}
    assert old not in port._sessions._by_ufrag
    client.session.close()
    port.remove(client.session)
    assert port._sessions._by_ufrag == {}


async def test_an_unforeseen_error_stays_with_its_session(
    port: RtpPort, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], join: Join
) -> None:
    """Counted, logged once; the others' packets and beats go on."""
    broken, sound = join().connect(), join().connect()

    for name in ("receive", "beat"):
        method = getattr(Session, name)

        def fail(
            session: Session, *arguments: object, method: Callable[..., object] = method
        ) -> object:
            if session is broken.session:
                raise ZeroDivisionError("a bug")
            return method(session, *arguments)

        monkeypatch.setattr(Session, name, fail)
    for index in range(3):
        broken.udp.socket.send(broken.peer.rtp(AUDIO, index, 0, b"x"))
        sound.send(sound.peer.rtp(AUDIO, index, 0, b"x"))
        port.give_feedback(time.monotonic())
    assert len(sound.sink.payloads) == 3
    assert port.errors == 6
    assert capsys.readouterr().out.count("unforeseen error") == 1
    monkeypatch.undo()
    broken.session.close()
    sound.session.close()


@pytest.mark.parametrize("step", ["_come", "_fill", "_give_feedback", "_take_in_all"])
async def test_the_reading_outlives_whatever_a_beat_raises(
    port: RtpPort, monkeypatch: pytest.MonkeyPatch, join: Join, step: str
) -> None:
    """Counted; the next beat comes by itself, and what has come by then is taken in."""
    client = join().connect()
    method = getattr(port, step)
    broken: list[int] = []

    def fail_twice(*arguments: object, **named: object) -> object:
        if len(broken) < 2:
            broken.append(1)
            raise ZeroDivisionError("a bug")
        return method(*arguments, **named)

    monkeypatch.setattr(port, step, fail_twice)
    client.udp.socket.send(client.peer.rtp(AUDIO, 0, 0, b"x"))
    port._schedule(0)
    await eventually(lambda: len(broken) == 2 and client.sink.payloads == [b"x"], within_s=5)
    client.udp.socket.send(client.peer.rtp(AUDIO, 1, 960, b"y"))
    await eventually(lambda: client.sink.payloads == [b"x", b"y"], within_s=5)
    assert port.errors == 2
    client.session.close()


async def test_what_thins_out_packets_may_break(
    port: RtpPort, monkeypatch: pytest.MonkeyPatch, join: Join
) -> None:
    """Then reports and time-outs go on all the same."""
    client = join().connect()

    def fail(*_given: object) -> None:
        raise ZeroDivisionError("a bug")

    for name in ("update", "restore", "release"):
        monkeypatch.setattr(port._thinning, name, fail)
    port.beat(time.monotonic())
    port.beat(time.monotonic() + 16)
    assert client.closed == [CloseReason.LOST]
    assert port.errors == 2


async def test_a_flood_does_not_starve_the_loop(
    clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beat reads so much at most, and says that there is more."""
    monkeypatch.setattr(datagrams, "Batch", partial(Batch, 40))
    async with RtpPort(0, "", SystemClock()) as port:
        client = Client(port, clients).connect()
        client.udp.move()
        client.udp.sockets.reverse()
        stranger = client.udp.sockets[0]
        for _ in range(50):
            stranger.send(b"\x45garbage")
        assert port.read() is False
        assert port.read() is True
        assert port.foreign == 50


async def test_closing_the_port_ends_its_sessions(clients: list[Client]) -> None:
    """And says goodbye to their peers."""
    async with RtpPort(0, "", SystemClock()) as port:
        client = Client(port, clients).connect()
    assert client.closed == [CloseReason.ENDED]
    assert client.udp.socket.recv(2048)[0] == 21  # an alert


async def test_a_port_in_use_is_named() -> None:
    """Its number, and why."""
    async with RtpPort(0, "", SystemClock()) as port:
        with pytest.raises(PortInUseError, match=rf"UDP port {port.udp_port}: .*in use"):
            RtpPort(port.udp_port, "", SystemClock())


async def test_candidates_are_ours_or_the_advertised_one(port: RtpPort) -> None:
    """Outer addresses before loopback, none of them link-local."""
    hosts = [host for host, udp_port in port.candidates if udp_port == port.udp_port]
    assert "127.0.0.1" in hosts
    assert not any(host.startswith("fe80") for host in hosts)
    inner = [host in ("127.0.0.1", "::1") for host in hosts]
    assert inner == sorted(inner)
    async with RtpPort(0, "203.0.113.5", SystemClock()) as advertised:
        assert advertised.candidates == [("203.0.113.5", advertised.udp_port)]


async def test_what_the_socket_does_not_take_is_counted(port: RtpPort) -> None:
    """Like a packet that the network lost."""
    port.send(b"x", ("255.255.255.255", 9))
    assert port.unsent == 1


async def test_a_machine_without_ipv6_has_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port opens all the same."""
    real = socket.socket

    def without_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return real(family, kind)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    async with RtpPort(0, "", SystemClock()) as port:
        assert all(":" not in host for host, _udp_port in port.candidates)
