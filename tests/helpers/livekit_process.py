"""A real LiveKit server (livekit-server), with a configuration of its own."""

import contextlib
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self
from urllib.request import urlopen

import pytest
from livekit.api import AccessToken, LiveKitAPI, VideoGrants

PROGRAM = Path(__file__).parents[1] / "go-livekit" / "target" / "livekit-server"
"""Built by `scripts/install-test-tools`."""
API_KEY = "APITestKey"
API_SECRET = "TestSecretOfAtLeast32Characters0"
_START_TIMEOUT_S = 30


class LivekitProcess:
    """A server process that can be killed and started again on the same ports.

    As a context manager it runs, and is gone in the end.

    Args:
        directory: for its configuration and log.
        more: lines of its configuration, of the top level.
        rtc: lines of its configuration's table `rtc`.
        log_level: of its log.
    """

    def __init__(
        self, directory: Path, *, more: str = "", rtc: str = "", log_level: str = "debug"
    ) -> None:
        if not PROGRAM.exists():
            pytest.skip("livekit-server is not built: scripts/install-test-tools does that")
        self.port = free_port(socket.SOCK_STREAM)
        directory.mkdir(parents=True, exist_ok=True)
        self._config = directory / "livekit.yaml"
        self._log = directory / "livekit.log"
        self._process: subprocess.Popen[bytes] | None = None
        rtc_lines = "".join(f"  {line}\n" for line in rtc.splitlines())
        self._config.write_text(
            f"""\
port: {self.port}
bind_addresses: [127.0.0.1]
rtc:
  udp_port: {free_port(socket.SOCK_DGRAM)}
  tcp_port: {free_port(socket.SOCK_STREAM)}
  use_external_ip: false
  node_ip: 127.0.0.1
  enable_loopback_candidate: true
{rtc_lines}keys:
  {API_KEY}: {API_SECRET}
logging:
  level: {log_level}
  pion_level: error
{more}
"""
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def settings(self) -> str:
        """Of an app whose rooms are here, for a node's settings."""
        return (
            f'rooms = "livekit"\n[apps.livekit]\nurl = "{self.url}"\napi_key = "{API_KEY}"\n'
            f'api_secret = "{API_SECRET}"\n'
        )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def configure(self, more: str) -> None:
        """Add lines to its configuration, from its next start on."""
        with self._config.open("a") as config:
            config.write(f"{more}\n")

    def start(self) -> None:
        """Start and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "--config", self._config], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"livekit-server does not start: {self.log[-4000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def api(self) -> LiveKitAPI:
        """The server's own API; to be used as a context."""
        return LiveKitAPI(f"http://127.0.0.1:{self.port}", API_KEY, API_SECRET)

    def token(self, room: str, identity: str) -> str:
        """What lets a publisher in."""
        grants = VideoGrants(room_join=True, room=room, can_publish=True, can_subscribe=True)
        return AccessToken(API_KEY, API_SECRET).with_identity(identity).with_grants(grants).to_jwt()

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{self.port}/") as answer:
            return bool(answer.status == 200)
        return False


def free_port(kind: socket.SocketKind) -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
