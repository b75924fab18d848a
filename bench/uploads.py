"""What the upload of a slice costs: a file checked against its hash, and put into a bucket.

Our client and obstore take turns in one process. The bucket is a process of its own that drops what
it gets. obstore is used as the first version used it: SHA-256 on a thread, the file read and sent
by obstore, MD5 compared with the ETag on a thread. CPU is that of all threads.

    python bench/uploads.py [--sizes 50000 500000] [--turns 5] [--uploads 200] [--parallel 4]
"""

import argparse
import asyncio
import hashlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import obstore
import uvloop
from obstore.store import S3Store

from cloudslice.slices import Bucket, Vendor
from cloudslice.uploads.objects import Content, StoredObject
from cloudslice.uploads.stores import Stores
from harness.report import describe_machine, table
from helpers.certificates import PrivateAuthority
from helpers.fault_server import FaultServer
from helpers.stores import make_settings

BUCKET = Bucket(Vendor.S3, "r", "sink", "AK", "SK")
METADATA = {"start-ms": "1700000001007", "duration-ms": "15000", "sha256": "0" * 64}
Upload = Callable[[str], Awaitable[object]]
"""Uploads the file under a key."""


def serve_sink(pipe: Connection, directory: Path, is_tls: bool) -> None:
    """The process of the bucket."""

    async def serve() -> None:
        authority = PrivateAuthority(directory)
        tls = authority.issue("127.0.0.1") if is_tls else None
        async with FaultServer(keeps=False, tls=tls) as server:
            pipe.send((server.url, str(authority.file)))
            await asyncio.to_thread(pipe.recv)

    uvloop.run(serve())


@asynccontextmanager
async def open_ours(endpoint: str, ca_file: str, file: Path) -> AsyncIterator[Upload]:
    """Our client."""

    async def upload(key: str) -> None:
        content = await asyncio.to_thread(lambda: Content.of(file.read_bytes()))
        await store.put(StoredObject(key, content, "audio/ogg", METADATA))

    with ThreadPoolExecutor(1) as writers:
        stores = Stores(make_settings(endpoint, ca_file=ca_file), writers)
        async with stores.client:
            store = stores.open(BUCKET)
            yield upload


@asynccontextmanager
async def open_obstore(endpoint: str, file: Path) -> AsyncIterator[Upload]:
    """obstore, as the first version used it."""
    store = S3Store(
        BUCKET.name,
        endpoint=endpoint,
        region=BUCKET.region,
        access_key_id=BUCKET.access_key,
        secret_access_key=BUCKET.secret_key,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "allow_invalid_certificates": True},
    )
    sha256 = hash_file(file, "sha256")

    async def upload(key: str) -> None:
        if await asyncio.to_thread(hash_file, file, "sha256") != sha256:
            raise SystemExit("the file has changed")
        attributes = {"Content-Type": "audio/ogg", **METADATA}
        answer = await obstore.put_async(
            store, key, file, attributes=attributes, use_multipart=False
        )
        if await asyncio.to_thread(hash_file, file, "md5") not in str(answer["e_tag"]):
            raise SystemExit("the bucket has something else")

    yield upload


def hash_file(path: Path, name: str) -> str:
    """The hash of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


async def measure_turn(upload: Upload, uploads: int, parallel: int) -> float:
    """CPU in microseconds of one upload; so many are under way at a time."""
    keys = iter([f"task+id../anchor/audios/{n}.ogg" for n in range(uploads)])

    async def work() -> None:
        for key in keys:
            await upload(key)

    started = time.process_time_ns()
    await asyncio.gather(*(work() for _ in range(parallel)))
    return (time.process_time_ns() - started) / uploads / 1000


async def measure(size: int, options: argparse.Namespace, *, is_tls: bool) -> list[object]:
    """A row of the table."""
    here, there = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        sink = spawn.Process(target=serve_sink, args=(there, Path(directory), is_tls))
        sink.start()
        try:
            endpoint, ca_file = await asyncio.to_thread(here.recv)
            file = Path(directory) / "slice"
            file.write_bytes(os.urandom(size))
            async with (
                open_ours(endpoint, ca_file, file) as ours,
                open_obstore(endpoint, file) as theirs,
            ):
                turns: list[tuple[float, float]] = []
                for turn in range(options.turns + 1):
                    pair = [
                        await measure_turn(each, options.uploads, options.parallel)
                        for each in (ours, theirs)
                    ]
                    if turn:  # the first warms up
                        turns.append((pair[0], pair[1]))
        finally:
            sink.terminate()
            sink.join()
    medians = [statistics.median(column) for column in zip(*turns, strict=True)]
    ratio = statistics.median(a / b for a, b in turns)
    transport = "TLS" if is_tls else "plain"
    return [transport, size, round(medians[0]), round(medians[1]), f"{ratio:.2f}"]


async def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[50_000, 500_000])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--uploads", type=int, default=200, help="of each turn")
    parser.add_argument("--parallel", type=int, default=4)
    options = parser.parse_args()
    rows = [
        await measure(size, options, is_tls=is_tls)
        for is_tls in (False, True)
        for size in options.sizes
    ]
    print(describe_machine())
    print(table(["", "bytes", "ours us", "obstore us", "ours/obstore"], rows))


if __name__ == "__main__":
    uvloop.run(main())
