"""Paths: where a datagram came from and which of our addresses it came to, in one key.

A path is what the native library reads and sends with, so its layout is fixed: a sockaddr_in or
sockaddr_in6, zeros up to 28 bytes, then the local address in 16 bytes (an IPv4 one in the first
four). A local address of zeros means any: the kernel chooses. Two paths are the same if their bytes
are.
"""

import socket
import struct

Path = bytes
"""44 bytes; see the module's text."""

PATH_BYTES = 44

_REMOTE_BYTES = 28
_ANY_LOCAL = bytes(PATH_BYTES - _REMOTE_BYTES)
_FAMILY = struct.Struct("=H")
_INET = struct.Struct("=H2s4s20x16s")
"""Family, port (big-endian), address; local address."""
_INET6 = struct.Struct("=H2s4x16sI16s")
"""Family, port (big-endian), address, scope; local address."""


def make_path(host: str, port: int, local: str = "") -> Path:
    """The path to an IP address and port.

    Args:
        host: an IPv4 or IPv6 address; a link-local one with its zone ("fe80::1%eth0").
        port: 0..65535.
        local: our address, of the same family; "": any.

    Raises:
        ValueError: not an address, not a port, or two families.
    """
    if not 0 <= port <= 0xFFFF:
        raise ValueError(f"not a UDP port: {port}")
    address, _, zone = host.partition("%")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = _pack_host(family, address)
    ours = _pack_host(family, local.partition("%")[0]) if local else b""
    if family == socket.AF_INET6:
        return _INET6.pack(family, port.to_bytes(2), packed, _scope(zone), ours)
    if zone:
        raise ValueError(f"an IPv4 address has no zone: {host!r}")
    return _INET.pack(family, port.to_bytes(2), packed, ours)


def family_of(path: Path) -> int:
    """`socket.AF_INET` or `socket.AF_INET6`."""
    family: int = _FAMILY.unpack_from(path)[0]
    return family


def remote_bytes(path: Path) -> tuple[bytes, bytes]:
    """The address (4 or 16 bytes) and the port (2 bytes) at the other end, big-endian."""
    if family_of(path) == socket.AF_INET6:
        return path[8:24], path[2:4]
    return path[4:8], path[2:4]


def without_local(path: Path) -> Path:
    """The path to the same other end, from any address of ours."""
    return path[:_REMOTE_BYTES] + _ANY_LOCAL


def is_same_remote(path: Path, other: Path) -> bool:
    """Whether both lead to one address and port."""
    return path[:_REMOTE_BYTES] == other[:_REMOTE_BYTES]


def _pack_host(family: int, host: str) -> bytes:
    try:
        return socket.inet_pton(family, host)
    except OSError as error:
        name = "IPv6" if family == socket.AF_INET6 else "IPv4"
        raise ValueError(f"not an {name} address: {host!r}") from error


def _scope(zone: str) -> int:
    """The number of a network interface; 0 if none is named."""
    if not zone:
        return 0
    if zone.isdecimal():
        return int(zone)
    try:
        return socket.if_nametoindex(zone)
    except OSError as error:
        raise ValueError(f"no such network interface: {zone!r}") from error
