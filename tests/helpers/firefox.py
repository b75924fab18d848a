"""Firefox, driven by its own remote protocol, Marionette, over TCP.

These are WebDriver's commands, without the HTTP server in between.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PREFERENCES = {
    "media.navigator.streams.fake": True,  # one colour that changes, and a tone
    "media.navigator.permission.disabled": True,  # nobody is there to allow the camera
    "marionette.port": 0,
    # Without these, Firefox asks around at every start.
    "app.normandy.enabled": False,
    "messaging-system.rsexperimentloader.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
}
_START_S = 40


class Marionette:
    """Commands over a connection: each is answered before the next one is sent."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._reader = self._socket.makefile("rb")
        self._id = 0
        self._read()  # says which protocol it speaks

    def call(self, command: str, **parameters: Any) -> Any:
        """Raises RuntimeError with what Firefox says."""
        self._id += 1
        message = json.dumps([0, self._id, command, parameters]).encode()
        self._socket.sendall(b"%d:%b" % (len(message), message))
        _, _, error, result = self._read()
        if error is not None:
            raise RuntimeError(f"{command}: {error['error']}: {error['message']}")
        return result

    def run(self, script: str, *arguments: Any) -> Any:
        """What the script hands to its last argument."""
        answer = self.call("WebDriver:ExecuteAsyncScript", script=script, args=list(arguments))
        return answer["value"]

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def _read(self) -> Any:
        digits = b""
        while (digit := self._reader.read(1)) != b":":
            if not digit:
                raise RuntimeError("Firefox has closed the connection")
            digits += digit
        return json.loads(self._reader.read(int(digits)))


@contextlib.contextmanager
def firefox(*, script_s: float) -> Iterator[Marionette]:
    """A Firefox without a window, whose fake camera and microphone nobody has to allow.

    Args:
        script_s: how long a script may run.

    Raises:
        RuntimeError: it does not start.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        profile = Path(directory)
        preferences = (
            f'user_pref("{key}", {json.dumps(value)});' for key, value in _PREFERENCES.items()
        )
        (profile / "user.js").write_text("\n".join(preferences))
        process = subprocess.Popen(
            [
                shutil.which("firefox-esr") or "firefox",
                *("--headless", "--no-remote", "--marionette", "--profile", directory),
            ],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
        )
        try:
            port = _port(profile / "MarionetteActivePort")
            with contextlib.closing(Marionette(port)) as marionette:
                timeouts = {"script": int(script_s * 1000)}
                capabilities = {"alwaysMatch": {"timeouts": timeouts}}
                marionette.call("WebDriver:NewSession", capabilities=capabilities)
                yield marionette
        finally:
            process.terminate()
            process.wait()


def _port(path: Path) -> int:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            return int(path.read_text())
        time.sleep(0.05)
    raise RuntimeError(f"Firefox does not start within {_START_S} s")
