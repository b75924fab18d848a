"""The kernel drops just what it is told to."""

import itertools
import socket
from collections.abc import Callable, Iterator

import pytest

from cloudslice.rtp.socket_filter import THINNED_TO, attach, detach, thinning_program
from helpers.rtp import rtp_packet


class Wire:
    """Two connected sockets, of which one is filtered."""

    def __init__(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.filtered = socket.socket(family, socket.SOCK_DGRAM)
        self.filtered.bind((host, 0))
        self.filtered.setblocking(False)
        self.sender = socket.socket(family, socket.SOCK_DGRAM)
        self.sender.connect(self.filtered.getsockname())

    def passed(self, *datagrams: bytes) -> list[bytes]:
        found = []
        for datagram in datagrams:
            self.sender.send(datagram)
            try:
                found.append(self.filtered.recv(2048))
            except BlockingIOError:
                continue
        return found

    def passed_sequences(self, ssrc: int, count: int = 4 * THINNED_TO) -> list[int]:
        packets = [rtp_packet(sequence, 0, ssrc=ssrc) for sequence in range(count)]
        return [int.from_bytes(packet[2:4]) for packet in self.passed(*packets)]


@pytest.fixture(params=["127.0.0.1", "::1"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    wire = Wire(request.param)
    yield wire
    wire.filtered.close()
    wire.sender.close()


ALL = list(range(4 * THINNED_TO))
FEW = ALL[::THINNED_TO]


def evenly(count: int) -> tuple[int, ...]:
    """SSRCs from all over, ascending."""
    return tuple(0xFFFFFFFF - 3 * index * 0x100000 for index in reversed(range(count)))


def as_badly_as_possible(count: int) -> tuple[int, ...]:
    """SSRCs in blocks within which each bit that parts them parts off only one."""
    block = [0, 1, 2, 3, *(4 << bit for bit in range(25))]
    return tuple(index // len(block) << 27 | block[index % len(block)] for index in range(count))


@pytest.mark.parametrize("chosen", [evenly, as_badly_as_possible])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 16, 17, 64, 850])
def test_packets_of_the_ssrcs_are_thinned_out(
    wire: Wire, chosen: Callable[[int], tuple[int, ...]], count: int
) -> None:
    """Of these, of all of them, and of no others; as many as there may be."""
    ssrcs = chosen(count)
    assert len(ssrcs) == count
    attach(wire.filtered, thinning_program(ssrcs))
    for ssrc in ssrcs[:: max(1, count // 20)]:
        assert wire.passed_sequences(ssrc) == FEW
        other = next(each for each in itertools.count(ssrc + 1) if each not in ssrcs) & 0xFFFFFFFF
        assert wire.passed_sequences(other, THINNED_TO) == ALL[:THINNED_TO]
    for ssrc in (0x7FFFFFFE, 0x7FFFFFFF):
        assert wire.passed_sequences(ssrc, THINNED_TO) == ALL[:THINNED_TO]


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"\x00\x01\x00\x05", id="STUN"),
        pytest.param(b"\x16\xfe\xfd\x01", id="DTLS"),
        pytest.param(b"\x81\xc8\x00\x05", id="RTCP sender report"),
        pytest.param(b"\x81\xcd\x00\x05", id="RTCP feedback"),
    ],
)
def test_nothing_but_rtp_is_dropped(wire: Wire, start: bytes) -> None:
    """Even if it has the SSRC's bytes in their place."""
    attach(wire.filtered, thinning_program((7,)))
    datagram = start + bytes(4) + (7).to_bytes(4) + b"rest"
    assert wire.passed(datagram) == [datagram]


@pytest.mark.parametrize("size", [0, 1, 3, 11])
def test_what_is_too_short_for_rtp_is_kept(wire: Wire, size: int) -> None:
    """A load behind a datagram's end would drop it."""
    attach(wire.filtered, thinning_program((7,)))
    assert wire.passed(b"\x81" * size) == [b"\x81" * size]


def test_another_program_takes_the_place_of_the_first(wire: Wire) -> None:
    """At once; and without any, all comes through."""
    attach(wire.filtered, thinning_program((7,)))
    attach(wire.filtered, thinning_program((8,)))
    assert wire.passed_sequences(7) == ALL
    assert wire.passed_sequences(8) == FEW
    for _ in range(2):
        detach(wire.filtered)
        assert wire.passed_sequences(8) == ALL
