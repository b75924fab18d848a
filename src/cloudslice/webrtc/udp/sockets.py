"""The sockets of a UDP port on all addresses."""

import errno
import socket

import structlog

_log = structlog.get_logger(__name__)

_ENOUGH_BUFFER = 4 << 20
_TRIES = 10
"""To find a port that is free for both families: the kernel gives one that is free for IPv4."""
# Of Linux, unknown to Python's socket module.
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE, _IP_PKTINFO, _IP_RECVERR, _IPV6_RECVERR = 35, 33, 8, 11, 25


class PortInUseError(Exception):
    """The UDP port cannot be had; the text names it."""


def bind(
    udp_port: int, receive_buffer: int, *, hears_unreachable: bool = False
) -> list[socket.socket]:
    """Sockets for IPv4 and, where the machine has it, IPv6, that do not block. With a datagram
    they tell when it came and to which address.

    Args:
        udp_port: 0: any that is free.
        receive_buffer: bytes that the kernel keeps, its own account of each datagram included.
        hears_unreachable: whether `read_unreachable` is called when reading fails.

    Raises:
        PortInUseError
    """
    for _ in range(_TRIES):
        try:
            return _bind(udp_port, receive_buffer, hears_unreachable=hears_unreachable)
        except PortInUseError:
            if udp_port:
                raise
    return _bind(udp_port, receive_buffer, hears_unreachable=hears_unreachable)


def _bind(udp_port: int, receive_buffer: int, *, hears_unreachable: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
        except OSError:
            continue  # a machine without IPv6
        try:
            _set_up(sock, receive_buffer, hears_unreachable=hears_unreachable)
            sock.bind((host, udp_port))
        except OSError as error:
            sock.close()
            if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
                continue
            for each in sockets:
                each.close()
            raise PortInUseError(f"UDP port {udp_port}: {error.strerror}") from error
        udp_port = sock.getsockname()[1]
        sockets.append(sock)
    return sockets


def read_unreachable(sock: socket.socket) -> list[tuple[str, int]]:
    """The addresses of which ICMP said, since the last call, that nothing can be sent there."""
    found: list[tuple[str, int]] = []
    while True:
        try:
            _, _, _, address = sock.recvmsg(0, 0, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            return found
        found.append((address[0], address[1]))


def _set_up(sock: socket.socket, receive_buffer: int, *, hears_unreachable: bool) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    if hears_unreachable and sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    elif hears_unreachable:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    _set_buffer(sock, receive_buffer)


def _set_buffer(sock: socket.socket, receive_buffer: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    if granted < min(_ENOUGH_BUFFER, receive_buffer):
        _log.warning(
            "the UDP receive buffer is small: packets may be lost when the machine is busy",
            bytes=granted,
            remedy="raise the sysctl net.core.rmem_max",
        )
