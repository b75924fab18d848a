"""Peers are told a handful of addresses, those first by which they probably get through."""

import socket
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace

import ifaddr
import pytest

from cloudslice.clock import SystemClock
from cloudslice.webrtc.udp import addresses
from cloudslice.webrtc.udp.addresses import (
    AddressRules,
    OwnAddress,
    ToldAddresses,
    choose,
    own_addresses,
)
from helpers.slice_store import ManualClock

BOTH = (socket.AF_INET, socket.AF_INET6)
LOOPBACK = [OwnAddress("127.0.0.1", "lo"), OwnAddress("::1", "lo")]
LAN = OwnAddress("192.168.1.5", "eth0")
WAN = OwnAddress("203.0.113.7", "eth1")
DOCKER = OwnAddress("172.17.0.1", "docker0")
GLOBAL = OwnAddress("2001:db8::5", "eth1")
TEMPORARY = OwnAddress("2001:db8::aaaa", "eth1", is_second_choice=True)
AUTOMATIC = OwnAddress("169.254.1.2", "eth0")


def rules(*networks: str, interfaces: tuple[str, ...] = ()) -> AddressRules:
    return AddressRules((), tuple(ip_network(each) for each in networks), interfaces)


@pytest.mark.parametrize(
    ("own", "hosts"),
    [
        pytest.param([*LOOPBACK, LAN], ["192.168.1.5"], id="no loopback"),
        pytest.param(LOOPBACK, ["127.0.0.1", "::1"], id="loopback alone"),
        pytest.param([AUTOMATIC, LAN], ["192.168.1.5"], id="no link-local"),
        pytest.param([*LOOPBACK, AUTOMATIC], ["169.254.1.2"], id="link-local before loopback"),
        pytest.param([TEMPORARY, GLOBAL], ["2001:db8::5"], id="nothing temporary"),
        pytest.param([LAN, TEMPORARY], ["192.168.1.5", "2001:db8::aaaa"], id="the only IPv6"),
        pytest.param([*LOOPBACK, TEMPORARY], ["2001:db8::aaaa"], id="temporary alone"),
        pytest.param([LOOPBACK[0], GLOBAL], ["2001:db8::5"], id="IPv6 alone"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_what_only_costs_time_is_left_out(own: list[OwnAddress], hosts: list[str]) -> None:
    """Unless there is nothing else."""
    assert choose(own, AddressRules(), []) == hosts


@pytest.mark.parametrize(
    ("wanted", "hosts"),
    [
        pytest.param(rules("192.168.0.0/16"), ["192.168.1.5"], id="a network"),
        pytest.param(rules("203.0.113.7"), ["203.0.113.7"], id="one address"),
        pytest.param(
            rules("192.168.0.0/16", "2001:db8::/32"), ["192.168.1.5", "2001:db8::5"], id="two"
        ),
        pytest.param(rules(interfaces=("eth1",)), ["203.0.113.7", "2001:db8::5"], id="interface"),
        pytest.param(rules("0.0.0.0/0", interfaces=("eth1",)), ["203.0.113.7"], id="both"),
        pytest.param(rules(interfaces=("lo",)), ["127.0.0.1", "::1"], id="loopback, if wanted"),
        pytest.param(rules("10.0.0.0/8"), [], id="none"),
    ],
)
def test_the_operator_chooses_networks_and_interfaces(
    wanted: AddressRules, hosts: list[str]
) -> None:
    assert choose([*LOOPBACK, LAN, WAN, GLOBAL, DOCKER], wanted, []) == hosts


def test_a_host_of_250_addresses_tells_a_handful() -> None:
    """Of each interface and family some; first what the machine itself would use."""
    many = [OwnAddress(f"198.51.100.{index}", "eth0") for index in range(1, 251)]
    more = [OwnAddress(f"2001:db8:1::{index}", "eth0") for index in range(1, 251)]
    hosts = choose([*many, *more, DOCKER, GLOBAL], AddressRules(), ["198.51.100.77", "2001:db8::5"])
    assert hosts == [
        "198.51.100.77",
        "2001:db8::5",
        "198.51.100.1",
        "2001:db8:1::1",
        "172.17.0.1",
        "198.51.100.2",
        "2001:db8:1::2",
        "198.51.100.3",
    ]


def test_what_the_machine_would_use_is_told_only_if_it_is_wanted() -> None:
    assert choose([LAN, WAN], rules("192.168.0.0/16"), ["203.0.113.7"]) == ["192.168.1.5"]


def test_advertised_addresses_are_all_that_is_told() -> None:
    """In their order, of whatever network."""
    advertised = ("203.0.113.7", "192.168.1.5", "2001:db8::5")
    wanted = AddressRules(advertised, (ip_network("10.0.0.0/8"),), ("eth9",))
    assert ToldAddresses(wanted, [socket.AF_INET], SystemClock()).hosts == list(advertised)


TABLE = """\
20010db8000000000000000000000001 02 40 00 80     eth0
20010db8000000000000000000000002 02 40 00 01     eth0
20010db8000000000000000000000003 02 40 00 20     eth0
20010db8000000000000000000000004 02 40 00 40     eth0
20010db8000000000000000000000005 02 40 00 88     eth0
"""


@pytest.fixture
def _adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interface with IPv6 addresses of all kinds."""
    ips = [
        SimpleNamespace(ip="192.0.2.9"),
        *(SimpleNamespace(ip=(f"2001:db8::{index}", 0, 0)) for index in range(1, 7)),
        SimpleNamespace(ip=("fe80::1%eth0", 0, 2)),
    ]
    adapter = SimpleNamespace(nice_name="eth0", ips=ips)
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [adapter])


@pytest.mark.usefixtures("_adapters")
def test_the_system_says_which_addresses_are_of_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporary and deprecated ones are second choice; neither one whose owner is not yet known,
    nor one that is another machine's, nor a link-local one is told."""
    table = tmp_path / "if_inet6"
    table.write_text(TABLE)
    monkeypatch.setattr(addresses, "_IPV6_TABLE", table)
    assert own_addresses(BOTH) == [
        OwnAddress("192.0.2.9", "eth0"),
        OwnAddress("2001:db8::1", "eth0"),
        OwnAddress("2001:db8::2", "eth0", is_second_choice=True),
        OwnAddress("2001:db8::3", "eth0", is_second_choice=True),
        OwnAddress("2001:db8::6", "eth0"),
    ]
    assert [each.host for each in own_addresses([socket.AF_INET])] == ["192.0.2.9"]


@pytest.mark.usefixtures("_adapters")
def test_a_system_that_says_nothing_has_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_IPV6_TABLE", Path("/nowhere"))
    assert len(own_addresses(BOTH)) == 7
    assert not any(each.is_second_choice for each in own_addresses(BOTH))


def test_this_machine_has_addresses_to_tell() -> None:
    hosts = ToldAddresses(AddressRules(), BOTH, SystemClock()).hosts
    assert hosts
    assert len(hosts) <= 8
    assert set(hosts) <= {each.host for each in own_addresses(BOTH)}


def test_an_address_that_comes_late_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at once: a look at many addresses takes long."""
    clock = ManualClock()
    known = [LAN]
    monkeypatch.setattr(addresses, "own_addresses", lambda _families: known)
    told = ToldAddresses(AddressRules(), BOTH, clock)
    assert told.hosts == ["192.168.1.5"]
    known.append(GLOBAL)
    assert told.hosts == ["192.168.1.5"]
    clock.now += 5
    assert told.hosts == ["192.168.1.5", "2001:db8::5"]
