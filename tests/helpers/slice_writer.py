"""A process that hands slices to delivery as fast as it is told, to be killed at any moment.

    python -m helpers.slice_writer DATA_DIR S3_URL CALLBACK_URL BUCKET ANCHORS

Prints a line for each audio slice that is durable after a `flush`, its pictures with it: its anchor
and number. A full disk may keep a slice for longer, or lose it; it is not printed then.
"""

import asyncio
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from cloudslice.events import SliceReady
from cloudslice.slices import SliceKind, SliceOrigin
from helpers.delivery import START_MS, TASK, Delivery, Site, make_bucket
from helpers.s3_server import S3Server

PIECES = 3
"""Pieces that an audio slice grows by; each names the slice, so that contents can be told apart."""
SLICE_MS = 15000
_PACE_S = 0.01
"""Between pieces: a slice grows across several turns of the spool, and a kill meets each stage."""


def piece(user_id: str, number: int, index: int) -> bytes:
    """The content of one piece of an audio slice."""
    return f"{user_id} slice {number} piece {index}\n".encode()


async def main(data_dir: str, s3_url: str, callback_url: str, bucket: str, anchors: str) -> None:
    """Write slices until killed."""
    site = Site(Path(data_dir), s3_url, callback_url)
    async with site.open() as delivery, asyncio.TaskGroup() as group:
        await delivery.open(TASK, make_bucket(S3Server(Path(data_dir) / "unused"), bucket))
        await delivery.record_start()
        for n in range(int(anchors)):
            group.create_task(_slice_anchor(delivery, f"anchor_{n}"))


async def _slice_anchor(delivery: Delivery, user_id: str) -> None:
    audio = SliceOrigin(TASK.task_id, user_id, SliceKind.AUDIO, "ogg")
    picture = replace(audio, kind=SliceKind.IMAGE, extension="png")
    number, ready = 0, Counter[int]()

    def note(event: SliceReady) -> None:
        if event.slice.origin.user_id == user_id and "repaired" not in event.slice.details:
            ready[(event.slice.start_ms - START_MS) // SLICE_MS] += 1

    delivery.bus.listen(SliceReady, note)
    while True:
        start_ms = START_MS + SLICE_MS * number
        growing = delivery.grow(audio, start_ms)
        for index in range(PIECES):
            growing.append(piece(user_id, number, index))
            delivery.put(picture, start_ms + 5000 * index, f"picture {number}.{index}".encode(), {})
            await asyncio.sleep(_PACE_S)
        growing.finish(start_ms, SLICE_MS, {})
        await delivery.flush()
        if ready[number] == 1 + PIECES:
            print(user_id, number, flush=True)
        number += 1


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
