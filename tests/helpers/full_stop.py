"""A process that stops in an orderly way while its disk is full.

    python -m helpers.full_stop DATA_DIR BALLAST PICTURES

Its bucket and receiver are down. It loses so many pictures, each of another anchor, and the end of
an audio slice.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from helpers.delivery import AUDIO, PICTURE, START_MS, TASK, Site, make_test_bucket
from helpers.small_disk import take_all_room

NOWHERE = "http://127.0.0.1:9"


async def main(data_dir: Path, ballast: Path, pictures: int) -> None:
    """Hear something, have the disk full, hear more, and stop."""
    async with Site(data_dir, NOWHERE, NOWHERE).open() as delivery:
        await delivery.open(TASK, make_test_bucket())
        await delivery.record_start()
        growing = delivery.grow(AUDIO, START_MS)
        growing.append(b"heard")
        await delivery.flush()
        take_all_room(ballast)
        growing.append(bytes(5000))
        for number in range(pictures):
            origin = replace(PICTURE, user_id=f"anchor_{number}")
            delivery.put(origin, START_MS, bytes(5000), {})
        await delivery.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
