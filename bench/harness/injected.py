"""`cloudslice serve` whose IPv4 socket also receives what waits in a `Ring`.

python -m harness.injected RING --config FILE
"""

import argparse
import os
import socket
from functools import partial
from pathlib import Path
from unittest.mock import patch

import uvloop

from cloudslice.config import load_settings
from cloudslice.process import take_short_turns
from cloudslice.logs import set_up_logging
from cloudslice.process import keep_freed_memory
from cloudslice.node import serve
from cloudslice.rtp import binding
from cloudslice.rtp.datagrams import DatagramSocket
from harness.injected_socket import InjectedSocket
from harness.ring import Ring


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("ring", type=Path)
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args()
    os.environ["CLOUDSLICE_RTC__ADVERTISE_IP"] = "127.0.0.1"  # what comes by IPv6 is not injected
    settings = load_settings(options.config)
    set_up_logging(settings.log)
    keep_freed_memory()
    take_short_turns()
    with patch.object(binding, "DatagramSocket", partial(_make_socket, Ring(options.ring))):
        uvloop.run(serve(settings))


def _make_socket(ring: Ring, sock: socket.socket) -> DatagramSocket:
    return InjectedSocket(sock, ring) if sock.family == socket.AF_INET else DatagramSocket(sock)


if __name__ == "__main__":
    main()
