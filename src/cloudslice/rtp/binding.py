"""The sockets of a UDP port on all addresses, and what those addresses are."""

import errno
import socket
from collections.abc import Iterable

import ifaddr
import structlog

from cloudslice.rtp.datagrams import DatagramSocket

_log = structlog.get_logger(__name__)

_RECEIVE_BUFFER = 128 << 20
_ENOUGH_BUFFER = 4 << 20
_DATAGRAM_BUFFER = 2304
"""Bytes of a socket's buffer that the kernel counts for a datagram of an Ethernet frame."""
_SO_RCVBUFFORCE = 33


class PortInUseError(Exception):
    """The UDP port cannot be had; the text names it."""


def bind(udp_port: int) -> tuple[list[DatagramSocket], int]:
    """Sockets for IPv4 and, where the machine has it, IPv6; and how many datagrams the smallest of
    their buffers takes at least.

    Args:
        udp_port: 0: any that is free.

    Raises:
        PortInUseError
    """
    sockets: list[DatagramSocket] = []
    room = _RECEIVE_BUFFER
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
        except OSError:
            continue  # a machine without IPv6
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind((host, udp_port))
        except OSError as error:
            sock.close()
            if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
                continue
            for each in sockets:
                each.close()
            raise PortInUseError(f"UDP port {udp_port}: {error.strerror}") from error
        udp_port = sock.getsockname()[1]
        room = min(room, _enlarge_buffer(sock) // _DATAGRAM_BUFFER)
        sockets.append(DatagramSocket(sock))
    return sockets, room


def _enlarge_buffer(sock: socket.socket) -> int:
    """The bytes that it has then."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    if granted < _ENOUGH_BUFFER:
        _log.warning(
            "the UDP receive buffer is small: packets may be lost when the machine is busy",
            bytes=granted,
            remedy="raise the sysctl net.core.rmem_max",
        )
    return granted


def own_addresses(families: Iterable[int]) -> list[str]:
    """This machine's addresses: others can reach the first ones, loopback comes last."""
    outer: list[str] = []
    inner: list[str] = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            host = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            family = socket.AF_INET if ip.is_IPv4 else socket.AF_INET6
            if family not in families or host.lower().startswith("fe80:"):
                continue
            (inner if host.startswith("127.") or host == "::1" else outer).append(host)
    return outer + inner
