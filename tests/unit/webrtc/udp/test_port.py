"""One UDP port serves all connections, and no datagram of one disturbs another."""

import contextlib
import errno
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from cloudslice.clock import SystemClock
from cloudslice.ids import TrackKind
from cloudslice.media.tracks import OpusRun
from cloudslice.webrtc.accepting import ReceivePolicy
from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.candidates import IceCredentials
from cloudslice.webrtc.connection_user import CloseReason, ConnectionOptions, ConnectionState
from cloudslice.webrtc.dtls import DtlsCertificate
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.remote_description import parse_remote_description
from cloudslice.webrtc.streams import Streams
from cloudslice.webrtc.udp import port as port_module
from cloudslice.webrtc.udp import sockets
from cloudslice.webrtc.udp.addresses import AddressRules, ToldAddresses
from cloudslice.webrtc.udp.paths import make_path
from cloudslice.webrtc.udp.port import PortOptions, UdpPort
from cloudslice.webrtc.udp.sockets import PortInUseError
from helpers.media_port import media_port
from helpers.native_peer import protect_large
from helpers.peer import SSRCS, Peer
from helpers.rtp import RecordingSink, rtp_packet
from helpers.udp_peer import UdpPeer
from helpers.waiting import eventually

AUDIO = TrackKind.AUDIO
Join = Callable[..., "Client"]
CERTIFICATE = DtlsCertificate()
OPTIONS = ConnectionOptions(
    ReceivePolicy({"audio": 1}, max_video_bitrate_kbps=1000), consent_timeout_s=15
)
_SO_RCVBUFFORCE = 33


@pytest.fixture
def port() -> Iterator[UdpPort]:
    with contextlib.closing(UdpPort(0, AddressRules(), SystemClock())) as opened:
        yield opened


@pytest.fixture
def small_port() -> Iterator[UdpPort]:
    """It reads 40 datagrams at a time."""
    with contextlib.closing(
        UdpPort(0, AddressRules(), SystemClock(), PortOptions(slots=40))
    ) as opened:
        yield opened


@pytest.fixture
def clients() -> Iterator[list["Client"]]:
    """Their sockets are closed after the test."""
    made: list[Client] = []
    yield made
    for each in made:
        each.udp.close()


@pytest.fixture
def join(port: UdpPort, clients: list["Client"]) -> Join:
    """Makes a client of the port."""
    return partial(Client, port, clients)


class Client:
    """A peer on a socket of its own, and its connection, whose user it is."""

    def __init__(self, port: UdpPort, clients: list["Client"], host: str = "127.0.0.1") -> None:
        self.port = port
        self.peer = Peer((AUDIO,))
        self.closed: list[CloseReason] = []
        self.sink = RecordingSink()
        self.connection = PeerConnection(port, CERTIFICATE, OPTIONS, self, SystemClock())
        answer = self.connection.answer(parse_remote_description(self.peer.offer))
        self.udp = UdpPeer(port, self.peer, answer, host=host)
        clients.append(self)

    def on_connected(self) -> None: ...

    def on_closed(self, reason: CloseReason, failure: str) -> None:
        self.closed.append(reason)

    def connect(self) -> "Client":
        self.udp.connect()
        self.audio.add_sink(self.sink)
        return self

    def put(self, sequence: int, payload: bytes) -> None:
        """Send an audio packet that nobody reads yet."""
        self.udp.socket.send(self.peer.rtp(AUDIO, sequence, 960 * sequence, payload))

    def send(self, *datagrams: bytes) -> None:
        """Have the port read these."""
        self.udp.send(*datagrams)

    def heard(self) -> list[bytes]:
        """The payloads of all audio packets that the port has read."""
        self.port.flush(self.connection.peer)
        return self.sink.payloads

    @property
    def audio(self) -> AudioReceiver:
        (receiver,) = self.connection.streams.receivers.values()
        assert isinstance(receiver, AudioReceiver)
        return receiver


def tick(port: UdpPort) -> None:
    port.tick(time.monotonic())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_many_connections_share_the_port(port: UdpPort, host: str, join: Join) -> None:
    """Each gets its own packets, over IPv4 and IPv6."""
    clients = [join(host).connect() for _ in range(5)]
    for index, client in enumerate(clients):
        client.send(client.peer.rtp(AUDIO, 1, 0, b"%d" % index))
    assert [client.heard() for client in clients] == [[b"%d" % index] for index in range(5)]
    assert port.foreign == 0
    assert port.is_active
    for client in clients:
        client.connection.close()
    assert not port.is_active


