"""What a port does for a connection that sends connectivity checks itself."""

import socket
from collections.abc import Iterator
from math import inf

import pytest

from cloudslice.clock import SystemClock
from cloudslice.media.tracks import OpusRun
from cloudslice.webrtc import stun
from cloudslice.webrtc.candidates import IceCredentials
from cloudslice.webrtc.ice_generation import IceGeneration, IceRole
from cloudslice.webrtc.rtp_packet import RtpPacket
from cloudslice.webrtc.udp.addresses import AddressRules
from cloudslice.webrtc.udp.paths import is_same_remote, make_path
from cloudslice.webrtc.udp.port import PortOptions, UdpPort


class Asking:
    """A connection that collects what comes."""

    next_deadline = inf

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, bytes]] = []
        self.unreachable: list[bytes] = []

    @property
    def streams(self) -> "Asking":
        return self

    def send_due(self, now: float) -> None: ...
    def on_moved(self, path: bytes, arrival: float) -> None: ...
    def on_run(self, track: int, run: OpusRun) -> None: ...
    def on_packet(self, track: int, packet: RtpPacket) -> None: ...
    def on_missing(self, track: int, sequences: tuple[int, ...]) -> None: ...
    def on_unknown(self, ssrc: int, packet: RtpPacket) -> None: ...
    def on_refused(self, ssrc: int, sequence: int) -> None: ...
    def close(self) -> None: ...

    def on_datagram(self, data: bytes, path: bytes, arrival: float) -> bool:
        self.datagrams.append((data, path))
        return True

    def on_unreachable(self, path: bytes) -> None:
        self.unreachable.append(path)


@pytest.fixture
def port() -> Iterator[UdpPort]:
    opened = UdpPort(
        0, AddressRules(), SystemClock(), PortOptions(64, 1 << 16, hears_unreachable=True)
    )
    yield opened
    opened.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(5)
        yield opened


def generation() -> IceGeneration:
    made = IceGeneration()
    made.set_remote(IceCredentials.generate())
    return made


def read(port: UdpPort) -> None:
    port.tick(SystemClock().monotonic())


def test_an_answer_from_an_unknown_path_comes_to_the_connection_that_asked(
    port: UdpPort, server: socket.socket
) -> None:
    """A response names nobody, and its path is not known before it comes."""
    first, second = Asking(), Asking()
    peers = [port.owners.add(first), port.owners.add(second)]
    ice, path = generation(), make_path(*server.getsockname())
    for peer, transaction_id in zip(peers, (b"first check.", b"second check"), strict=True):
        port.send_check(peer, ice.request(transaction_id, IceRole(is_controlling=True)), path)
    requests = {}
    for _ in peers:
        data, address = server.recvfrom(2048)
        requests[stun.parse(data).transaction_id] = address
    answer = ice.response(
        stun.parse(ice.request(b"second check", IceRole(is_controlling=True))), path
    )
    server.sendto(answer, requests[b"second check"])
    read(port)
    [(data, came_on)] = second.datagrams
    assert data == answer
    assert is_same_remote(came_on, path)
    assert first.datagrams == []
    assert port.foreign == 0


def test_an_answer_to_nothing_is_nobodys(port: UdpPort, server: socket.socket) -> None:
    asking = Asking()
    port.owners.add(asking)
    ice, path = generation(), make_path(*server.getsockname())
    request = stun.parse(ice.request(b"never asked.", IceRole(is_controlling=True)))
    server.sendto(ice.response(request, path), ("127.0.0.1", port.udp_port))
    read(port)
    assert asking.datagrams == []
    assert port.foreign == 1


def test_answers_of_a_connection_that_is_gone_are_nobodys(
    port: UdpPort, server: socket.socket
) -> None:
    asking = Asking()
    peer = port.owners.add(asking)
    ice, path = generation(), make_path(*server.getsockname())
    request = ice.request(b"of the dead.", IceRole(is_controlling=True))
    port.send_check(peer, request, path)
    _, address = server.recvfrom(2048)
    port.owners.remove(peer)
    server.sendto(ice.response(stun.parse(request), path), address)
    read(port)
    assert asking.datagrams == []
    assert port.foreign == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connections_hear_that_nobody_listens(port: UdpPort, host: str) -> None:
    """By ICMP, which the kernel hands to the socket that has sent."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as gone:
        gone.bind((host, 0))
        address = gone.getsockname()[:2]
    asking = Asking()
    port.owners.add(asking)
    port.send(b"is anybody there?", make_path(*address))
    read(port)
    [path] = asking.unreachable
    assert is_same_remote(path, make_path(*address))
    read(port)
    assert len(asking.unreachable) == 1


def test_a_port_for_one_connection_is_small(port: UdpPort) -> None:
    """What comes when it is full waits in the socket, or is dropped by the kernel."""
    for descriptor in port.descriptors:
        with socket.socket(fileno=descriptor) as each:
            granted = each.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            each.detach()
        assert granted <= 2 << 16
