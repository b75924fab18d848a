"""Publishes Firefox's fake camera and microphone: see tests/helpers/publisher_programs.py.

It opens the page of examples/whip-publish, driven by helpers/firefox.py.
"""

import contextlib
import functools
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from helpers.firefox import firefox

_FILES = Path(__file__).parents[3] / "examples" / "whip-publish"
_CONNECT_S = 20
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
    with _page() as page, firefox(script_s=_CONNECT_S) as marionette:
        marionette.call("WebDriver:Navigate", url=page)
        state = marionette.run(_PUBLISH, order)
        if state != "connected":
            raise SystemExit(f"the page shows: {state}")
        time.sleep(order["seconds"])
        done = marionette.run(_LEAVE)
    print(json.dumps(done))


main()