async def test_the_tick_reads_by_itself(clients: list[Client]) -> None:
    """While a connection is there."""
    with media_port(SystemClock()) as (port, timer):
        client = Client(port, clients).connect()
        timer.wake()
        client.put(1, b"x")
        await eventually(lambda: client.sink.payloads, within_s=2)
        client.connection.close()
        await eventually(lambda: timer._timer is None, within_s=2)


def test_answers_come_from_the_address_that_was_asked(port: UdpPort, join: Join) -> None:
    """A machine may have several, and a peer takes answers from the one that it sent to only."""
    client = join("127.0.0.9").connect()
    assert client.connection.state is ConnectionState.CONNECTED
    client.send(client.peer.rtp(AUDIO, 1, 0, b"x"))
    assert client.heard() == [b"x"]


def test_datagrams_come_in_their_order(port: UdpPort, join: Join) -> None:
    """Whatever the turns of their senders are; the kernel gives them out by 64."""
    one, other = join().connect(), join().connect()
    count = 1500
    with contextlib.suppress(PermissionError):
        for each in port._sockets:
            each.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
    if port._sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 4 << 20:
        count = 150
    for index in range(count):
        for client in (one, other):
            client.put(index, index.to_bytes(4))
    tick(port)
    expected = [index.to_bytes(4) for index in range(count)]
    assert one.heard() == other.heard() == expected
    assert one.connection.counts["audio_late"] == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("size", [0, 1, 1511, 1512, 1513, 9000, 60_000])
def test_opus_packets_of_any_size_come_whole(
    port: UdpPort, join: Join, host: str, size: int
) -> None:
    """As IP fragments; between others that come in the same reading."""
    client = join(host).connect()
    client.put(0, b"before")
    packet = rtp_packet(1, 960, bytes([0xFB]) * size, ssrc=SSRCS[AUDIO])
    assert client.peer.srtp is not None
    client.udp.socket.send(protect_large(client.peer.srtp, packet))
    client.put(2, b"after")
    tick(port)
    large = [bytes([0xFB]) * size] if size else []
    assert client.heard() == [b"before", *large, b"after"]


def test_an_arrival_is_when_the_datagram_came(port: UdpPort, join: Join) -> None:
    """Not when it was read."""
    client = join().connect()
    sent = []
    for index in range(2):
        sent.append(time.monotonic())
        client.put(index, bytes([0xF8, index]))
        while time.monotonic() < sent[-1] + 0.15:
            pass
    tick(port)
    client.heard()
    assert client.sink.arrivals == pytest.approx(sent, abs=0.02)


