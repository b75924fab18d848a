"""A UDP port is one for IPv4 and IPv6."""

import socket
from contextlib import ExitStack

import pytest

from cloudslice.webrtc.udp.sockets import bind


@pytest.mark.skipif(not socket.has_ipv6, reason="a machine without IPv6")
def test_a_port_that_is_free_is_free_for_both_families() -> None:
    """Another program may have it for IPv6 alone; the kernel chooses among those free for IPv4."""
    with ExitStack() as stack:
        for _ in range(400):
            taken = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            taken.bind(("::", 0))
        for _ in range(500):
            ports = set()
            for each in bind(0, 4 << 20):
                with each:
                    ports.add(each.getsockname()[1])
            assert len(ports) == 1
