"""Takes paths apart, as the service never needs to."""

import socket
import sys

from cloudslice.webrtc.udp.paths import Path, family_of, remote_bytes

_REMOTE_BYTES = 28


def remote_address(path: Path) -> tuple[str, int]:
    """The host and port at the other end, as `make_path` takes them; a zone is a number."""
    family = family_of(path)
    packed, port = remote_bytes(path)
    host = socket.inet_ntop(family, packed)
    scope = int.from_bytes(path[24:28], sys.byteorder) if family == socket.AF_INET6 else 0
    return (f"{host}%{scope}" if scope else host), int.from_bytes(port)


def local_host(path: Path) -> str:
    """Our address on the path; "": any."""
    packed = path[_REMOTE_BYTES:]
    if not any(packed):
        return ""
    family = family_of(path)
    return socket.inet_ntop(family, packed[: 16 if family == socket.AF_INET6 else 4])