@pytest.mark.parametrize("step_s", [3600, 0.5, -0.5, -3600])
def test_a_step_of_the_wall_clock_moves_no_arrival(
    port: UdpPort, join: Join, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """Between a datagram's coming and its reading."""
    client = join().connect()
    tick(port)
    sent = time.monotonic()
    client.put(0, b"x")
    read_wall = time.time
    monkeypatch.setattr(time, "time", lambda: read_wall() + step_s)
    while time.monotonic() < sent + 0.1:
        pass
    tick(port)
    client.heard()
    assert client.sink.arrivals == pytest.approx([sent], abs=0.05)


def test_catching_up_takes_in_all_however_much_it_is(
    small_port: UdpPort, clients: list[Client]
) -> None:
    """More than is read at a time, and others' before ours; one that is missing is not waited
    for."""
    other, client = (Client(small_port, clients).connect() for _ in range(2))
    for index in range(50):
        other.put(index, b"%d" % index)
    for index in (*range(49), 50):
        client.put(index, b"%d" % index)
    small_port.catch_up([client.connection.peer])
    assert client.sink.payloads == [b"%d" % index for index in (*range(49), 50)]
    assert other.heard() == [b"%d" % index for index in range(50)]


def test_catching_up_in_the_middle_of_an_event_keeps_the_order(
    small_port: UdpPort, clients: list[Client]
) -> None:
    """A packet may make somebody end a connection, while more of all have been read."""
    first, last = (Client(small_port, clients).connect() for _ in range(2))
    calls = []

    class Caller(RecordingSink):
        def on_opus(self, run: OpusRun) -> None:
            super().on_opus(run)
            calls.append(len(self.packets))
            small_port.catch_up([first.connection.peer, last.connection.peer])

    caller = Caller()
    first.audio.add_sink(caller)
    expected = []
    for index in range(90):
        expected.append(bytes([0xF8 if index % 3 else 0xF0, index]))
        for client in (first, last):
            client.put(index, expected[-1])
    tick(small_port)
    assert calls
    assert first.heard() == last.heard() == caller.payloads == expected
    assert small_port.errors == 0


def test_a_connection_may_end_another_in_the_middle_of_a_reading(port: UdpPort, join: Join) -> None:
    """What is left of the ended one's datagrams is nobody's; the third one's are all taken in."""
    first, second, third = (join().connect() for _ in range(3))

    class Ending(RecordingSink):
        def on_opus(self, run: OpusRun) -> None:
            second.connection.close()

    first.audio.add_sink(Ending())
    for index in range(30):
        for client in (first, second, third):
            client.put(index, bytes([0xF8 if index % 3 else 0xF0, index]))
    tick(port)
    assert second.closed == [CloseReason.ENDED]
    assert len(first.heard()) == len(third.heard()) == 30
    assert port.errors == 0


def test_after_a_stall_connections_are_heard_before_they_are_judged(
    port: UdpPort, join: Join
) -> None:
    """What shows that a peer is there may have waited in the socket all the time."""
    client = join().connect()
    client.send(client.peer.rtp(AUDIO, 0, 0, b"x"))
    client.put(1, b"x")
    port.tick(time.monotonic() + 14)
    client.put(2, b"x")
    port.tick(time.monotonic() + 28)
    assert client.closed == []
    port.tick(time.monotonic() + 60)
    assert client.closed == [CloseReason.LOST]


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
        pytest.param(b"\x80\x6f" + bytes(60_000), id="the longest RTP"),
    ],
)
def test_garbage_disturbs_nobody(port: UdpPort, garbage: bytes, join: Join) -> None:
    """From strangers and from an anchor's own address."""
    client = join().connect()
    client.udp.move()
    client.udp.sockets.reverse()
    stranger = client.udp.sockets[0]
    for sender in (stranger, client.udp.socket):
        sender.send(garbage)
    client.send(client.peer.rtp(AUDIO, 1, 0, b"x"))
    assert client.heard() == [b"x"]
    assert port.foreign >= 1
    assert port.errors == 0
    assert client.closed == []


@pytest.mark.parametrize("what", ["forged", "replayed", "another's SSRC"])
def test_a_strangers_media_is_not_the_anchors(port: UdpPort, join: Join, what: str) -> None:
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
    assert client.heard() == [b"x"]
    assert port.foreign == 1


def test_a_flood_of_strangers_costs_nobody_a_packet(port: UdpPort, join: Join) -> None:
    """They know the SSRC of an anchor, and speak all protocols."""
    client = join().connect()
    client.send(client.peer.rtp(AUDIO, 0, 0, b"0"))
    client.udp.move()
    stranger = client.udp.sockets.pop()
    client.udp.sockets.insert(0, stranger)
    for index in range(1, 100):
        stranger.send(rtp_packet(index, 960 * index, bytes(60), ssrc=SSRCS[AUDIO]))
        stranger.send(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12))
        stranger.send(b"\x16\xfe\xfd" + bytes(60))
        client.put(index, b"%d" % index)
        tick(port)
    assert client.heard() == [b"%d" % index for index in range(100)]
    assert port.foreign == 99 * 3
    assert client.connection.counts["not_authentic"] == 0


def test_more_than_is_read_at_a_time_is_read_on_the_same_tick(
    small_port: UdpPort, clients: list[Client]
) -> None:
    client = Client(small_port, clients).connect()
    for index in range(150):
        client.put(index, b"%d" % index)
    tick(small_port)
    assert client.heard() == [b"%d" % index for index in range(150)]


