"""Paths are what the kernel writes, and come out as they went in."""

import ctypes
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.webrtc.udp.paths import (
    PATH_BYTES,
    family_of,
    is_same_remote,
    make_path,
    remote_bytes,
    without_local,
)
from helpers.path_parts import local_host, remote_address

_C = ctypes.CDLL(None, use_errno=True)


def peer_name(sock: socket.socket) -> bytes:
    """The sockaddr of the other end, as the kernel writes it."""
    name = ctypes.create_string_buffer(28)
    size = ctypes.c_uint32(28)
    assert _C.getpeername(sock.fileno(), name, ctypes.byref(size)) == 0
    return name.raw


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_path_begins_with_the_kernels_sockaddr(family: int, host: str) -> None:
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.connect((host, 51234))
    except OSError:
        pytest.skip(f"no {host} here")
    with sock:
        path = make_path(host, 51234)
        assert path[:28] == peer_name(sock)
        assert remote_address(path) == sock.getpeername()[:2]


@given(
    host=st.ip_addresses(),
    port=st.integers(0, 65535),
    data=st.data(),
)
def test_addresses_come_out_as_they_went_in(host: object, port: int, data: st.DataObject) -> None:
    version = 6 if ":" in str(host) else 4
    local = str(data.draw(st.ip_addresses(v=version).filter(int)))
    path = make_path(str(host), port, local)
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    packed = socket.inet_pton(family, str(host))
    assert len(path) == PATH_BYTES
    assert family_of(path) == family
    assert remote_address(path) == (socket.inet_ntop(family, packed), port)
    assert remote_bytes(path) == (packed, port.to_bytes(2))
    assert local_host(path) == socket.inet_ntop(family, socket.inet_pton(family, local))
    assert local_host(without_local(path)) == ""
    assert without_local(path) == make_path(str(host), port)
    assert is_same_remote(path, without_local(path))
    assert not is_same_remote(path, make_path(str(host), port ^ 1, local))


def test_the_local_address_stands_behind_the_sockaddr() -> None:
    """An IPv4 one in the first four of its bytes."""
    assert make_path("192.0.2.1", 5, "192.0.2.2")[28:] == bytes((192, 0, 2, 2)) + bytes(12)
    assert make_path("2001:db8::1", 5, "::2")[28:] == bytes(15) + b"\2"


def test_a_link_local_address_has_a_zone() -> None:
    """By number, or by name."""
    number = socket.if_nametoindex("lo")
    path = make_path("fe80::1%lo", 5000, "fe80::2%lo")
    assert path == make_path(f"fe80::1%{number}", 5000, "fe80::2")
    assert remote_address(path) == (f"fe80::1%{number}", 5000)
    assert remote_address(make_path("fe80::1", 5000)) == ("fe80::1", 5000)


@pytest.mark.parametrize(
    ("host", "port", "local"),
    [
        ("example.org", 5, ""),
        ("", 5, ""),
        ("192.0.2", 5, ""),
        ("2001:db8:::1", 5, ""),
        ("192.0.2.1", 65536, ""),
        ("192.0.2.1", -1, ""),
        ("192.0.2.1", 5, "::1"),
        ("::1", 5, "192.0.2.1"),
        ("192.0.2.1%lo", 5, ""),
        ("fe80::1%nowhere", 5, ""),
    ],
)
def test_what_is_no_address_is_refused(host: str, port: int, local: str) -> None:
    with pytest.raises(ValueError, match=r"not an|no such|has no zone|not a UDP port"):
        make_path(host, port, local)
