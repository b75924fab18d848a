"""Publishes Firefox's fake camera and microphone: see tests/helpers/publisher_programs.py.

It opens the page of examples/whip-publish, and drives it by Firefox's own remote protocol,
Marionette, over TCP: WebDriver's commands without the HTTP server in between.
"""

import contextlib
import functools
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_FILES = Path(__file__).parents[3] / "examples" / "whip-publish"
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
_START_S, _CONNECT_S = 40, 20
_PUBLISH = """
const [order] = arguments;
const done = arguments[arguments.length - 1];
const form = document.querySelector("form");
const state = document.querySelector("output[name=state]");
form.url.value = order.url;
form.token.value = order.bearer;
form.codec.value = order.codec;
form.requestSubmit();
const wait = () =>
    ["not publishing", "new", "connecting"].includes(state.value)
        ? setTimeout(wait, 50)
        : done(state.value);
wait();
"""
_LEAVE = """
const done = arguments[arguments.length - 1];
const { fetch } = window;
let deleted = null;
window.fetch = async (...request) => {
    const response = await fetch(...request);
    deleted = response.status;
    return response;
};
publisher.stats().then(async ({ audio, video }) => {
    const stopped_ms = Date.now();
    await publisher.stop();
    done({
        audio_packets: audio.packetsSent,
        video_frames: video.framesEncoded,
        keyframe_requests: video.pliCount,
        stopped_ms,
        delete_status: deleted,
    });
});
"""


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
def _firefox() -> Iterator[Marionette]:
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
            marionette = Marionette(_port(profile / "MarionetteActivePort"))
            yield marionette
            marionette.close()
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


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: Any) -> None: ...


@contextlib.contextmanager
def _page() -> Iterator[str]:
    """localhost is a secure context, in which pages may ask for a camera."""
    handler = functools.partial(_Files, directory=str(_FILES))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/index.html"
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    order = json.loads(sys.stdin.readline())
    with _page() as page, _firefox() as marionette:
        timeouts = {"script": _CONNECT_S * 1000}
        marionette.call(
            "WebDriver:NewSession", capabilities={"alwaysMatch": {"timeouts": timeouts}}
        )
        marionette.call("WebDriver:Navigate", url=page)
        state = marionette.run(_PUBLISH, order)
        if state != "connected":
            raise SystemExit(f"the page shows: {state}")
        time.sleep(order["seconds"])
        done = marionette.run(_LEAVE)
    print(json.dumps(done))


main()