def test_a_flood_does_not_hold_up_the_tick(
    small_port: UdpPort, clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due is sent all the same; the rest is read on the next one."""
    monkeypatch.setattr(port_module, "_READINGS", 2)
    client = Client(small_port, clients).connect()
    for index in range(150):
        client.put(index, b"%d" % index)
    asked: list[float] = []
    monkeypatch.setattr(client.connection, "send_due", asked.append)
    monkeypatch.setattr(client.connection, "_deadline", 0)
    tick(small_port)
    assert len(asked) == 1
    assert len(client.heard()) == 80
    tick(small_port)
    assert len(client.heard()) == 150


def test_authentic_media_is_taken_from_a_new_address_at_once(port: UdpPort, join: Join) -> None:
    """A NAT has given the anchor another port, and its next check is seconds away."""
    client = join().connect()
    client.send(client.peer.rtp(AUDIO, 1, 0, b"before"))
    client.udp.move()
    client.send(*(client.peer.rtp(AUDIO, index, 960 * index, b"after") for index in (2, 4)))
    assert port.foreign == 0
    counts = client.connection.counts
    assert (counts["repeated"], counts["not_authentic"]) == (0, 0)
    client.peer.rtcp.clear()
    port.tick(time.monotonic() + 0.1)
    client.udp.receive()
    assert client.peer.rtcp, "a request for the missing packet goes there, too"
    assert client.heard() == [b"before", b"after", b"after"]


def test_an_ssrc_of_two_anchors_tells_whose_by_its_keys(port: UdpPort, join: Join) -> None:
    """Each packet is authentic for one of them."""
    first, second = join().connect(), join().connect()
    for client in (first, second):
        client.send(client.peer.rtp(AUDIO, 1, 0, b"x"))
    for client, payload in ((second, b"second"), (first, b"first")):
        client.udp.move()
        client.send(client.peer.rtp(AUDIO, 2, 960, payload))
    assert first.heard() == [b"x", b"first"]
    assert second.heard() == [b"x", b"second"]
    first.connection.close()
    second.udp.move()
    second.send(second.peer.rtp(AUDIO, 3, 1920, b"third"))
    assert second.heard() == [b"x", b"second", b"third"]


def test_an_anchor_may_move(port: UdpPort, join: Join) -> None:
    """After a check from its new address, which its old one may outlive."""
    client = join().connect()
    former = client.udp.socket
    client.udp.move()
    client.peer.check(100)
    client.udp.exchange()
    client.send(client.peer.rtp(AUDIO, 1, 0, b"new"))
    former.send(client.peer.rtp(AUDIO, 2, 960, b"old"))
    tick(port)
    assert client.heard() == [b"new", b"old"]


def test_an_address_can_change_hands(port: UdpPort, join: Join) -> None:
    """The newest connection that proves it, has it."""
    first, second = join().connect(), join()
    second.udp.sockets.append(first.udp.socket)
    second.connect()
    second.send(second.peer.rtp(AUDIO, 1, 0, b"x"))
    assert second.heard() == [b"x"]
    assert first.heard() == []
    first.connection.close()
    second.send(second.peer.rtp(AUDIO, 2, 960, b"y"))
    assert second.heard() == [b"x", b"y"]


def test_a_connection_has_a_few_addresses_at_most(port: UdpPort, join: Join) -> None:
    """However often its peer moves; the oldest ones are strangers' again."""
    client = join().connect()
    client.peer.check(6)
    check = client.peer.outbox.pop()
    for _ in range(40):
        client.udp.move()
        client.send(check)
    client.send(client.peer.rtp(AUDIO, 1, 0, b"x"))
    assert client.heard() == [b"x"]
    assert len(port.owners._owners[client.connection.peer.owner].paths) == 16
    before = port.foreign
    client.udp.sockets[0].send(b"\x16\xfe\xfd" + bytes(60))
    tick(port)
    assert port.foreign == before + 1


def test_new_credentials_replace_the_old_ones(port: UdpPort, join: Join) -> None:
    """After an ICE restart; those of the path in use hold as long as it is in use."""
    client = join()
    ice = client.connection.transport.ice
    old = ice.local.ufrag
    client.connection.restart_ice(IceCredentials("theirs", "password-of-24-characters"))
    assert set(port.owners._by_ufrag) == set(ice.ufrags) != {old}
    client.connection.close()
    assert port.owners._by_ufrag == {}


def test_an_unforeseen_error_stays_with_its_connection(
    port: UdpPort, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], join: Join
) -> None:
    """Counted, logged once; the others' packets and what is due go on."""
    broken, sound = join().connect(), join().connect()
    on_unknown = Streams.on_unknown

    def fail_for_one(streams: Streams, *given: Any) -> None:
        if streams is broken.connection.streams:
            raise ZeroDivisionError("a bug")
        on_unknown(streams, *given)

    monkeypatch.setattr(Streams, "on_unknown", fail_for_one)
    for index in range(3):
        broken.put(index, b"x")
        sound.send(sound.peer.rtp(AUDIO, index, 960 * index, b"x"))
    fail = partial(fail_for_one, broken.connection.streams)
    monkeypatch.setattr(broken.connection, "send_due", fail)
    for client in (broken, sound):
        client.connection._deadline = 0
    sound.peer.rtcp.clear()
    tick(port)
    sound.udp.receive()
    assert sound.peer.rtcp
    assert len(sound.heard()) == 3
    assert port.errors == 4
    assert capsys.readouterr().out.count("unforeseen error") == 1


