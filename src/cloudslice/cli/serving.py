"""A node behind an HTTP server, until a signal ends it."""

import asyncio
import contextlib
import signal
import socket

import structlog

from cloudslice.config import Settings
from cloudslice.http_server import HttpServer
from cloudslice.node import open_node

_log = structlog.get_logger(__name__)


class ListenError(Exception):
    """The HTTP address cannot be listened on; the text names it."""


async def serve(settings: Settings) -> None:
    """Run a node until SIGINT or SIGTERM.

    Raises:
        ListenError: the HTTP address cannot be had.
        SettingsError, DatabaseError, StoreError, SecretKeyError, PortInUseError: see `open_node`.
    """
    with contextlib.closing(_listen(settings)) as listener:
        async with open_node(settings) as node:
            server = HttpServer(node.app, settings.http)
            loop = asyncio.get_running_loop()

            def stop() -> None:
                node.gateway.drain()
                server.stop()

            for each in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(each, stop)
            host, port = listener.getsockname()[:2]
            _log.info("cloudslice is ready", http=f"{host}:{port}", udp_port=node.udp_port)
            await server.serve(sockets=[listener])
            _log.info("cloudslice is stopping: open slices are being closed")
    _log.info("cloudslice has stopped")


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.listen_address
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ListenError(f"listen = {settings.listen}: {error.strerror}") from error
    return listener
