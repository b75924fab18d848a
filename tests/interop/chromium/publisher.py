"""Publishes Chromium's fake camera and microphone: see tests/helpers/publisher_programs.py.

It is driven as in the other tests, by helpers/browser.py.
"""

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from helpers.browser import browser_anchor

_LEAVE = """
async () => {
    const { fetch } = window;
    let deleted = null;
    window.fetch = async (...request) => {
        const response = await fetch(...request);
        deleted = response.status;
        return response;
    };
    const { audio, video } = await publisher.stats();
    const stopped_ms = Date.now();
    await publisher.stop();
    return {
        audio_packets: audio.packetsSent,
        video_frames: video.framesEncoded,
        keyframe_requests: video.pliCount,
        stopped_ms,
        delete_status: deleted,
    };
}
"""


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    async with browser_anchor(order["url"], order["bearer"], codec=order["codec"]) as anchor:
        await anchor.connected()
        await asyncio.sleep(order["seconds"])
        done = await anchor.page.evaluate(_LEAVE)
    print(json.dumps(done))


asyncio.run(main())