def test_closing_the_port_ends_its_connections(clients: list[Client]) -> None:
    """And says goodbye to their peers."""
    with contextlib.closing(UdpPort(0, AddressRules(), SystemClock())) as port:
        client = Client(port, clients).connect()
    assert client.closed == [CloseReason.ENDED]
    datagrams = []
    with contextlib.suppress(BlockingIOError):
        while True:
            datagrams.append(client.udp.socket.recv(2048))
    assert datagrams[-1][0] == 21, "an alert"


def test_one_that_breaks_at_its_end_keeps_no_other_from_it(
    clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(UdpPort(0, AddressRules(), SystemClock())) as port:
        broken, sound = (Client(port, clients).connect() for _ in range(2))

        def fail() -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(broken.connection.streams, "stop", fail)
    assert (broken.closed, sound.closed) == ([CloseReason.ENDED], [CloseReason.ENDED])
    assert port.errors == 1


def test_a_port_in_use_is_named(port: UdpPort) -> None:
    """Its number, and why."""
    with pytest.raises(PortInUseError, match=rf"UDP port {port.udp_port}: .*in use"):
        UdpPort(port.udp_port, AddressRules(), SystemClock())


def test_candidates_are_our_addresses_with_the_port(port: UdpPort) -> None:
    families = (socket.AF_INET, socket.AF_INET6)
    hosts = ToldAddresses(AddressRules(), families, SystemClock()).hosts
    assert port.candidates == [(host, port.udp_port) for host in hosts]


def test_peers_may_be_told_several_addresses() -> None:
    """Whether they are this machine's or not."""
    hosts = ("203.0.113.5", "192.168.1.5", "2001:db8::5")
    with contextlib.closing(UdpPort(0, AddressRules(hosts), SystemClock())) as port:
        assert port.candidates == [(host, port.udp_port) for host in hosts]


def test_rules_that_no_address_fits_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Anchors could not connect. The address may still come, so the port opens all the same."""
    rules = AddressRules(interfaces=("eth99",))
    with contextlib.closing(UdpPort(0, rules, SystemClock())) as port:
        assert port.candidates == []
    assert "anchors are told no address" in capsys.readouterr().out


def test_what_the_socket_does_not_take_is_counted(port: UdpPort) -> None:
    """Like a packet that the network lost."""
    port.send(b"x", make_path("255.255.255.255", 9))
    assert port.unsent == 1


def test_a_machine_without_ipv6_has_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port opens all the same, and nothing is sent to IPv6 addresses."""
    real = socket.socket

    def without_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return real(family, kind)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    with contextlib.closing(UdpPort(0, AddressRules(), SystemClock())) as port:
        assert all(":" not in host for host, _udp_port in port.candidates)
        port.send(b"x", make_path("::1", 9))
        assert port.unsent == 1


def test_a_small_buffer_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to do: packets that come while the machine is busy have to wait somewhere."""
    monkeypatch.setattr(sockets, "_SO_RCVBUFFORCE", socket.SO_SNDBUF)  # it stays as it was
    UdpPort(0, AddressRules(), SystemClock()).close()
    assert "net.core.rmem_max" in capsys.readouterr().out


def test_ports_may_count_their_faults_together(
    port: UdpPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one counter of the metrics: a room's own port is gone with its visit."""

    def fail(_connection: PeerConnection, _now: float) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(PeerConnection, "send_due", fail)
    clock = SystemClock()
    with contextlib.closing(UdpPort(0, AddressRules(), clock, faults=port.faults)) as other:
        client = Client(other, [])
        other.tick(clock.monotonic() + 60)
        client.udp.socket.close()
    assert port.errors == other.errors >= 1


def test_a_port_that_is_closed_reads_and_sends_nothing(join: Join, port: UdpPort) -> None:
    """Whoever still holds it, or a connection of it, asks in vain."""
    client = join().connect()
    path = client.connection.transport.ice.path
    assert path is not None
    client.put(1, b"\x7f" * 40)
    port.close()
    assert len(client.sink.packets) == 1
    datagrams, unsent = port.datagrams, port.unsent
    port.catch_up([client.connection.peer])
    port.tick(time.monotonic())
    port.send(b"x", path)
    client.connection.send_due(time.monotonic())
    client.connection.close()
    port.close()
    assert (port.datagrams, port.unsent) == (datagrams, unsent + 1)
    assert port.faults.errors == 0
    assert client.closed == [CloseReason.ENDED]
