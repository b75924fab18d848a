"""A real Janus with the VideoRoom plugin and configuration files of its own."""

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

API_SECRET = "JanusApiSecret1"
ROOM_SECRET = "RoomSecret1"
PIN = "Pin1234"
ADMIN_KEY = "AdminKey1"
NUMBER_ROOM = 150
BIG_ROOM = (1 << 53) + 1
"""A number that a float does not have."""
TEXT_ROOM = "room_one"
OPEN_ROOM = 151
"""Without a pin and a secret."""
_START_TIMEOUT_S = 20
_ROOM = """
room-{room}: {{
    description = "test"
    publishers = 100
    bitrate = 2000000
    fir_freq = 0
    audiocodec = "opus"
    videocodec = "vp8,h264,vp9,av1"
    notify_joining = true
    {more}
}}
"""
_LOCKED = f'pin = "{PIN}"\n    secret = "{ROOM_SECRET}"'


@dataclass
class JanusServer:
    """One process, which can be killed and started again at the same ports.

    Args:
        directory: for its configuration and log.
        string_ids: whether its rooms and participants have texts for ids.
        reclaim_s: seconds for which a session can be claimed that has lost its WebSocket.
        has_videoroom: whether the plugin is there.
        is_ice_lite: whether it leaves checking connectivity to us.
        trickles: whether it tells its addresses after its offers.
    """

    directory: Path
    string_ids: bool = False
    reclaim_s: int = 0
    has_videoroom: bool = True
    is_ice_lite: bool = False
    trickles: bool = False
    port: int = field(init=False)
    """Of its WebSocket."""
    http_port: int = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port, self.http_port = _free_port(), _free_port()
        plugins, transports, none = (self.directory / n for n in ("plugins", "transports", "none"))
        for each in (plugins, transports, none):
            each.mkdir(exist_ok=True)
        if self.has_videoroom:
            _link("plugins/libjanus_videoroom.so*", plugins)
        for name in ("websockets", "http"):
            _link(f"transports/libjanus_{name}.so*", transports)
        (self.directory / "janus.jcfg").write_text(
            f"""
general: {{
    configs_folder = "{self.directory}"
    plugins_folder = "{plugins}"
    transports_folder = "{transports}"
    events_folder = "{none}"
    loggers_folder = "{none}"
    debug_level = 4
    api_secret = "{API_SECRET}"
    server_name = "test"
    session_timeout = 60
    reclaim_session_timeout = {self.reclaim_s}
}}
media: {{ ipv6 = false }}
nat: {{ ice_enforce_list = "127.0.0.1"
       ice_lite = {str(self.is_ice_lite).lower()}
       full_trickle = {str(self.trickles).lower()} }}
"""
        )
        (self.directory / "janus.transport.websockets.jcfg").write_text(
            f"""
general: {{ ws = true
    ws_port = {self.port}
    ws_ip = "127.0.0.1"
    wss = false }}
admin: {{ admin_ws = false }}
"""
        )
        (self.directory / "janus.transport.http.jcfg").write_text(
            f"""
general: {{ http = true
    port = {self.http_port}
    ip = "127.0.0.1"
    https = false }}
admin: {{ admin_http = false }}
"""
        )
        rooms: list[tuple[str | int, str]] = [
            (NUMBER_ROOM, _LOCKED),
            (BIG_ROOM, ""),
            (OPEN_ROOM, ""),
        ]
        if self.string_ids:
            rooms = [(TEXT_ROOM, _LOCKED), ("150", _LOCKED)]
        are_texts = str(self.string_ids).lower()
        text = f'general: {{ admin_key = "{ADMIN_KEY}"\n string_ids = {are_texts} }}\n'
        text += "".join(_ROOM.format(room=room, more=more) for room, more in rooms)
        (self.directory / "janus.plugin.videoroom.jcfg").write_text(text)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def app_settings(self) -> str:
        """What an app's table says to have its rooms here, with the publishers' names for
        UserIds."""
        return f"""\
rooms = "janus"
[apps.janus]
url = "{self.url}"
api_secret = "{API_SECRET}"
pin = "{PIN}"
room_secret = "{ROOM_SECRET}"
user_id = "display"
string_ids = {str(self.string_ids).lower()}
"""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start, and wait until it listens."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["janus", "--configs-folder", str(self.directory), "--disable-colors"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"janus does not start: {self.log[-3000:]}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            os.kill(process.pid, how)
            process.wait(20)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            for port in (self.port, self.http_port):
                socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False


@contextlib.contextmanager
def running_janus(directory: Path, **options: Any) -> Iterator[JanusServer]:
    """A running one, with the options of `JanusServer`; the test is skipped where Janus is not
    installed."""
    if shutil.which("janus") is None:
        pytest.skip("janus is not installed")
    server = JanusServer(directory, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _link(pattern: str, directory: Path) -> None:
    for path in glob.glob(f"/usr/lib/*/janus/{pattern}"):
        link = directory / Path(path).name
        if not link.exists():
            link.symlink_to(path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
