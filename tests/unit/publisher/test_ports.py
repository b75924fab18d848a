"""Many ports, of which those are read that have something to read."""

import socket
from collections.abc import Iterator

import pytest

from cloudslice.clock import SystemClock
from cloudslice.webrtc.udp.paths import make_path
from cloudslice_publisher.ports import ReadyPorts, SenderPort


class CountingPort(SenderPort):
    ticks = 0

    def tick(self, now: float) -> None:
        self.ticks += 1
        super().tick(now)


@pytest.fixture
def ready() -> Iterator[ReadyPorts]:
    ready = ReadyPorts()
    yield ready
    ready.close()


@pytest.fixture
def ports() -> Iterator[tuple[CountingPort, CountingPort]]:
    opened = CountingPort(SystemClock()), CountingPort(SystemClock())
    yield opened
    for port in opened:
        port.close()


def send_to(port: SenderPort) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", ("127.0.0.1", port.udp_port))


def test_only_ports_are_read_that_something_has_come_to(
    ready: ReadyPorts, ports: tuple[CountingPort, CountingPort]
) -> None:
    for port in ports:
        ready.add(port)
    send_to(ports[1])
    ready.read(0)
    ready.read(0)
    assert [port.ticks for port in ports] == [0, 1]
    assert ports[1].datagrams == 1


def test_a_port_that_was_removed_is_not_read(
    ready: ReadyPorts, ports: tuple[CountingPort, CountingPort]
) -> None:
    """Nor is one removed that has got the same descriptor since."""
    ready.add(ports[0])
    descriptors = ports[0].descriptors
    ready.remove(ports[0])
    ports[0].close()
    third = CountingPort(SystemClock())
    try:
        assert set(third.descriptors) & set(descriptors)
        ready.add(third)
        ready.remove(ports[0])
        send_to(third)
        ready.read(0)
        assert (ports[0].ticks, third.ticks) == (0, 1)
    finally:
        ready.remove(third)
        third.close()


def test_a_cut_cable_carries_nothing(ports: tuple[CountingPort, CountingPort]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        path = make_path(*receiver.getsockname())
        ports[0].is_cut = True
        ports[0].send(b"hello", path)
        with pytest.raises(BlockingIOError):
            receiver.recv(100)
        ports[0].is_cut = False
        ports[0].send(b"hello", path)
        assert receiver.recv(100) == b"hello"
