"""A socket that is read in batches."""

import contextlib
import socket
import time
from collections.abc import Iterator
from functools import partial

import pytest

from cloudslice.clock import SystemClock
from cloudslice.rtp import datagrams
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.datagrams import DatagramSocket, unpack_source

_SO_RCVBUFFORCE = 33


class Wire:
    """A DatagramSocket, and sockets that send to it."""

    def __init__(self, host: str) -> None:
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._host = host
        self.bound = socket.socket(self._family, socket.SOCK_DGRAM)
        self.bound.bind((host, 0))
        self.socket = DatagramSocket(self.bound)
        self._senders: list[socket.socket] = []

    def sender(self) -> socket.socket:
        sender = socket.socket(self._family, socket.SOCK_DGRAM)
        sender.bind((self._host, 0))
        sender.connect((self._host, self.socket.port))
        self._senders.append(sender)
        return sender

    def enlarge_buffer(self) -> int:
        """How many datagrams it takes at least; some machines allow few."""
        with contextlib.suppress(PermissionError):
            self.bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        return self.bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2304

    def read(self) -> dict[tuple[str, int], list[bytes]]:
        self.socket.read(SystemClock())
        batch = self.socket.batch
        return {
            unpack_source(source)[:2]: [batch.datagram(slot) for slot in slots_from(batch, first)]
            for source, first in batch.take()
        }

    def arrivals(self) -> list[float]:
        batch = self.socket.batch
        return [
            batch.arrivals[slot]
            for _source, first in batch.take()
            for slot in slots_from(batch, first)
        ]

    def close(self) -> None:
        self.socket.close()
        for each in self._senders:
            each.close()


def slots_from(batch: Batch, slot: int) -> Iterator[int]:
    while slot >= 0:
        yield slot
        slot = batch.next[slot]


@pytest.fixture(params=["127.0.0.1", "::1"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    wire = Wire(request.param)
    yield wire
    wire.close()


def test_datagrams_come_by_their_source_and_in_order(wire: Wire) -> None:
    """Whatever the sources' turns were; an empty and a long one among them."""
    one, other = wire.sender(), wire.sender()
    for index in range(3):
        one.send(b"%d" % index)
        other.send(b"" if index else b"x" * 1500)
    assert wire.read() == {
        one.getsockname()[:2]: [b"0", b"1", b"2"],
        other.getsockname()[:2]: [b"x" * 1500, b"", b""],
    }


def test_what_was_read_does_not_come_again(wire: Wire) -> None:
    """Neither from the socket nor from slots of an earlier read."""
    sender = wire.sender()
    sender.send(b"first, and long")
    sender.send(b"second")
    wire.read()
    sender.send(b"short")
    assert list(wire.read().values()) == [[b"short"]]
    assert wire.read() == {}


def test_a_datagram_that_fits_no_slot_is_cut_off(wire: Wire) -> None:
    """And spoils none of its neighbours."""
    sender = wire.sender()
    for datagram in (b"a" * 9000, b"b"):
        sender.send(datagram)
    assert list(wire.read().values()) == [[b"a" * 1500, b"b"]]


def test_more_than_one_read_takes_is_left_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read is bounded, and says whether it has taken all."""
    monkeypatch.setattr(datagrams, "Batch", partial(Batch, 40))
    wire = Wire("127.0.0.1")
    sender = wire.sender()
    for index in range(50):
        sender.send(index.to_bytes(2))
    assert wire.socket.read(SystemClock()) is False
    assert wire.socket.batch.size == 40
    assert wire.socket.read(SystemClock()) is False, "as there is no room"
    wire.socket.batch.clear()
    assert list(wire.read().values()) == [[index.to_bytes(2) for index in range(40, 50)]]
    wire.close()


def test_a_read_takes_more_than_the_kernel_gives_at_a_time() -> None:
    """recvmmsg(2) stops at 1024 datagrams."""
    wire = Wire("127.0.0.1")
    sender = wire.sender()
    sent = [index.to_bytes(2) for index in range(min(2500, wire.enlarge_buffer()))]
    for each in sent:
        sender.send(each)
    assert wire.socket.read(SystemClock()) is True
    assert wire.socket.batch.size == len(sent)
    assert [wire.socket.batch.datagram(slot) for slot in range(len(sent))] == sent
    wire.close()


def test_an_error_is_raised_once_and_costs_no_datagram() -> None:
    """The kernel tells first of a datagram of ours that nobody took."""
    wire = Wire("127.0.0.1")
    gone = wire.sender()
    gone.send(b"x")
    wire.bound.connect(gone.getsockname())
    gone.close()
    wire.bound.send(b"nobody takes this")
    with pytest.raises(ConnectionRefusedError):
        wire.socket.read(SystemClock())
    assert list(wire.read().values()) == [[b"x"]]
    assert wire.read() == {}
    wire.close()


def test_an_arrival_is_when_the_datagram_came(wire: Wire) -> None:
    """Not when it was read."""
    sender = wire.sender()
    sent = []
    for _ in range(2):
        sent.append(time.monotonic())
        sender.send(b"x")
        while time.monotonic() < sent[-1] + 0.02:
            pass
    wire.socket.read(SystemClock())
    assert wire.arrivals() == pytest.approx(sent, abs=0.005)


def test_the_time_that_reading_takes_moves_no_arrival(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the process is stopped in the middle of it, and more comes meanwhile."""
    sent = time.monotonic()
    wire.sender().send(b"x")
    fill = wire.socket._fill

    def fill_slowly() -> bool:
        time.sleep(0.1)
        return fill()

    monkeypatch.setattr(wire.socket, "_fill", fill_slowly)
    wire.sender().send(b"y")
    wire.socket.read(SystemClock())
    assert wire.arrivals() == pytest.approx([sent, sent], abs=0.02)


def test_clocks_are_read_at_the_same_moment(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop between looking at one and at the other would move all arrivals by its length."""
    read_wall = time.time
    stops = iter([0.1])

    def stop_once() -> float:
        time.sleep(next(stops, 0))
        return read_wall()

    sent = time.monotonic()
    wire.sender().send(b"x")
    monkeypatch.setattr(time, "time", stop_once)
    wire.socket.read(SystemClock())
    assert wire.arrivals() == pytest.approx([sent], abs=0.02)


@pytest.mark.parametrize("step_s", [3600, 0.5, -0.5, -3600])
def test_a_step_of_the_wall_clock_moves_no_arrival(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """Between a datagram's coming and its reading."""
    wire.read()
    sent = time.monotonic()
    wire.sender().send(b"x")
    read_wall = time.time
    monkeypatch.setattr(time, "time", lambda: read_wall() + step_s)
    wire.socket.read(SystemClock())
    assert wire.arrivals() == pytest.approx([sent], abs=0.02)
