"""Which addresses peers are told: a handful, the best first.

A peer checks each of them from each of its own, some 20 a second: with 250 addresses a browser
needs 15 s to connect, and one that nobody can reach only costs time. So what is told is

1. what the operator advertises, and nothing else; or else
2. of this machine's addresses those in the wanted networks and on the wanted interfaces;
3. of each family without deprecated and temporary ones, if it has others;
4. without link-local and loopback ones, if there are others;
5. first what the machine itself would send from, then each interface in turn; eight at most.
"""

import math
import socket
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import zip_longest
from pathlib import Path

import ifaddr
import structlog

from cloudslice.clock import Clock

_MOST = 8
_LOOK_EVERY_S = 5.0
_ORDINARY, _SECOND_CHOICE, _LINK_LOCAL, _LOOPBACK = range(4)
"""How gladly an address is told."""

_IPV6_TABLE = Path("/proc/net/if_inet6")
# Flags of the table (linux/if_addr.h).
_TEMPORARY, _DUPLICATE, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40

_FARAWAY = {socket.AF_INET: "203.0.113.1", socket.AF_INET6: "2001:db8::1"}
"""Nobody has these (RFC 5737, RFC 3849), so that the way to them is the way to the Internet."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AddressRules:
    """What the operator says about addresses."""

    advertised: tuple[str, ...] = ()
    """IP addresses that peers are told instead of this machine's."""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Only addresses in these; any, if empty."""
    interfaces: tuple[str, ...] = ()
    """Only addresses of these; any, if empty."""


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """An IP address of this machine."""

    host: str
    interface: str
    is_second_choice: bool = False
    """It is deprecated or temporary (RFC 4862, RFC 8981): it will go away."""

    @property
    def family(self) -> int:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET


class ToldAddresses:
    """What peers are told. A look at 250 addresses takes 20 ms, so it is not taken for each peer.

    Args:
        rules: what the operator wants.
        families: of which there are sockets.
        clock: for how long ago the last look was.
    """

    def __init__(self, rules: AddressRules, families: Collection[int], clock: Clock) -> None:
        self._rules = rules
        self._families = families
        self._clock = clock
        self._hosts: list[str] = []
        self._look_again_at = -math.inf
        if (rules.networks or rules.interfaces) and not self.hosts:
            _log.warning(
                "anchors are told no address: rtc.networks and rtc.interfaces fit none of this "
                "machine's",
                networks=[str(each) for each in rules.networks],
                interfaces=list(rules.interfaces),
            )

    @property
    def hosts(self) -> list[str]:
        """IP addresses, the best first; none if the rules fit none."""
        if self._rules.advertised:
            return list(self._rules.advertised)
        now = self._clock.monotonic()
        if now >= self._look_again_at:
            own, routed = own_addresses(self._families), list(_routed_addresses(self._families))
            self._hosts = choose(own, self._rules, routed)
            self._look_again_at = now + _LOOK_EVERY_S
        return self._hosts


def choose(own: Sequence[OwnAddress], rules: AddressRules, routed: Sequence[str]) -> list[str]:
    """Those of this machine's addresses that peers are told.

    Args:
        own: all of them.
        rules: what the operator wants.
        routed: what it sends from to faraway places.
    """
    fitting = [each for each in own if _fits(each, rules)]
    best = list(_without_worse(fitting))
    groups: dict[tuple[str, int], list[str]] = {}
    for each in best:
        groups.setdefault((each.interface, each.family), []).append(each.host)
    in_turn = [host for row in zip_longest(*groups.values()) for host in row if host is not None]
    first = [host for host in routed if host in in_turn]
    return list(dict.fromkeys((*first, *in_turn)))[:_MOST]


def own_addresses(families: Collection[int]) -> list[OwnAddress]:
    """This machine's addresses of these families, without link-local ones of IPv6, whose zone only
    peers know, and without those that another machine may have, too."""
    flags = _read_flags()
    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            host = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            address = ip_address(host.partition("%")[0])
            of_this = flags.get(address, 0) if isinstance(address, IPv6Address) else 0
            is_usable = not of_this & (_DUPLICATE | _TENTATIVE)
            if not is_usable or (address.version == 6 and address.is_link_local):
                continue
            is_second_choice = bool(of_this & (_DEPRECATED | _TEMPORARY))
            found.append(OwnAddress(str(address), adapter.nice_name, is_second_choice))
    return [each for each in found if each.family in families]


def _fits(own: OwnAddress, rules: AddressRules) -> bool:
    address = ip_address(own.host)
    is_in_network = any(address in network for network in rules.networks)
    return (is_in_network or not rules.networks) and (
        own.interface in rules.interfaces or not rules.interfaces
    )


def _without_worse(own: Sequence[OwnAddress]) -> Iterator[OwnAddress]:
    by_family: dict[int, int] = {}
    for each in own:
        by_family[each.family] = min(_rank(each), by_family.get(each.family, _LOOPBACK))
    best = min(by_family.values(), default=_ORDINARY)
    for each in own:
        rank = _rank(each)
        if rank == by_family[each.family] and (rank <= _SECOND_CHOICE or rank == best):
            yield each


def _rank(own: OwnAddress) -> int:
    address = ip_address(own.host)
    if address.is_loopback:
        return _LOOPBACK
    if address.is_link_local:
        return _LINK_LOCAL
    return _SECOND_CHOICE if own.is_second_choice else _ORDINARY


def _routed_addresses(families: Collection[int]) -> Iterator[str]:
    """What this machine sends from to the Internet; nothing is sent."""
    for family, faraway in _FARAWAY.items():
        if family in families:
            try:
                with socket.socket(family, socket.SOCK_DGRAM) as probe:
                    probe.connect((faraway, 9))
                    yield probe.getsockname()[0]
            except OSError:
                continue  # there is no way there


def _read_flags() -> dict[IPv6Address, int]:
    """The flags of this machine's IPv6 addresses; empty where the system does not tell them."""
    try:
        lines = _IPV6_TABLE.read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    return {IPv6Address(bytes.fromhex(each[0])): int(each[4], 16) for each in fields}
