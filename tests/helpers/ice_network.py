"""A network in simulated time: ICE agents that reach each other with loss, delay and NATs."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from cloudslice.webrtc.candidates import Candidate, host_candidates
from cloudslice.webrtc.ice import IceAgent, IceState
from cloudslice.webrtc.udp.paths import Path, make_path
from helpers.path_parts import local_host, remote_address

Address = tuple[str, int]
TICK_S = 0.08


@dataclass
class Nat:
    """Gives its hosts ports of one outer address.

    Attributes:
        is_symmetric: a port for each destination, which lets in what comes from there only; else
            one port for all, open to everybody.
    """

    outer: str
    is_symmetric: bool = False
    _ports: dict[tuple[Address, Address | None], int] = field(default_factory=dict)
    _next_port: int = 40000

    def outgoing(self, source: Address, destination: Address) -> Address:
        key = (source, destination if self.is_symmetric else None)
        if key not in self._ports:
            self._next_port += 1
            self._ports[key] = self._next_port
        return self.outer, self._ports[key]

    def incoming(self, port: int, source: Address) -> Address | None:
        for (inner, peer), mapped in self._ports.items():
            if mapped == port and peer in (None, source):
                return inner
        return None

    def rebind(self) -> None:
        """Forget everything: new ports from now on."""
        self._ports.clear()


@dataclass
class Endpoint:
    """An agent on a socket. The path of a datagram tells its local address, as the server's do."""

    network: "Network"
    address: Address
    nat: Nat | None
    agent: IceAgent = field(init=False)
    other_hosts: tuple[str, ...] = ()
    """Addresses that it has besides; it answers from the one that was asked."""
    is_connected: bool = True
    """Whether its cable is plugged in."""
    sent: list[tuple[float, bytes, Address]] = field(default_factory=list)
    states: list[IceState] = field(default_factory=list)

    def send(self, datagram: bytes, path: Path) -> None:
        self.sent.append((self.network.now, datagram, remote_address(path)))
        source = local_host(path) or self.address[0], self.address[1]
        self.network.transmit(self, datagram, source, remote_address(path))

    def receive(self, datagram: bytes, source: Address, local: str = "") -> None:
        path = make_path(*source, local=local or self.address[0])
        if datagram == MEDIA:
            self.agent.heard(path, self.network.now)
        else:
            self.agent.receive(datagram, path, self.network.now)

    def send_media(self) -> None:
        """What `heard` is called for at the other side."""
        if self.agent.path is not None:
            self.send(MEDIA, self.agent.path)

    def has(self, address: Address) -> bool:
        host, port = address
        return host in (self.address[0], *self.other_hosts) and port == self.address[1]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return host_candidates([self.address])

    @property
    def destination(self) -> Address | None:
        """Where it sends to."""
        return None if self.agent.path is None else remote_address(self.agent.path)


MEDIA = b"\x80 authentic media"


class Network:
    """Datagrams take their time, and some are lost or come twice."""

    def __init__(
        self,
        *,
        seed: int = 0,
        loss: float = 0,
        delay_s: tuple[float, float] = (0.01, 0.01),
        doubled: float = 0,
    ) -> None:
        self.now = 100.0
        self.endpoints: list[Endpoint] = []
        self._random = random.Random(seed)
        self.loss = loss
        self._delay_s = delay_s
        self._doubled = doubled
        self._order = itertools.count()
        self._under_way: list[tuple[float, int, bytes, Address, Address]] = []

    def add(
        self,
        host: str,
        port: int = 5000,
        *,
        nat: Nat | None = None,
        is_lite: bool = False,
        is_controlling: bool = False,
        consent_timeout_s: float = 30,
    ) -> Endpoint:
        endpoint = Endpoint(self, (host, port), nat)
        endpoint.agent = IceAgent(
            is_lite=is_lite,
            is_controlling=is_controlling,
            send=endpoint.send,
            now=self.now,
            consent_timeout_s=consent_timeout_s,
        )
        self.endpoints.append(endpoint)
        return endpoint

    def transmit(
        self, sender: Endpoint, datagram: bytes, source: Address, destination: Address
    ) -> None:
        if sender.nat is not None:
            source = sender.nat.outgoing(source, destination)
        if not sender.is_connected or self._random.random() < self.loss:
            return
        copies = 2 if self._random.random() < self._doubled else 1
        for _ in range(copies):
            at = self.now + self._random.uniform(*self._delay_s)
            event = (at, next(self._order), datagram, source, destination)
            heapq.heappush(self._under_way, event)

    def run(
        self, seconds: float, *, until: Callable[[], bool] | None = None, media: bool = False
    ) -> bool:
        """Let time pass; whether `until` came true (True without one)."""
        end = self.now + seconds
        tick = self.now
        while tick <= end:
            while self._under_way and self._under_way[0][0] <= tick:
                self.now, _, datagram, source, destination = heapq.heappop(self._under_way)
                self._deliver(datagram, source, destination)
            self.now = tick
            for endpoint in self.endpoints:
                if endpoint.agent.next_deadline <= tick:
                    endpoint.agent.send_due(tick)
                if media:
                    endpoint.send_media()
                if endpoint.states[-1:] != [endpoint.agent.state]:
                    endpoint.states.append(endpoint.agent.state)
            if until is not None and until():
                return True
            tick += TICK_S
        return until is None

    def _deliver(self, datagram: bytes, source: Address, destination: Address) -> None:
        for endpoint in self.endpoints:
            nat = endpoint.nat
            if nat is not None:
                if destination[0] != nat.outer:
                    continue
                inner = nat.incoming(destination[1], source)
                if inner is None:
                    continue
                destination = inner
            if endpoint.is_connected and endpoint.has(destination):
                endpoint.receive(datagram, source, destination[0])


def introduce(first: Endpoint, second: Endpoint, *, with_candidates: bool = True) -> None:
    """What an offer and an answer tell."""
    now = first.network.now
    for one, other in ((first, second), (second, first)):
        one.agent.set_remote(other.agent.local, is_lite=other.agent.is_lite, now=now)
        if with_candidates:
            for candidate in other.candidates:
                one.agent.add_candidate(candidate)
        one.agent.end_of_candidates()


def are_connected(*endpoints: Endpoint) -> bool:
    return all(each.agent.state is IceState.CONNECTED for each in endpoints)
