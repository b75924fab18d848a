"""One process of anchors: publishes pre-encoded media until its standard input ends.

It is started by `harness.anchors`, reads one line of JSON (see `Orders`) and writes a line when all
anchors are live. From then on it answers each line with what they have sent so far (see `Sent`).
"""

import asyncio
import json
import pickle
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from cloudslice_publisher.connection import ConnectionOptions
from cloudslice_publisher.media import Media
from cloudslice_publisher.publisher import (
    PublishConfig,
    Publisher,
    PublisherState,
    publisher_group,
)


@dataclass(frozen=True, slots=True)
class Orders:
    """What a load process is to do."""

    media_path: str
    anchors: list[tuple[str, str, float, float]]
    """WHIP URL, token, when to join (s from now), where in the media to begin (s)."""


@dataclass(slots=True)
class Sent:
    """What anchors have sent."""

    packets: int = 0
    lost: int = 0
    """Dropped by their own send buffers."""
    nacked: int = 0
    """Asked for again by the server."""
    keyframes_wanted: int = 0
    rejoined: int = 0
    """Times that an anchor was thrown out and came back: should be 0."""


async def main() -> None:
    """Publish as ordered."""
    lines = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    orders = Orders(**json.loads(await lines.readline()))
    media = load_media(Path(orders.media_path))
    await _publish(orders, media, lines)


async def _publish(orders: Orders, media: Media, lines: asyncio.StreamReader) -> None:
    loop = asyncio.get_running_loop()
    async with publisher_group() as group:
        publishers: list[Publisher] = []
        returns = 0

        def note(state: PublisherState, _detail: str) -> None:
            nonlocal returns
            returns += state is PublisherState.WAITING

        started = loop.time()
        for url, bearer, join_s, offset_s in orders.anchors:
            await asyncio.sleep(started + join_s - loop.time())
            options = ConnectionOptions(offset_s=offset_s)
            config = PublishConfig(url, bearer, connection=options)
            publishers.append(group.start(config, media, note))
        for each in publishers:
            await each.wait_live()
        print("live", flush=True)
        while await lines.readline():
            print(json.dumps(asdict(_add_up(publishers, returns))), flush=True)


def load_media(path: Path) -> Media:
    """Media that `streams.py` has pickled."""
    media: Media = pickle.loads(path.read_bytes())  # noqa: S301 - our own
    return media


def _add_up(publishers: list[Publisher], rejoined: int) -> Sent:
    sent = Sent(rejoined=rejoined)
    for each in publishers:
        sent.packets += each.stats.packets_sent
        sent.lost += each.stats.packets_lost
        sent.nacked += each.stats.packets_nacked
        sent.keyframes_wanted += each.stats.keyframes_wanted
    return sent


if __name__ == "__main__":
    uvloop.run(main())
