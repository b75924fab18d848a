"""A node behind an HTTP server, until a signal ends it."""

import asyncio
import contextlib
import signal
import socket
from contextlib import AbstractAsyncContextManager

import structlog

from cloudslice.config import Settings
from cloudslice.http_server import HttpServer
from cloudslice.node import Node

_log = structlog.get_logger(__name__)


class ListenError(Exception):
    """The HTTP address cannot be listened on; the text names it."""


async def serve(settings: Settings, opened: AbstractAsyncContextManager[Node]) -> None:
    """Run a node until SIGINT or SIGTERM.

    Args:
        settings: say where it listens.
        opened: the node.

    Raises:
        ListenError: the HTTP address cannot be had.
        Exception: what opening the node raises.
    """
    with contextlib.closing(_listen(settings)) as listener:
        async with opened as node:
            server = HttpServer(node.app, settings.http)
            loop = asyncio.get_running_loop()
            ending: asyncio.Task[None] | None = None

            async def end() -> None:
                try:
                    if node.drain is not None:
                        await node.drain()
                finally:
                    server.stop()

            def stop() -> None:
                nonlocal ending
                if node.gateway is not None:
                    node.gateway.drain()
                if ending is None:
                    ending = loop.create_task(end())
                else:
                    ending.cancel()  # whoever asks again wants it at once

            for each in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(each, stop)
            host, port = listener.getsockname()[:2]
            media = {} if node.udp_port is None else {"udp_port": node.udp_port}
            _log.info("cloudslice is ready", http=f"{host}:{port}", **media)
            await server.serve(sockets=[listener])
            if ending is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await ending
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
